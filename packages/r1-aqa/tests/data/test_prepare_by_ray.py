"""Preparation by Ray is the local one, block by block, from paths and from URLs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from r1_aqa.bulk.blocks import Block
from r1_aqa.config.prepare import PrepareQuestionsConfig
from r1_aqa.config.ray import RayConfig
from r1_aqa.data.prepare import prepare_questions
from r1_aqa.data.readers import read_questions


@pytest.fixture
def config(benchmark: Path, tmp_path: Path) -> PrepareQuestionsConfig:
    return PrepareQuestionsConfig(
        source=benchmark, out=tmp_path / "ray.jsonl", engine="ray", ray=RayConfig(block_seconds=6.0)
    )


def test_blocks_together_are_the_local_run(
    config: PrepareQuestionsConfig, here: list[Block], tmp_path: Path
) -> None:
    prepare_questions(config)
    prepare_questions(replace(config, engine="local", out=tmp_path / "local.jsonl"))
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    ours, theirs = (json.loads((tmp_path / f"{n}.report.json").read_text()) for n in ("ray", "local"))
    assert {k: v for k, v in ours.items() if k != "out"} == {k: v for k, v in theirs.items() if k != "out"}
    assert [len(block.rows) for block in here] == [3, 1, 1]
    assert not (tmp_path / "ray.jsonl.parts").exists()
    # What is known is not decoded again, by either engine; what cannot be read is tried again.
    here.clear()
    prepare_questions(config)
    assert [Path(row["audio"]).name for block in here for row in block.rows] == ["bad.wav"]


def test_questions_and_sounds_at_urls_are_prepared(
    config: PrepareQuestionsConfig, here: list[Block], benchmark: Path, tmp_path: Path
) -> None:
    bucket = fsspec.filesystem("memory")
    for path in benchmark.parent.iterdir():
        if path.is_file():
            bucket.pipe_file(f"/questions/{path.name}", path.read_bytes())
    report = prepare_questions(replace(config, source=Path("memory://questions/questions.jsonl")))
    assert (report.kept, len(report.skipped)) == (8, 1)
    assert report.skipped[0].where.startswith("memory://questions/questions.jsonl:")
    assert "memory://questions/bad.wav cannot be read" in report.skipped[0].message
    rows = [json.loads(line) for line in config.out.read_text().splitlines()]
    assert rows[0]["audio"] == "memory://questions/0.wav"
    assert str(read_questions(config.out)[0].audio) == "memory:/questions/0.wav"
    # Local questions, too, with their sounds at a URL; another engine does not read them.
    there = replace(config, audio=Path("memory://questions"), out=tmp_path / "there.jsonl")
    assert prepare_questions(there).kept == 8
    with pytest.raises(ValueError, match=r"memory://questions/.*: audio at URLs is read with --engine ray"):
        prepare_questions(replace(there, engine="local"))


def test_ray_with_nothing_to_do_is_refused(config: PrepareQuestionsConfig) -> None:
    with pytest.raises(ValueError, match="there is nothing for it to do"):
        replace(config, check_sound=False)
    with pytest.raises(ValueError, match="give out a name other than -"):
        replace(config, out=Path("-"))
