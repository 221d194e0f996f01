"""One odd row, name or text is one listed row, whatever reads the list."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ml_clap.config.prepare import (
    PrepareConfig,
    PrepareFolderConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
)
from ml_clap.data.manifest import BadRow, read_manifest
from ml_clap.data.prepare import prepare
from ml_clap.search.scan import scan

GOOD = "good.wav"
NAMES = (
    "half-\ud800.wav",
    "n" * 5000 + ".wav",
    "/",
    "a\0b.wav",
    "..",
    "pipe.wav",
    "folder.wav",
    "/dev/zero",
    "",
    " ",
)
"""What no sound is called, or is no sound."""


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / GOOD, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    (tmp_path / "x.raw").write_bytes((tmp_path / GOOD).read_bytes())
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "captions.json").write_text('{"dog": {"eng_Latn": ["A dog barks."]}}')
    return tmp_path


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"audio": name, "label": "dog", "captions": ["A dog barks."]} for name in (*names, GOOD)]


def settings_of(kind: str, folder: Path) -> PrepareConfig:
    source, out = folder / "list.jsonl", folder / "out" / "m.jsonl"
    if kind == "folder":
        return PrepareFolderConfig(source=source, captions=folder / "captions.json", out=out)
    if kind == "reference":
        entries = [{"caption": "A dog barks.", "wav": row["audio"]} for row in rows_of(NAMES)]
        (folder / "data.json").write_text(json.dumps({"data": entries[1:]}))
        return PrepareReferenceConfig(source=folder / "data.json", out=out)
    return PrepareJSONLConfig(source=source, out=out)


@pytest.mark.parametrize("kind", ["folder", "jsonl", "reference"])
def test_prepare_lists_odd_names_and_keeps_the_good_one(sounds: Path, kind: str) -> None:
    write_rows(sounds / "list.jsonl", rows_of(NAMES))
    report = prepare(settings_of(kind, sounds))
    clips = read_manifest(report.manifest)
    assert [clip.audio.name for clip in clips] == [GOOD]
    expected = len(NAMES) - (kind == "reference")
    assert len(report.problems) == expected, [problem.message[:60] for problem in report.problems]
    assert {problem.kind for problem in report.problems} <= {"row", "missing", "corrupt"}


TEXTS = ("half \ud83d", "no\0thing", "", 3, None, ["x"])


@pytest.mark.parametrize("key", ["id", "captions", "split", "label", "licence"])
def test_a_text_that_is_none_is_one_bad_row(sounds: Path, key: str) -> None:
    good = {"id": "good", "audio": GOOD, "captions": {"eng_Latn": ["A dog barks."]}, "split": "train"}
    values = [value for value in TEXTS if value is not None or key in ("id", "captions")]
    rows = [
        good | {"id": f"odd {n}", key: [value] if key == "captions" else value}
        for n, value in enumerate(values)
    ]
    path = write_rows(sounds / "m.jsonl", [*rows, good])
    bad: list[BadRow] = []
    assert [clip.id for clip in read_manifest(path, bad_rows=bad)] == ["good"]
    assert [row.where for row in bad] == [f"{path}:{number}" for number in range(1, len(rows) + 1)]


def test_json_that_is_read_differently_elsewhere_is_one_bad_row(sounds: Path) -> None:
    good = '{"id": "good", "audio": "good.wav", "captions": ["A dog."]}'
    lines = [
        good.replace("good", "twice", 1).replace("}", ', "id": "other"}'),
        good.replace("}", ', "duration": NaN}'),
        good.replace("}", f', "duration": {"9" * 401}}}'),
        good.replace("}", f', "x": {"[" * 10_000}{"]" * 10_000}}}'),
        good.replace("}", ', "duration": 1e999}'),
        good,
    ]
    path = sounds / "m.jsonl"
    path.write_text("\n".join(lines))
    bad: list[BadRow] = []
    assert [clip.id for clip in read_manifest(path, bad_rows=bad)] == ["good"]
    assert len(bad) == 5


def test_index_finds_the_good_clips_of_an_odd_manifest(sounds: Path) -> None:
    rows = [row | {"id": str(number)} for number, row in enumerate(rows_of(NAMES))]
    found, missing = scan(write_rows(sounds / "m.jsonl", rows))
    assert GOOD in [clip.path.name for clip in found]
    assert len(found) + len(missing) == len(rows)


def test_a_file_called_raw_is_read_for_what_it_is(sounds: Path) -> None:
    write_rows(sounds / "list.jsonl", [{"audio": "x.raw", "captions": ["A dog barks."]}])
    assert (
        prepare(PrepareJSONLConfig(source=sounds / "list.jsonl", out=sounds / "out" / "m.jsonl")).clips == 1
    )
