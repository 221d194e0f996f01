"""Versions of a benchmark's questions are told apart by what they ask, not by bytes."""

import hashlib
import json
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from r1_aqa.data import versions
from r1_aqa.data.benchmark import read_rows
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.data.versions import describe_version, fingerprint

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "mmau_versions.py"


def ask(number: int = 0, **changes: object) -> Question:
    plain = Question(
        id=str(number),
        audio=Path(f"{number}.wav"),
        question="What is heard?",
        choices=("a dog", "a cat", "rain"),
        answer="a cat",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@given(st.permutations(range(5)))
def test_the_order_of_questions_does_not_matter(order: list[int]) -> None:
    questions = [ask(number) for number in range(5)]
    assert fingerprint([questions[number] for number in order]) == fingerprint(questions)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"question": "What is heard"},
        {"choices": ("a dog", "a cat", "Rain")},
        {"choices": ("a cat", "a dog", "rain")},
        {"answer": "rain"},
        {"answer": None},
    ],
)
def test_an_edit_of_a_single_thing_is_another_version(change: dict) -> None:
    same = [ask(number) for number in range(50)]
    assert fingerprint([*same[:-1], replace(same[-1], **change)]) != fingerprint(same)


def test_letters_spaces_paths_and_the_files_form_do_not_matter(tmp_path: Path) -> None:
    plain = ask()
    lettered = ask(choices=("(A) a dog", "(B) a cat", "(C) rain"), answer="(B) a cat", audio=Path("x.flac"))
    assert fingerprint([plain]) == fingerprint([lettered])
    row = {"id": "0", "audio_id": "./0.wav", "question": "What is  heard?", "choices": list(plain.choices)}
    (tmp_path / "list.json").write_text(json.dumps([row | {"answer": "a cat", "task": "sound"}], indent=3))
    write_questions(tmp_path / "lines.jsonl", [plain])
    found = {read_rows(tmp_path / name).version for name in ("list.json", "lines.jsonl")}
    assert found == {f"questions {fingerprint([plain])}"}


def test_the_version_is_of_all_questions_whichever_are_asked(tmp_path: Path) -> None:
    write_questions(tmp_path / "q.jsonl", [ask(1, split="a"), ask(2, split="b")])
    assert read_rows(tmp_path / "q.jsonl", split="a").version == read_rows(tmp_path / "q.jsonl").version


def test_an_own_file_gives_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_questions(tmp_path / "q.jsonl", [ask()])
    read_rows(tmp_path / "q.jsonl")
    assert caplog.records == []


def test_known_versions_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    content, commit = b"a published file", "ccd9696c0111ea7060827598f310558df0b71b0a"
    number = fingerprint([ask()])
    assert describe_version([ask()], commit="0123456789abcdef") == f"of the hub at 0123456789ab [{number}]"
    assert describe_version([ask()], commit=commit).startswith("MMAU test-mini of the hub, 2025-08-19")
    monkeypatch.setitem(versions.FILES, hashlib.sha256(content).hexdigest()[:16], "the one of May")
    assert describe_version([ask()], content) == f"the one of May [{number}]"
    monkeypatch.setattr(versions, "_table", lambda: {number: "the one of June"})
    # What is asked counts more than the bytes.
    assert describe_version([ask()], content) == f"the one of June [{number}]"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_table_of_versions_is_made_from_a_clone(tmp_path: Path) -> None:
    def git(*arguments: str, date: str = "2025-01-28T12:00:00") -> None:
        names = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "HOME": str(tmp_path)}
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, env=names)

    def commit(answer: str, date: str, indent: int | None = None) -> None:
        row = {"id": "1", "audio_id": "1.wav", "question": "?", "choices": ["a", "b"], "answer": answer}
        (tmp_path / "mmau-test-mini.json").write_text(json.dumps([row], indent=indent))
        git("add", "mmau-test-mini.json")
        git("commit", "-m", "x", date=date)

    git("init", "-q")
    commit("a", "2025-01-28T12:00:00")
    commit("a", "2025-03-25T12:00:00", indent=2)  # other bytes, the same questions
    commit("b", "2025-05-15T12:00:00")
    table = runpy.run_path(str(SCRIPT))["make_table"](tmp_path)
    first, second = table.values()
    assert first.startswith("MMAU test-mini of 2025-01-28 (the paper's time, commit ")
    assert second.startswith("MMAU test-mini of 2025-05-15 (v05.15.25, commit ")
    assert read_rows(tmp_path / "mmau-test-mini.json").version == f"questions {list(table)[1]}"
