"""Benchmarks by name and by folder: every file as the hub's data sets have it, at a small size."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from r1_aqa.cli import main
from r1_aqa.config.score import ScoreConfig
from r1_aqa.data import parquet
from r1_aqa.data.benchmark import load_benchmark
from r1_aqa.data.layout import find_layout
from r1_aqa.evaluators.scores import score
from r1_aqa.lock import BusyError, sole_writer

COMMIT = "ccd9696c0111ea7060827598f310558df0b71b0a"


def sound(number: int) -> bytes:
    memory = io.BytesIO()
    samples = np.sin(np.arange(1600) * (number + 1) / 20).astype(np.float32)
    soundfile.write(memory, samples, 16_000, format="WAV")
    return memory.getvalue()


def mmau_test_mini(folder: Path) -> None:
    rows = [
        {
            "instruction": f"What is heard, number {number}?",
            "choices": ["(A) Man", "(B) Woman", "(C) Child", "(D) Robot"],
            "answer": "(B) Woman",
            "context": {"bytes": sound(number), "path": None},
            "other_attributes": json.dumps(
                {
                    "id": f"id-{number}",
                    "task": "speech",
                    "split": "test-mini",
                    "category": ["Reasoning"] if number else "Reasoning",
                    "sub-category": "Acoustic Source Inference",
                    "difficulty": "hard",
                    "dataset": "AudioSet",
                }
            ),
        }
        for number in range(3)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "test_mini.parquet")


def mmau_test(folder: Path) -> None:
    rows = [
        {
            "id": f"id-{number}",
            "audio_id": f"./test-audios/id-{number}.wav",
            "question": "What is heard?",
            "choices": ["dog", "cat"],
            "answer": "",
            "task": "sound",
            "split": "test",
            "category": "Reasoning",
            "sub-category": "X",
            "difficulty": "easy",
            "dataset": "AudioSet",
        }
        for number in range(3)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "test.parquet")
    pack(
        folder / "test-audios.tar.gz", {f"test-audios/id-{number}.wav": sound(number) for number in range(3)}
    )


def mmar(folder: Path) -> None:
    rows = [
        {
            "id": f"BV1_{number}",
            "audio_path": f"./audio/BV1_00-00-0{number}.wav",
            "question": "Who speaks?",
            "choices": ["a man", "a woman"],
            "answer": "a man",
            "modality": "speech",
            "category": "Semantic Layer",
            "sub-category": "Speaker Analysis",
            "language": "en",
        }
        for number in range(3)
    ]
    (folder / "MMAR-meta.json").write_text(json.dumps(rows, indent=2))
    sounds = {f"./audio/BV1_00-00-0{number}.wav": sound(number) for number in range(3)}
    pack(folder / "mmar-audio.tar.gz", sounds | {"./audio/._BV1_00-00-00.wav": b"macOS"})


def mmau_pro(folder: Path) -> None:
    common: dict[str, Any] = {"length_type": "short", "perceptual_skills": ["pitch"], "reasoning_skills": []}
    rows = [
        {"id": "one", "audio_path": ["data/one.wav"], "choices": ["dog", "cat"], "answer": "cat"},
        {"id": "two", "audio_path": ["data/one.wav", "data/two.wav"], "choices": ["1", "2"], "answer": "1"},
        {"id": "open", "audio_path": ["data/two.wav"], "choices": [], "answer": "A cat is heard."},
        {"id": "told", "audio_path": ["data/two.wav"], "choices": None, "answer": None}
        | {"task_identifier": "No Commas", "kwargs": {"N": None, "keyword": None}},
    ]
    categories = ("sound", "multi", "open", "instruction following")
    table = [
        {"question": f"Question {row['id']}?", "category": category, "sub-cat": "x", "task_identifier": None}
        | common
        | row
        for row, category in zip(rows, categories, strict=True)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), folder / "test.parquet")
    with zipfile.ZipFile(folder / "data.zip", "w") as opened:
        for number, name in enumerate(("one", "two")):
            opened.writestr(f"data/{name}.wav", sound(number))


def mmsu(folder: Path) -> None:
    (folder / "data").mkdir()
    for part in range(2):
        rows = [
            {
                "id": f"{task}_{part}{number}",
                "task_name": task,
                "audio": {"bytes": sound(2 * part + number), "path": f"{task}.wav"},
                "question": "Which?",
                "choice_a": "male",
                "choice_b": "female",
                "choice_c": None if number else "a child",
                "choice_d": None if number else "nobody",
                "answer_gt": "female",
                "category": "Perception",
                "sub-category": "Paralinguistics",
                "sub-sub-category": "Speaker Traits",
                "linguistics_sub_discipline": None,
            }
            for number, task in enumerate(("age", "gender"))
        ]
        file = folder / "data" / f"train-0000{part}-of-00002.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def pack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "mmau-test-mini": mmau_test_mini,
    "mmau-test": mmau_test,
    "mmar": mmar,
    "mmau-pro": mmau_pro,
    "mmsu": mmsu,
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The hub, whose cache holds every data set, and what it was asked for."""
    calls: list[tuple[str, list[str]]] = []
    names = {"MMAU-test-mini": mmau_test_mini, "MMAU-test": mmau_test, "MMAR": mmar, "MMSU": mmsu}
    names["MMAU-Pro"] = mmau_pro

    def snapshot_download(name: str, *, allow_patterns: list[str], **settings: Any) -> str:
        assert settings["repo_type"] == "dataset"
        calls.append((name, allow_patterns))
        folder = tmp_path / "hub" / name.rpartition("/")[2] / COMMIT
        if not folder.is_dir():
            folder.mkdir(parents=True)
            names[name.rpartition("/")[2]](folder)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return calls


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_benchmark_is_loaded_by_its_name(name: str, tmp_path: Path, asked: list) -> None:
    found = load_benchmark(name)
    assert len(found.questions) in (3, 4)
    assert not found.bad_rows
    for question in found.questions:
        for path in question.audios:
            assert soundfile.info(path).samplerate == 16_000
            # Nothing is written into the hub's own cache.
            assert path.is_relative_to(tmp_path / "home" / "r1-aqa" / f"{name}-{COMMIT[:12]}")
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "home").rglob("*.wav"))]
    again = load_benchmark(name)
    assert again == found
    assert before == [path.stat().st_mtime_ns for path in sorted((tmp_path / "home").rglob("*.wav"))]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_laid_out_as_on_the_hub_is_a_benchmark(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    LAYOUTS[name](folder)
    found = load_benchmark(str(folder))
    assert all(path.is_relative_to(folder / "unpacked") for q in found.questions for path in q.audios)
    # Where the sounds are unpacked by hand, nothing is unpacked again.
    if name in ("mmar", "mmau-test", "mmau-pro"):
        (
            folder / "unpacked" / ("data" if name == "mmau-pro" else found.questions[0].audio.parent.name)
        ).rename(folder / ("data" if name == "mmau-pro" else found.questions[0].audio.parent.name))
        by_hand = load_benchmark(str(folder))
        assert all(path.is_file() for q in by_hand.questions for path in q.audios)
        assert not list((folder / "unpacked").rglob("*.wav"))


def test_mmau_keeps_its_own_form_so_that_official_scripts_read_it(asked: list) -> None:
    found = load_benchmark("mmau-test-mini")
    first = found.questions[0]
    assert (first.id, first.task, first.difficulty, first.split) == ("id-0", "speech", "hard", "test-mini")
    assert (first.answer, first.choices[1]) == ("(B) Woman", "(B) Woman")
    assert {question.category for question in found.questions} == {"Reasoning"}
    row = json.loads(found.file.read_text().splitlines()[0])
    assert row["audio_id"] == "audio/id-0.wav"
    assert set(row) >= {"id", "question", "choices", "answer", "task", "sub-category", "difficulty"}
    assert found.version.startswith("MMAU test-mini of the hub, 2025-08-19 (v05.15.25) [")


def test_a_model_is_evaluated_by_a_benchmarks_name(
    asked: list, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", tiny_model_folder, "--out", tmp_path / "scores", "--max_new_tokens", 2]
    flags += ["--check_heard", "false", "--bootstrap", 10]
    main(["evaluate", "mmau-test-mini", *map(str, flags)])
    assert len(asked) == 1
    shown = capsys.readouterr()
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    assert scores["version"].startswith("MMAU test-mini of the hub, 2025-08-19 (v05.15.25) [")
    assert scores["version"] in shown.err
    assert (scores["num_questions"], scores["num_unreadable"]) == (3, 0)
    submission = json.loads((tmp_path / "scores/submission.json").read_text())
    assert [row["id"] for row in submission] == ["id-0", "id-1", "id-2"]
    assert all("model_output" in row for row in submission)


def test_questions_that_no_rule_can_judge_are_asked_but_not_counted(asked: list, tmp_path: Path) -> None:
    found = load_benchmark("mmau-pro")
    one, two, free, told = found.questions
    assert [path.name for path in two.audios] == ["one.wav", "two.wav"]
    assert (one.answer, two.answer, free.answer, told.answer) == ("cat", "1", None, None)
    assert free.extra["reference"] == "A cat is heard."
    answers = tmp_path / "answers.jsonl"
    outputs = {"one": "cat", "two": "2", "open": "A cat is heard.", "told": "Yes, no commas."}
    answers.write_text("".join(json.dumps({"id": id, "output": text}) + "\n" for id, text in outputs.items()))
    scores = score(ScoreConfig(predictions=answers, data=Path("mmau-pro"), bootstrap=10))
    assert (scores["num_questions"], scores["num_not_scored"]) == (2, 2)
    assert scores["strict"]["value"] == 0.5
    assert (scores["num_to_judge"], scores["instructions"]["followed"]) == (1, 0)


def test_questions_are_prepared_from_a_folder_of_parquet_files(tmp_path: Path) -> None:
    mmsu(tmp_path)
    out = tmp_path / "prepared.jsonl"
    main(["prepare", "questions", str(tmp_path), "--out", str(out), "--validation_share", "0"])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["audio"] for row in rows[:2]] == ["unpacked/audio/age_00.wav", "unpacked/audio/gender_01.wav"]
    assert rows[0]["task_name"] == "age"


def test_mmsu_has_two_to_four_options_and_its_answer_by_text(asked: list) -> None:
    found = load_benchmark("mmsu")
    assert [len(question.choices) for question in found.questions] == [4, 2, 4, 2]
    assert {question.answer for question in found.questions} == {"female"}
    first = found.questions[0]
    assert (first.category, first.sub_category) == ("Perception", "Paralinguistics")
    assert (first.extra["task_name"], first.extra["sub-sub-category"]) == ("age", "Speaker Traits")
    assert len({question.audio for question in found.questions}) == 4


def test_only_what_is_needed_is_downloaded(asked: list, tmp_path: Path) -> None:
    find_layout("mmar", with_sounds=False)
    assert asked == [("BoJack/MMAR", ["MMAR-meta.json", "MMAR-meta.jsonl", "README.md"])]
    load_benchmark("mmar")
    assert asked[-1] == ("BoJack/MMAR", ["MMAR-meta.json", "MMAR-meta.jsonl", "*.tar.gz", "README.md"])
    # An archive that is unpacked is not asked for again, not even where somebody deleted it.
    (tmp_path / "hub" / "MMAR" / COMMIT / "mmar-audio.tar.gz").unlink()
    asked.clear()
    assert len(load_benchmark("mmar").questions) == 3
    assert asked == [("BoJack/MMAR", ["MMAR-meta.json", "MMAR-meta.jsonl", "README.md"])]


def test_sounds_given_by_their_folder_are_not_downloaded(asked: list, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"BV1_00-00-0{number}.wav").write_bytes(sound(number))
    found = load_benchmark("mmar", tmp_path)
    assert all(question.audio.parent == tmp_path for question in found.questions)
    assert [patterns for _, patterns in asked] == [["MMAR-meta.json", "MMAR-meta.jsonl", "README.md"]]


def test_an_archive_may_have_folders_of_its_own(tmp_path: Path) -> None:
    mmar(tmp_path)
    sounds = {f"mmar/v1/sounds/BV1_00-00-0{number}.wav": sound(number) for number in range(3)}
    pack(tmp_path / "mmar-audio.tar.gz", sounds)
    found = load_benchmark(str(tmp_path))
    assert [question.audio.read_bytes() for question in found.questions] == [sound(n) for n in range(3)]


def test_a_killed_unpacking_of_sounds_within_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mmau_test_mini(tmp_path)
    written: list[str] = []
    write = parquet.write_sound

    def write_until_killed(path: Path, content: Callable) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(parquet, "write_sound", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        load_benchmark(str(tmp_path))
    monkeypatch.setattr(parquet, "write_sound", write)
    before = (tmp_path / "unpacked/audio/id-0.wav").stat().st_mtime_ns
    found = load_benchmark(str(tmp_path))
    assert [question.audio.read_bytes() for question in found.questions] == [sound(n) for n in range(3)]
    assert (tmp_path / "unpacked/audio/id-0.wav").stat().st_mtime_ns == before


def test_another_version_of_a_parquet_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    mmsu(tmp_path)
    old = load_benchmark(str(tmp_path))
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    new = load_benchmark(str(tmp_path))
    assert (len(old.questions), len(new.questions)) == (4, 2)
    assert len(list((tmp_path / "unpacked").rglob("*.wav"))) == 2


def test_one_parquet_file_is_a_benchmark_too_and_two_processes_do_not_unpack_at_once(tmp_path: Path) -> None:
    mmau_test_mini(tmp_path)
    file = tmp_path / "test_mini.parquet"
    with sole_writer(tmp_path / "test_mini-unpacked", folder=True), pytest.raises(BusyError):
        load_benchmark(str(file))
    assert len(load_benchmark(str(file)).questions) == 3
    with sole_writer(tmp_path / "test_mini-unpacked", folder=True):
        assert len(load_benchmark(str(file)).questions) == 3  # it only reads


def test_ids_that_are_no_file_names_never_leave_the_folder(tmp_path: Path) -> None:
    ids = ["../../out", "same", "same", "SAME", "", "a/b", "x" * 300, ".hidden", "ü"]
    rows = [
        {"id": name, "audio": {"bytes": sound(n)}, "question": "?", "choices": ["a", "b"], "answer": "a"}
        for n, name in enumerate(ids)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "odd.parquet")
    found = load_benchmark(str(tmp_path / "odd.parquet"))
    assert [question.audio.read_bytes() for question in found.questions] == [
        sound(n) for n in range(len(ids))
    ]
    assert {question.audio.parent for question in found.questions} == {tmp_path / "odd-unpacked" / "audio"}


def test_a_damaged_parquet_file_and_a_folder_of_something_else_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"a.parquet is no Parquet file, or damaged .* fetch it again"):
        load_benchmark(str(tmp_path))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"holds no file of questions that is known \(MMAR-meta.jsonl"
    ):
        load_benchmark(str(tmp_path))
