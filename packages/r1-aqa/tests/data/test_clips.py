"""Questions made of a manifest of clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from r1_aqa.config.prepare import PrepareClipsConfig, PrepareQuestionsConfig
from r1_aqa.data.clips import captions_of
from r1_aqa.data.prepare import prepare_clips, prepare_questions
from r1_aqa.data.readers import read_questions

ROWS = [
    {"captions": ["A dog barks.", "A dog."], "split": "train", "duration": 1.0, "licence": "CC0"},
    {"captions": ["A dog.", "A hound howls."], "split": "train"},
    {"captions": {"fra": ["De la pluie."], "eng_Latn": ["Rain falls."]}, "split": "train"},
    {"captions": "A car passes.", "split": "train"},
    {"captions": ["A bell."], "split": "test"},
    {"captions": ["A horn."], "split": "test"},
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(len(ROWS)):
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(0, 0.1, 16_000), 16_000)
    rows = [{"id": f"c{n}", "audio": f"{n}.wav"} | row for n, row in enumerate(ROWS)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "m.jsonl"


def test_captions_become_questions_whose_wrong_options_are_wrong(manifest: Path, tmp_path: Path) -> None:
    config = PrepareClipsConfig(source=manifest, out=tmp_path / "q.jsonl", questions_per_clip=5)
    report = prepare_clips(config)
    assert (report.kept, report.skipped) == (30 - len(report.skipped), report.skipped)
    assert {problem.message for problem in report.skipped} <= {"the same question twice"}
    captions = [set(captions_of(row["captions"], "eng")) for row in ROWS]
    for question in read_questions(tmp_path / "q.jsonl"):
        number = int(question.audio.stem)
        own = captions[number]
        # Clips 0 and 1 share a caption: neither is a wrong option of the other.
        shared = set().union(*(other for other in captions if other & own))
        assert question.answer in own
        assert not (set(question.choices) - {question.answer}) & shared
        same_split = [
            other for other, row in zip(captions, ROWS, strict=True) if row["split"] == question.split
        ]
        assert set(question.choices) <= set().union(*same_split)
        assert question.extra["captions"] == ROWS[number]["captions"]
    first = (tmp_path / "q.jsonl").read_bytes()
    prepare_clips(config)
    assert (tmp_path / "q.jsonl").read_bytes() == first


def test_labels_are_asked_about_where_there_are_some(tmp_path: Path) -> None:
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.full(16_000, 0.1 + number / 10), 16_000)
    rows = [
        {"id": f"{n}", "audio": f"{n}.wav", "label": label} for n, label in enumerate(("dog_bark", "rain"))
    ]
    rows += [{"id": "2", "audio": "2.wav"}, {"audio": ["0.wav", "1.wav"], "label": "x"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    report = prepare_clips(PrepareClipsConfig(source=tmp_path / "m.jsonl", out=tmp_path / "q.jsonl"))
    first, second = read_questions(tmp_path / "q.jsonl")
    assert (first.answer, set(first.choices)) == ("dog bark", {"dog bark", "rain"})
    assert first.question == second.question == "Which sound is in the recording?"
    assert [problem.where.rpartition(":")[2] for problem in report.skipped] == ["3", "4", "5"]
    assert "a clip without a label or captions in eng_Latn" in report.skipped[0].message


def test_a_manifest_with_questions_is_read_as_questions(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.1), 16_000)
    row = {
        "id": "a",
        "audio": "a.wav",
        "captions": {"eng_Latn": ["A dog."]},
        "split": "test",
        "question": "What?",
        "choices": ["dog", "cat"],
        "answer": "dog",
    }
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    prepare_questions(PrepareQuestionsConfig(source=tmp_path / "m.jsonl", out=tmp_path / "q.jsonl"))
    assert json.loads((tmp_path / "q.jsonl").read_text()) == row


@pytest.mark.parametrize("language", ["eng_Latn", "eng", "en", "English"])
def test_a_language_is_found_under_its_names(language: str) -> None:
    value = {"English": ["A dog."], "fra_Latn": ["Un chien."]}
    assert captions_of(value, language) == ("A dog.",)
    assert captions_of(value, "fr") == ("Un chien.",)
    assert captions_of(value, "ja") == ()
