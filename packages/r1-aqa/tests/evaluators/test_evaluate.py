"""Evaluation: greedy, resumable, honest about what is missing; the scores of its own files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.score import ScoreConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.benchmark import VERSIONS, identify, load_benchmark
from r1_aqa.data.questions import Question, read_questions, write_questions
from r1_aqa.evaluators.evaluate import evaluate, in_batches, read_sounds, shuffle_choices
from r1_aqa.evaluators.predictions import PredictionFile, read_outputs, read_predictions
from r1_aqa.evaluators.scores import compare, score, score_outputs
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import answer_batch, answer_greedily
from r1_aqa.models.heard import DeafModelError
from r1_aqa.models.prompt_cache import EncodedPrompts


@pytest.fixture(scope="module")
def benchmark(
    tmp_path_factory: pytest.TempPathFactory, ask_about_scenes: Callable[..., list[Question]]
) -> Path:
    """A sound that is no sound, then scenes of unlike length, two questions each."""
    folder, found = tmp_path_factory.mktemp("bench"), []
    for seed in range(4):
        asked = ask_about_scenes(folder, [seed], seconds=2.5 + 0.4 * seed)
        found += [replace(question, task="sound" if seed % 2 else "music") for question in asked]
    (folder / "bad.wav").write_bytes(b"no sound")
    found.insert(0, replace(found[0], id="bad", audio=folder / "bad.wav"))
    write_questions(folder / "questions.jsonl", found)
    return folder / "questions.jsonl"


def config(benchmark: Path, model: Path, out: Path, **changes: object) -> EvaluateConfig:
    settings = {"batch_size": 3, "max_new_tokens": 6, "device": "cpu", "shuffles": 2, "silent": True}
    return EvaluateConfig(benchmark=str(benchmark), model=str(model), out=out, **settings | changes)  # type: ignore[arg-type]


def test_evaluation_answers_all_and_counts_a_bad_sound_as_wrong(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    scores = evaluate(config(benchmark, tiny_model_folder, tmp_path))
    assert (scores["num_questions"], scores["num_missing"]) == (9, 1)
    assert set(scores["runs"]) == {"shuffle-1", "shuffle-2", "silent"}
    assert scores["shuffled"]["orders"] == 3
    assert scores["official_denominator"]["total"] == 8
    assert {"task"} <= set(scores["by"])
    rows = read_predictions(tmp_path / "predictions.jsonl")
    assert len(rows) == 4 * 9
    assert {row.id for row in rows if row.output is None} == {"bad"}
    assert all(row.error for row in rows if row.output is None)
    assert json.loads((tmp_path / "scores.json").read_text())["strict"] == scores["strict"]
    assert (tmp_path / "scores.png").stat().st_size > 5000


def test_a_killed_evaluation_goes_on_where_it_was(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    whole = evaluate(config(benchmark, tiny_model_folder, tmp_path / "whole"))
    lines = (tmp_path / "whole" / "predictions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    part = tmp_path / "part" / "predictions.jsonl"
    part.parent.mkdir()
    marked = json.loads(lines[0]) | {"output": "kept as it was"}
    part.write_text(json.dumps(marked) + "\n" + "".join(lines[1:10]) + lines[10][:20], encoding="utf-8")
    resumed = evaluate(config(benchmark, tiny_model_folder, tmp_path / "part"))
    found = {(row.run, row.row): row.output for row in read_predictions(part)}
    assert found[marked["run"], marked["row"]] == "kept as it was"
    assert len(found) == 4 * 9
    assert resumed["num_questions"] == whole["num_questions"]


def test_another_run_does_not_mix_its_answers_in(
    benchmark: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    first = config(benchmark, tiny_model_folder, tmp_path, shuffles=0, silent=False)
    scores = evaluate(first)
    with pytest.raises(ValueError, match=r"prompt: answer -> choices.*give another --out"):
        evaluate(replace(first, prompt="choices"))
    assert evaluate(replace(first, batch_size=1))["strict"] == scores["strict"]


def test_answers_do_not_depend_on_the_batch(tiny_audio_llm: AudioLLM, benchmark: Path) -> None:
    questions = read_questions(benchmark)[1:]
    prompts = EncodedPrompts(
        tiny_audio_llm, questions, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**26
    )
    alone = [answer_batch(prompts, [row], max_new_tokens=6)[0] for row in range(8)]
    assert answer_greedily(prompts, range(8), batch_size=5, max_new_tokens=6) == alone


def test_batches_hold_every_question_once_by_length(tiny_audio_llm: AudioLLM, benchmark: Path) -> None:
    questions = read_questions(benchmark)
    prompts = EncodedPrompts(
        tiny_audio_llm, questions, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**26
    )
    batches = list(in_batches(prompts, range(9), 4))
    assert sorted(row for batch in batches for row in batch) == list(range(9))
    assert batches[0][:3] == [0, 1, 2]  # unreadable, so of no length; then the shortest clip's two


def test_a_clip_is_decoded_once_for_the_questions_of_a_batch(
    tiny_audio_llm: AudioLLM, benchmark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = EncodedPrompts(
        tiny_audio_llm,
        read_questions(benchmark),
        sound=SoundConfig(),
        style="answer",
        frozen=True,
        cache_bytes=2**26,
    )
    decoded = []
    decode = prompts.decode
    monkeypatch.setattr(prompts, "decode", lambda row: decoded.append(row) or decode(row))
    ((sounds, errors),) = read_sounds(prompts, [range(9)])
    assert decoded == [0, 1, 3, 5, 7]
    assert (len(sounds), [path.name for path in errors]) == (4, ["bad.wav"])
    prompts.decoded = sounds
    answer_batch(prompts, range(1, 9), max_new_tokens=2)
    assert decoded == [0, 1, 3, 5, 7]
    assert prompts.decoded == {}


def test_shuffled_options_are_the_same_in_another_order(benchmark: Path) -> None:
    for row, question in enumerate(read_questions(benchmark)):
        shuffled = shuffle_choices(question, [0, 1, row])
        assert sorted(shuffled.choices) == sorted(question.choices)
        assert shuffled.choices != question.choices
        assert shuffled.answer == question.answer
        assert shuffle_choices(question, [0, 1, row]) == shuffled


def test_a_deaf_model_is_not_scored(benchmark: Path, deaf_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeafModelError, match=r"the model does not hear: .* by 0 nats with another sound"):
        evaluate(config(benchmark, deaf_model_folder, tmp_path / "out"))


def test_official_files_are_scored(tmp_path: Path) -> None:
    items = [
        {
            "id": str(i),
            "audio_id": f"./{i}.wav",
            "question": "?",
            "choices": ["a dog", "a cat"],
            "answer": "a dog",
            "task": "sound",
            "difficulty": "easy",
            "category": "c",
            "sub-category": "s",
        }
        for i in range(4)
    ]
    (tmp_path / "mini.json").write_text(json.dumps(items))
    answers = ["a dog", "<answer>a cat</answer>", "not a dog", None]
    filled = [i | ({} if a is None else {"model_prediction": a}) for i, a in zip(items, answers, strict=True)]
    (tmp_path / "out.json").write_text(json.dumps(filled))
    found = score(
        ScoreConfig(
            predictions=tmp_path / "out.json",
            questions=tmp_path / "mini.json",
            out=tmp_path / "scores",
            versus=tmp_path / "out.json",
        )
    )
    assert found["strict"]["value"] == 1 / 4
    assert found["official"]["value"] == 2 / 4
    assert found["official_denominator"] == {"correct": 2, "total": 3}
    assert found["first_option"] == 1.0
    assert found["versus"]["p_value"] == 1.0
    submitted = json.loads((tmp_path / "scores" / "submission.json").read_text())
    assert [row["model_output"] for row in submitted] == ["a dog", "a cat", "not a dog", ""]
    assert submitted[0]["question"] == "?"


def test_a_benchmark_without_answers_gives_a_submission_alone(tmp_path: Path) -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"))
    assert score_outputs([question], ["a"]) == {"num_questions": 1, "num_missing": 0, "hidden": True}


def test_two_models_are_compared_question_by_question() -> None:
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"), answer="a")
    found = compare([question] * 6, ["a"] * 6, ["b"] * 6)
    assert (found["first"], found["second"], found["first_only"]) == (1.0, 0.0, 6)
    assert found["p_value"] == pytest.approx(2 / 2**6)


def test_answers_of_other_questions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "x", "output": "a"}\n')
    question = Question(id="1", audio=Path("a.wav"), question="?", choices=("a", "b"), answer="a")
    with pytest.raises(ValueError, match="answers none of the 1 questions"):
        read_outputs(tmp_path / "p.jsonl", [question])
    (tmp_path / "p.jsonl").write_text('{"id": "1", "text": "a"}\n')
    with pytest.raises(ValueError, match="no row has an answer under output, model_output"):
        read_outputs(tmp_path / "p.jsonl", [question])


def test_the_version_of_a_benchmark_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mmau.json"
    file.write_text("[]")
    assert identify(file) == "not a known benchmark's file [4f53cda18c2baa0c]"
    monkeypatch.setitem(VERSIONS, "4f53cda18c2baa0c", "an empty one")
    assert identify(file) == "an empty one [4f53cda18c2baa0c]"


def test_sounds_are_found_in_another_folder(benchmark: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in benchmark.read_text(encoding="utf-8").splitlines()]
    moved = tmp_path / "questions.jsonl"
    moved.write_text("".join(json.dumps(row | {"audio": f"gone/{row['audio']}"}) + "\n" for row in rows))
    with pytest.raises(FileNotFoundError, match=r"no sound of .* give --audio"):
        load_benchmark(str(moved))
    found = load_benchmark(str(moved), benchmark.parent, limit=2)
    assert len(found.questions) == 2
    assert all(question.audio.is_file() for question in found.questions)


def test_an_unknown_benchmark_names_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match="known benchmarks: mmau-test-mini, mmau-test, mmar"):
        load_benchmark("mmau")


def test_a_file_of_answers_is_asked_again_where_it_failed(tmp_path: Path) -> None:
    from r1_aqa.evaluators.predictions import Prediction

    file = PredictionFile(tmp_path / "p.jsonl")
    file.append([Prediction(0, "a", "given", (), "x"), Prediction(1, "b", "given", (), None, "no file")])
    assert set(PredictionFile(tmp_path / "p.jsonl").found) == {("given", 0)}
