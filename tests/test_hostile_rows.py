"""Hostile rows cost themselves alone, and hostile files are refused in one line, in seconds.

Each row is put between good ones and read by the command that prepares such files; a third of the rows are
drawn for the short form.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from damaged_sounds import good_sounds
from hostile_rows import bad_files, bad_lines, bad_tables
from isolated import Ended, run_program
from sound_commands import TEXTS, count_prepared, count_prepared_questions

PACKAGES = {"ml-clap": "ml_clap", "aac-llm": "aac_llm", "r1-aqa": "r1_aqa"}
SECONDS, MEGABYTES = 20.0, 1000
DRAWN = 40
GOOD = 3
"""Rows that are right, around the hostile one."""


@dataclass(frozen=True)
class Reader:
    """A command that reads rows."""

    words: tuple[str, ...]
    row: dict[str, Any]
    """A row that it can use."""


CLIP = {"id": "clip", "audio": "1.wav", "captions": TEXTS[:2], "split": "train", "duration": 0.5}
READERS = {
    "ml-clap": [Reader(("prepare", "jsonl"), CLIP | {"label": "dog"})],
    "aac-llm": [Reader(("prepare", "jsonl"), CLIP | {"dataset": "mine"})],
    "r1-aqa": [
        Reader(
            ("prepare", "questions"),
            {"id": "q", "audio": "1.wav", "question": "What?", "choices": TEXTS[:3], "answer": TEXTS[0]},
        ),
        Reader(("prepare", "clips"), CLIP),
    ],
}
TABLES = {
    "ml-clap": [("clotho", "file_name,caption_1,caption_2", "1.wav,A dog barks.,A dog.")],
    "aac-llm": [
        ("clotho", "file_name,caption_1,caption_2", "1.wav,A dog barks.,A dog."),
        ("audiocaps", "file_name,caption_1,caption_2", "1.wav,A dog barks.,A dog."),
    ],
    "r1-aqa": [],
}


@pytest.fixture(scope="module", params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    if find_spec(PACKAGES[request.param]) is None:
        pytest.skip(f"{request.param} is not installed here")
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sounds, each another one, so that none is a copy."""
    wav = good_sounds()["float.wav"]
    for number in range(GOOD + 1):
        content = bytearray(wav)
        content[-4000 - 400 * number : -4000] = bytes(400 * number)
        (tmp_path / f"{number}.wav").write_bytes(content)
    return tmp_path


@pytest.fixture(autouse=True)
def _warm(package: str, folder: Path) -> None:
    """Import once what every child would import for itself."""
    for reader in READERS[package]:
        try_lines(package, reader, [("good", json.dumps(reader.row).encode())], folder, seconds=120.0)


def try_lines(
    package: str,
    reader: Reader,
    lines: Iterable[tuple[str, bytes]],
    folder: Path,
    seconds: float = SECONDS,
) -> list[str]:
    """Read each line among good ones; return what was wrong."""
    wrong = []
    for name, line in lines:
        source, out = folder / "rows.jsonl", folder / "out.jsonl"
        captions = [[f"{TEXTS[number]} at {number}"] for number in range(GOOD + 1)]
        good = [reader.row | {"id": f"good-{n}", "audio": f"{n}.wav"} for n in (0, 2, 3)]
        good = [row | ({"captions": captions[n]} if "captions" in row else {}) for n, row in enumerate(good)]
        rows = [json.dumps(row).encode() for row in good]
        source.write_bytes(b"\n".join([rows[0], rows[1], line, rows[2], b""]))
        for leftover in folder.glob("out.*"):
            leftover.unlink()
        ended = run(package, [*reader.words, str(source), "--out", str(out)], folder, seconds)
        count = count_prepared_questions if package == "r1-aqa" else count_prepared
        used, reasons = count(out) if ended.code in (0, 1) else (0, [])
        faults = [*common_faults(ended), *([] if ended.code in (0, 1) else [f"exit code {ended.code}"])]
        if ended.code in (0, 1) and (used + len(reasons) != GOOD + 1 or used < GOOD):
            faults.append(f"{used} used and {len(reasons)} listed of {GOOD + 1}")
        if faults:
            wrong.append(f"{name}: {', '.join(faults)} | {ended.err.strip()[-250:]}")
    return wrong


def run(package: str, words: list[str], folder: Path, seconds: float = SECONDS) -> Ended:
    program = import_module(f"{PACKAGES[package]}.cli").main
    return run_program(program, words, folder / "said", seconds=seconds, megabytes=2 * MEGABYTES)


def common_faults(ended: Ended) -> Iterator[str]:
    if ended.timed_out:
        yield f"not done in {SECONDS:g} s"
    if ended.megabytes > MEGABYTES:
        yield f"{ended.megabytes:.0f} MB"
    if any(code in ended.out + ended.err for code in ("\x1b", "\x9b", "\u202e", "\x07")):
        yield "terminal codes came through"


def all_lines(reader: Reader) -> list[tuple[str, bytes]]:
    return list(bad_lines(reader.row))


@pytest.mark.slow
def test_a_hostile_row_costs_itself_alone(package: str, folder: Path) -> None:
    for reader in READERS[package]:
        lines = all_lines(reader)
        wrong = try_lines(package, reader, random.Random(12).sample(lines, DRAWN), folder)
        assert not wrong, f"{' '.join(reader.words)}: {len(wrong)}:\n" + "\n".join(wrong)


@pytest.mark.nightly
def test_every_hostile_row(package: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for reader in READERS[package]:
        lines = all_lines(reader)
        wrong = try_lines(package, reader, lines, folder)
        with capsys.disabled():
            print(f"\n{package} {' '.join(reader.words)}: {len(lines)} hostile rows", flush=True)
        assert not wrong, f"{' '.join(reader.words)}: {len(wrong)}:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_a_hostile_file_is_refused_in_one_line(package: str, folder: Path) -> None:
    wrong = []
    for words, suffix, name, content in files_of(package):
        source = folder / f"source{suffix}"
        source.write_bytes(content)
        ended = run(package, [*words, str(source), "--out", str(folder / "out.jsonl")], folder)
        faults = list(common_faults(ended))
        if ended.code not in (0, 1, 2):
            faults.append(f"exit code {ended.code}")
        if ended.code == 2 and (len(ended.err.strip().splitlines()) != 1 or source.name not in ended.err):
            faults.append("not one line that names the file")
        if faults:
            wrong.append(f"{' '.join(words)} {name}: {', '.join(faults)} | {ended.err.strip()[-250:]}")
    assert not wrong, f"{len(wrong)} files:\n" + "\n".join(wrong)


def files_of(package: str) -> Iterator[tuple[tuple[str, ...], str, str, bytes]]:
    """Yield a command's words, the ending of the file it is given, what is odd about it, and its content."""
    for reader in READERS[package]:
        rows = [reader.row | {"id": f"good-{n}", "audio": f"{n}.wav"} for n in range(GOOD)]
        good = "".join(json.dumps(row) + "\n" for row in rows).encode()
        for name, content in bad_files(good):
            yield reader.words, ".jsonl", name, content
    for reader_name, header, row in TABLES[package]:
        for name, content in bad_tables(header, row):
            yield ("prepare", reader_name), ".csv", name, content
