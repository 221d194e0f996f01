"""`prepare --audio_dependence`: columns, filter, shares; the same file whatever interrupted it."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from r1_aqa.cli import main
from r1_aqa.config.prepare import PrepareGenerateConfig, PrepareQuestionsConfig
from r1_aqa.data.dependence import dependence_of, is_marked_dependent
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.readers import read_questions
from r1_aqa.data.report import Report
from r1_aqa.evaluators.dependence import generate_verb, probe_rows
from r1_aqa.models import option_scores


class Reader:
    """A probe that knows an option when the question says it, and else likes what stands first."""

    asked = 0
    fails_after = 10**9

    def score(self, question: Question, orders: Sequence[Sequence[str]]) -> list[list[float]]:
        type(self).asked += 1
        if self.asked > self.fails_after:
            raise KeyboardInterrupt
        return [
            [float(place == 0) + 5 * (option in question.question) for place, option in enumerate(order)]
            for order in orders
        ]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> type[Reader]:
    Reader.asked, Reader.fails_after = 0, 10**9
    monkeypatch.setattr(option_scores, "load_probe", lambda name, device: Reader())
    monkeypatch.setattr(option_scores, "stamp_of", lambda name: "1")
    return Reader


@pytest.fixture
def questions() -> list[Question]:
    """Three that do not say their answer, three that do, one without options."""
    options = ("rain", "wind", "fire")
    plain = [
        Question(id=f"plain-{i}", audio=Path("a.wav"), question="What is heard?", choices=o, answer=o[i])
        for i, o in enumerate([options, options[::-1], (*options, "a dog")])
    ]
    leaky = [replace(q, id=f"leaky-{i}", question=f"It is {q.answer}. What?") for i, q in enumerate(plain)]
    return [
        *(replace(question, dataset="plain") for question in plain),
        *(replace(question, dataset="leaky", audio=Path("b.wav")) for question in leaky),
        replace(plain[0], id="free", choices=()),
    ]


@pytest.fixture
def probe(questions: list[Question], tmp_path: Path) -> Callable[..., tuple[list[Question], Report]]:
    def run(name: str = "out", **changes: Any) -> tuple[list[Question], Report]:
        report = Report()
        rows = [(f"q.jsonl:{number}", question) for number, question in enumerate(questions, 1)]
        known = {
            "source": Path("q.jsonl"),
            "out": tmp_path / f"{name}.jsonl",
            "audio_dependence": ("reader",),
        }
        kept = probe_rows(PrepareQuestionsConfig(**known | changes), rows, report)
        return [question for _, question in kept], report

    return run


def test_questions_that_the_text_answers_are_found(
    probe: Callable, reader: type[Reader], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found, report = probe()
    assert len(found) == 7
    assert [q.id for q in found if is_marked_dependent(q)] == ["plain-0", "plain-1", "plain-2"]
    assert dependence_of(found[-1]) is None
    shares = report.audio_dependence
    assert shares is not None
    assert (shares["all"]["value"], shares["all"]["count"]) == (0.5, 6)
    assert {name: share["value"] for name, share in shares["by_dataset"].items()} == {"plain": 1, "leaky": 0}
    assert shares["all"]["by_luck"] == pytest.approx(1 - (4 / 3 + 2 / 4) / 6)
    assert shares["reads"] == {"reader": {"right": 6, "count": 6}}
    assert "reader picks the answer of 6 of 6 questions that say it in their text\n" in caplog.text
    assert "questions: 50.0% of 6 depend on their audio" in caplog.text
    assert "leaky: 0.0% of 3" in caplog.text
    assert [(problem.where, problem.message) for problem in report.problems] == [
        ("q.jsonl:7", "not probed: it has no options")
    ]


def test_only_dependent_keeps_those_and_lists_the_others(probe: Callable, reader: type[Reader]) -> None:
    found, report = probe(only_dependent=True)
    assert [question.id for question in found] == ["plain-0", "plain-1", "plain-2"]
    assert report.reasons == {"answered without its sound": 3, "not probed": 1}


def test_an_interrupted_probing_goes_on_to_the_same_file(
    probe: Callable, reader: type[Reader], tmp_path: Path
) -> None:
    whole, _ = probe("whole")
    reader.asked, reader.fails_after = 0, 10
    with pytest.raises(KeyboardInterrupt):
        probe("parts")
    with (tmp_path / "parts.probed.jsonl").open("ab") as file:
        file.write(b'{"probe": "reader 1", "quest')  # half a line
    reader.asked, reader.fails_after = 0, 10**9
    assert probe("parts")[0] == whole
    assert reader.asked == 2
    kept = [(tmp_path / f"{name}.probed.jsonl").read_bytes() for name in ("whole", "parts")]
    assert kept[0] == kept[1]


def test_a_probe_that_changed_is_asked_anew(
    probe: Callable, reader: type[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe()
    found, _ = probe(dependence_share=1.0)
    assert reader.asked == 12  # six questions, and these with their answer in the text
    assert (dependence_of(found[3]) or {})["answered"] == 1.0
    monkeypatch.setattr(option_scores, "stamp_of", lambda name: "2")
    probe()
    assert reader.asked == 24


def test_a_probe_that_cannot_read_is_told(
    probe: Callable, reader: type[Reader], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def likes_the_first(_: Reader, question: Question, orders: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[float(place == 0) for place in range(len(order))] for order in orders]

    monkeypatch.setattr(Reader, "score", likes_the_first)
    _, report = probe()
    assert report.audio_dependence["all"]["value"] == 1
    assert (
        "reader picks the answer of 0 of 6 questions that say it in their text: a poor reader" in caplog.text
    )


def test_the_command_probes_with_models(
    tmp_path: Path, tiny_model_folder: Path, ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]]
) -> None:
    write_questions(tmp_path / "questions.jsonl", ask_about_scenes(tmp_path, [0]))
    words = ["prepare", "questions", str(tmp_path / "questions.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    main([*words, "--no_check_sound", "--audio_dependence", str(tiny_model_folder), "--device", "cpu"])
    for question in read_questions(tmp_path / "out.jsonl"):
        column = dependence_of(question) or {}
        assert 0 <= column["probes"][str(tiny_model_folder)] == column["probability"] <= 1
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["audio_dependence"]["all"]["count"] == 2


def test_generated_questions_are_probed_in_all_splits(reader: type[Reader], tmp_path: Path) -> None:
    config = PrepareGenerateConfig(
        source=Path("scenes"),
        out=tmp_path / "made.jsonl",
        num_questions=12,
        kinds=("which",),
        difficulties=("easy",),
        seconds=2.0,
        validation_share=0.5,
        audio_dependence=("reader",),
    )
    assert generate_verb(config) == 0
    made = [*read_questions(config.out), *read_questions(config.out.with_suffix(".validation.jsonl"))]
    assert len(made) > 2
    # The text of no question says its answer, and a liking for the first place is no knowledge.
    assert all(map(is_marked_dependent, made))
    report = json.loads((tmp_path / "made.report.json").read_text())
    assert report["audio_dependence"]["all"]["count"] == len(made)


def test_impossible_settings_are_refused(probe: Callable) -> None:
    with pytest.raises(ValueError, match="only_dependent needs probes"):
        probe(audio_dependence=(), only_dependent=True)
    with pytest.raises(ValueError, match="dependence_share must be in"):
        probe(dependence_share=0.0)
    with pytest.raises(ValueError, match="names a probe twice"):
        probe(audio_dependence=("a", "a"))


def test_probes_asked_by_ray_say_the_same(reader, questions, tmp_path: Path, here) -> None:
    from r1_aqa.config.ray import RayConfig

    found = []
    for engine in ("local", "ray"):
        config = PrepareQuestionsConfig(
            source=tmp_path / "q.jsonl",
            out=tmp_path / f"{engine}.jsonl",
            audio_dependence=("a", "b"),
            engine=engine,
            ray=RayConfig(block_seconds=5),
        )
        rows = [(str(number), question) for number, question in enumerate(questions)]
        found.append(probe_rows(config, rows, Report()))
        assert reader.asked == 2 * (6 + 6)
        reader.asked = 0
    assert found[0] == found[1]
    assert [len(block.rows) for block in here] == [5, 5, 2] * 2
    # What was said is remembered, whoever was asked.
    probe_rows(config, rows, Report())
    assert reader.asked == 0
