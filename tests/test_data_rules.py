"""`docs/data-rules.md` holds: each package reads the manifest and the table on it by the same rules."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
import soundfile

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "data-rules.md"


def example(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, name
    return found[1]


def need(package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not in this environment")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for number, name in enumerate(("dog", "rain")):
        noise = numpy.random.default_rng(number).uniform(-0.5, 0.5, 16_000)
        soundfile.write(tmp_path / "audio" / f"{name}.wav", noise, 16_000)
    path = tmp_path / "manifest.jsonl"
    path.write_text(example("manifest"), encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(example("table"), encoding="utf-8")
    return path


def test_ml_clap_reads_the_manifest(manifest: Path) -> None:
    need("ml_clap")
    from ml_clap import read_manifest

    dog, rain = read_manifest(manifest)
    assert dog.captions == {"eng_Latn": ("A dog barks twice.",)}
    assert rain.captions == {"eng_Latn": ("Rain falls on a roof.",), "fra_Latn": ("La pluie tombe.",)}
    assert dog.extra["microphone"] == "AT2020"
    assert dog.extra["choices"] == ["a dog", "a seal"]
    assert rain.extra["timestamps"] == [{"text": "rain falls", "onset": 0.2, "offset": 1.0}]


def test_aac_llm_reads_the_manifest(manifest: Path) -> None:
    need("aac_llm")
    from aac_llm.data.manifest import read_manifest

    dog, rain = read_manifest(manifest)
    assert (dog.captions, rain.captions) == (("A dog barks twice.",), ("Rain falls on a roof.",))
    assert dict(rain.translations) == {"fra": ("La pluie tombe.",)}
    assert [(event.text, event.onset, event.offset) for event in rain.timestamps] == [
        ("rain falls", 0.2, 1.0)
    ]
    assert dog.extra["microphone"] == "AT2020"


def test_r1_aqa_prepares_the_manifest(manifest: Path) -> None:
    need("r1_aqa")
    from r1_aqa.data.readers import read_questions

    dog, rain = read_questions(manifest)
    assert (dog.answer, rain.choices) == ("a dog", ("rain", "hail"))
    assert dog.extra["microphone"] == "AT2020"
    assert rain.extra["captions"]["fra"] == "La pluie tombe."


@pytest.mark.parametrize("package", ["ml_clap", "aac_llm"])
def test_a_row_of_a_table_is_whole_or_reported(package: str, table: Path) -> None:
    need(package)
    from importlib import import_module

    found = import_module(f"{package}.data.table").read_table(table, ["file_name", "caption_1"])
    assert [row.cells["file_name"] for row in found.rows] == ["dog.wav", "wind.wav"]
    assert found.rows[0].cells["caption_1"] == "A dog barks, then a bell rings."
    assert found.rows[1].cells["caption_2"] == "The wind\nrises."
    assert [problem.where for problem in found.problems] == [f"{table}:3"]
