"""The study's data hold apart what they say, and its intervals and power are what they are called."""

import sys
from pathlib import Path

import numpy as np
import pytest
from audio_common.strict_json import read_object
from r1_aqa.data.readers import read_questions
from r1_aqa.files import write_json
from r1_aqa.models.prompt import format_prompt

EXAMPLES = Path(__file__).parents[1] / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not beside the tests", allow_module_level=True)
sys.path.insert(0, str(EXAMPLES))

import study  # noqa: E402
import study_data  # noqa: E402
import study_report  # noqa: E402

SIZES = study_data.Sizes(start=6, post=4, validation=4, test_in=4, test_out=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "data"
    study_data.write_common(folder, SIZES)
    study_data.write_seed(folder, 0, SIZES)
    return folder


def scenes(file: Path) -> set[str]:
    return {str(question.extra["scene"]) for question in read_questions(file)}


def test_no_scene_is_in_two_files(data: Path) -> None:
    names = ("validation", "test_in", "test_out", "seed-0/start", "seed-0/post")
    files = [scenes(data / f"{name}.jsonl") for name in names]
    assert sum(map(len, files)) == len(set.union(*files)) == 22
    assert scenes(data / "seed-0" / "thinking.jsonl") == files[3]


def test_held_out_pairs_and_three_sounds_are_in_the_shifted_test_alone(data: Path) -> None:
    heard = {
        name: [q.extra["heard"] for q in read_questions(data / f"{name}.jsonl")]
        for name in ("test_in", "seed-0/start", "test_out")
    }
    shifts = [q.extra["shift"] for q in read_questions(data / "test_out.jsonl")]
    assert set(shifts) == {"pair", "three"}
    three = {h for h, shift in zip(heard["test_out"], shifts, strict=True) if shift == "three"}
    assert all(h.count(", then ") + h.count(" with ") == 2 for h in three)
    assert not any(study_data.is_held_out(scene) for _, scene in study_data.draw_scenes(0, 60))
    assert all(study_data.is_held_out(scene) for _, scene in study_data.draw_scenes(0, 10, "pair"))


def test_a_thinking_start_is_asked_what_reinforcement_asks(data: Path) -> None:
    asked = read_questions(data / "seed-0" / "start.jsonl")
    taught = read_questions(data / "seed-0" / "thinking.jsonl")
    for question, thinking in zip(asked, taught, strict=True):
        prompt = format_prompt(question.question, question.choices, "think_short")
        assert format_prompt(thinking.question, thinking.choices, "choices") == prompt
        assert (
            thinking.answer == f"<think>{question.extra['heard']}</think><answer>{question.answer}</answer>"
        )


def test_arms_learn_from_the_same_questions_and_parameters(tmp_path: Path) -> None:
    runs = [study.settings(study.Run(0, "late", arm, 1e-4), tmp_path, "cpu") for arm in study.ARMS]
    assert len({run.data.train for run in runs}) == len({run.init_from for run in runs}) == 1
    assert {run.batch_size for run in runs} == {study.BATCH_SIZE}
    assert all(run.model == study.MODEL for run in runs)
    assert [run.epochs for run in runs] == [1, 4, 1]


def test_pilots_and_choices_never_hear_the_test() -> None:
    assert not any(study.Run(seed, "late", "sft", 1e-4).is_test for seed in (100, 101, 102))
    assert all(study.Run(seed, "late", "sft", 1e-4).is_test for seed in study.SEEDS)


def test_the_interval_knows_scenes_and_seeds() -> None:
    rng = np.random.default_rng(0)
    by_scene = np.repeat(rng.normal(0, 1, (1, 50)), 4, axis=1)  # four questions a scene, all alike
    values = np.repeat(by_scene, 5, axis=0)
    names = [str(n) for n in range(50) for _ in range(4)]
    wide = study_report.pigeonhole(np.repeat(rng.normal(0, 1, (5, 50)), 4, axis=1), names)
    alike = study_report.pigeonhole(values, [str(n) for n in range(200)])
    clustered = study_report.pigeonhole(np.repeat(values[:1, ::4], 5, axis=0), [str(n) for n in range(50)])
    assert alike[1] - alike[0] < 0.7 * (clustered[1] - clustered[0])
    assert wide[0] < 0 < wide[1]
    assert study_report.clustered_variance(values[0], names) == pytest.approx(
        4 * study_report.clustered_variance(values[0], [str(n) for n in range(200)]), rel=0.02
    )


def write_pilots(out: Path, deviation: float) -> None:
    """Write pilots whose difference between GRPO and fine-tuning varies between seeds."""
    rng = np.random.default_rng(1)
    for seed in (100, 101, 102):
        shift = rng.normal(0, deviation)
        for arm, mean in (("start", 0.5), ("sft", 0.5), ("sft-compute", 0.5), ("grpo", 0.5 + shift)):
            run = {"seed": seed, "start": "late", "arm": arm, "rate": 1e-4, "updates": 1}
            verdicts = (rng.random(400) < mean).astype(int).tolist()
            path = out / "runs" / f"{arm}-{seed}.json"
            write_json(path, run | {"cpu_seconds": 1.0, "device": "cpu", "validation": verdicts})


def test_seeds_that_differ_more_see_less(tmp_path: Path) -> None:
    found = []
    for deviation in (0.0, 0.2):
        write_pilots(tmp_path / str(deviation), deviation)
        runs = study_report.read_runs(tmp_path / str(deviation))
        found.append(study_report.plan(runs, [str(n // 4) for n in range(400)], 500, 5)["detectable"])
    assert 0.01 < found[0] < 0.1 < found[1]


def test_power_is_written_once_and_pilots_are_reported(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(data)
    count = len(read_questions(data / "validation.jsonl"))
    write_pilots(tmp_path, 0.1)
    for path in (tmp_path / "runs").glob("*.json"):
        run = read_object(path)
        write_json(path, run | {"validation": run["validation"][:count]})
    study_report.write_power(tmp_path, 5)
    before = (tmp_path / "power-5.json").read_bytes()
    for path in (tmp_path / "runs").glob("grpo-*.json"):
        run = read_object(path)
        write_json(path, run | {"validation": [1] * count})
    study_report.write_power(tmp_path, 5)
    assert (tmp_path / "power-5.json").read_bytes() == before
    study_report.write_report(tmp_path, pilots=True)
    text = (tmp_path / "pilots.md").read_text()
    assert "GRPO - SFT, equal computing" in text
    assert (tmp_path / "pilots.png").stat().st_size > 5000
    with pytest.raises(SystemExit, match="no such run yet"):
        study_report.write_report(tmp_path)
