"""The study's data hold apart what they say, and its intervals know which clips belong together."""

import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from aac_llm.config.model import WhisperConfig
from aac_llm.models.whisper import WhisperEncoder

EXAMPLES = Path(__file__).parents[1] / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not beside the tests", allow_module_level=True)
sys.path.insert(0, str(EXAMPLES))

import study  # noqa: E402
import study_data  # noqa: E402
import study_report  # noqa: E402
from study_data import LABELS, NUM_FOLDS, held_out_pairs, tagged_classes  # noqa: E402


@pytest.fixture(scope="module")
def esc10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the form of ESC-10: six clips of each class and fold, cut from five recordings."""
    folder = tmp_path_factory.mktemp("esc10")
    rng = np.random.default_rng(0)
    rows = []
    for number, (label, fold) in enumerate((label, fold) for label in LABELS for fold in range(1, 5)):
        for clip in range(6):
            name = f"{fold}-{number}{min(clip, 4)}-{'AB'[clip == 5]}.wav"
            soundfile.write(folder / name, rng.normal(0, 0.1, 4_000), 16_000)
            rows.append({"audio": name, "label": label, "fold": fold})
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = {label: {"eng_Latn": [f"A {label} is {word}." for word in "abcd"]} for label in LABELS}
    (folder / "captions.json").write_text(json.dumps(texts))
    return folder


@pytest.fixture(scope="module")
def scenes(esc10: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("fold")
    study_data.write_fold(esc10, folder, 1)
    before = (folder / "manifest.jsonl").stat().st_mtime_ns
    study_data.write_fold(esc10, folder, 1)
    assert (folder / "manifest.jsonl").stat().st_mtime_ns == before
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def of(scenes: list[dict], *splits: str) -> list[dict]:
    return [scene for scene in scenes if scene["split"] in splits]


def test_no_recording_is_in_two_splits(scenes: list[dict]) -> None:
    splits = (("train-a", "train-b"), ("validation",), ("test",))
    heard = [{name for scene in of(scenes, *split) for name in scene["recordings"]} for split in splits]
    assert all(heard)
    assert not any(one & other for one, other in combinations(heard, 2))


def test_the_small_training_set_is_of_its_own_recordings(scenes: list[dict]) -> None:
    alone = [
        {s["recordings"][0] for s in of(scenes, split) if len(s["events"]) == 1}
        for split in ("train-a", "train-b")
    ]
    assert not alone[0] & alone[1]
    assert {name for scene in of(scenes, "train-a") for name in scene["recordings"]} <= alone[0]
    assert {scene["events"][0] for scene in of(scenes, "train-a")} == set(LABELS)


def test_held_out_pairs_are_in_the_test_alone(scenes: list[dict]) -> None:
    pairs = {split: [frozenset(s["events"]) for s in of(scenes, split) if len(s["events"]) == 2] for split in
             ("train-a", "train-b", "validation", "test")}  # fmt: skip
    held_out = held_out_pairs(1)
    assert not held_out & {pair for split in ("train-a", "train-b", "validation") for pair in pairs[split]}
    assert [pair in held_out for pair in pairs["test"]].count(True) == len(pairs["test"]) // 2


def test_the_fourth_wording_is_in_the_test_alone(scenes: list[dict], esc10: Path) -> None:
    assert all(
        len(scene["captions"]) == 4 and " is d" in scene["captions"][3] for scene in of(scenes, "test")
    )
    others = of(scenes, "train-a", "train-b", "validation")
    assert not any(" is d" in text for scene in others for text in scene["captions"])
    assert not any(" is d" in text for _, text in study_data.random_captions(esc10, 300, seed=0))


def test_each_class_is_unknown_to_some_fold_s_tagger() -> None:
    tagged = [set(tagged_classes(fold)) for fold in range(NUM_FOLDS)]
    assert {len(classes) for classes in tagged} == {7}
    assert set.union(*(set(LABELS) - classes for classes in tagged)) == set(LABELS)


def test_intervals_of_clips_that_share_recordings_are_wider() -> None:
    rng = np.random.default_rng(1)
    effect = rng.normal(0, 1, 20)
    values = np.repeat(effect, 10) + rng.normal(0, 0.1, 200)
    seeds = np.zeros(200)
    apart = study_report.pigeonhole(values, seeds, [(str(n),) for n in range(200)], 0.95)
    together = study_report.pigeonhole(values, seeds, [(str(n // 10),) for n in range(200)], 0.95)
    assert together[1] - together[0] > 2.5 * (apart[1] - apart[0])
    # Of independent clips it is the usual interval.
    half = 1.96 * values.std() / np.sqrt(200)
    np.testing.assert_allclose(apart, [values.mean() - half, values.mean() + half], atol=0.03)


def test_a_clip_of_two_recordings_counts_with_both() -> None:
    values = np.array([1.0, 0.0, 0.0])
    recordings = [("a", "b"), ("a",), ("b",)]
    low, high = study_report.pigeonhole(values, np.zeros(3), recordings, 0.5)
    # Both are drawn once, or one of them twice, when the pair does not count: a mean of 1/3 or of 0.
    assert (low, high) == (0.0, pytest.approx(1 / 3))


def test_seeds_are_drawn_as_well() -> None:
    values = np.repeat([0.0, 1.0], 50)
    recordings = [(str(number),) for number in range(100)]
    low, high = study_report.pigeonhole(values, np.repeat([0, 1], 50), recordings, 0.95)
    assert (low, high) == (0.0, 1.0)


def test_a_difference_of_nothing_has_an_interval_of_nothing() -> None:
    assert study_report.pigeonhole(np.zeros(9), np.arange(9) % 3, [("a",)] * 9, 0.95) == (0.0, 0.0)


def test_a_greater_power_needs_a_greater_difference() -> None:
    assert study_report.detectable(1.0) == pytest.approx(2.80, abs=0.01)  # 1.96 + 0.84
    assert study_report.detectable(0.5, power=0.9) == pytest.approx(1.62, abs=0.01)


def test_a_frozen_whisper_encodes_each_sound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WhisperEncoder, "_encode", WhisperEncoder._encode)  # put back after the test
    sizes = WhisperConfig(embed_dim=48, depth=1, num_heads=3, mlp_dim=96, pad_seconds=0.0)
    encoder, sounds = WhisperEncoder(sizes).eval(), torch.randn(3, 4_000) * 0.1
    lengths = [4_000, 1_000, 2_500]
    with torch.no_grad():
        before = encoder(sounds, lengths).tokens
        study.remember_tokens()
        first = encoder(sounds, lengths).tokens
        encoder.norm.weight.zero_()  # whoever computes again gets something else
        torch.testing.assert_close(encoder(sounds.flip(0), lengths[::-1]).tokens.flip(0), before)
    torch.testing.assert_close(first, before)


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_is_reported(
    esc10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("UPDATES", "ENCODER_UPDATES", "DECODER_UPDATES"):
        monkeypatch.setattr(study, name, 2)
    monkeypatch.setattr(study, "RATES", (1e-3,))
    words = f"study --esc10 {esc10} --out {tmp_path} --seeds 1 --sizes all --arms bridge-linear"
    monkeypatch.setattr(sys, "argv", words.split())
    study.main()
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2 * len(study.RATES) + len(study.PILOT_SEEDS) + 2
    found = [json.loads(path.read_text()) for path in runs]
    assert {len(run["captions"]) for run in found if run["split"] == "test"} == {60 + 80}
    # As many operations for each, within an update.
    spent = {run["arm"]: run["operations"] for run in found}
    assert spent["bridge-linear"] == pytest.approx(spent["recipe"], rel=0.3)
    runs[0].unlink()
    before = [path.stat().st_mtime_ns for path in runs[1:]]
    study.main()
    assert [path.stat().st_mtime_ns for path in runs[1:]] == before
    assert json.loads(runs[0].read_text())["captions"] == found[0]["captions"]
    capsys.readouterr()
    study_report.write_report(tmp_path)
    assert "| all | bridge-linear |" in capsys.readouterr().out
    assert (tmp_path / "report.png").stat().st_size > 5_000
