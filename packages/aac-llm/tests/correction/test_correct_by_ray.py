"""Corrections by Ray are the local ones, block by block; who gives no answer is asked again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm.config.correct import CorrectConfig
from aac_llm.config.ray import RayConfig
from aac_llm.correction import by_ray
from aac_llm.correction.correct import correct_file
from aac_llm.data.predictions import Prediction, read_predictions, write_predictions

TEXTS = ["a dog dog barks and", "a bell rings", "rain is falling on a", "a cat meows meows", "wind blows"]


@pytest.fixture
def config(tiny_decoder: Path, tmp_path: Path) -> CorrectConfig:
    source = tmp_path / "captions.jsonl"
    write_predictions(source, [Prediction(str(n), f"/{n}.wav", text) for n, text in enumerate(TEXTS)])
    return CorrectConfig(
        predictions=source,
        out=tmp_path / "corrected.jsonl",
        llm=str(tiny_decoder),
        device="cpu",
        max_new_tokens=6,
        engine="ray",
        ray=RayConfig(block_seconds=2),
    )


def test_blocks_together_are_the_local_run(config, here, tmp_path):
    local = correct_file(replace(config, engine="local", out=tmp_path / "local.jsonl"))
    assert correct_file(config) == local == read_predictions(config.out)
    assert [len(block.rows) for block in here] == [2, 2, 1]
    assert not Path(f"{config.out}.parts").exists()
    # Either engine takes what is there for done.
    assert correct_file(replace(config, engine="local")) == correct_file(config) == local
    assert len(here) == 3


def test_what_a_worker_gives_up_is_asked_again(config, here, monkeypatch):
    work = by_ray.CorrectWorker.work

    def failing(self, rows):
        if any(row["id"] == "2" for row in rows):
            raise MemoryError("too long")
        return work(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(by_ray.CorrectWorker, "work", failing)
        found = correct_file(config)
    assert [one.correction["reason"] for one in found if one.correction][1] == (
        "kept: no answer (MemoryError: too long)"
    )
    again = correct_file(config)
    assert [row["id"] for row in here[-1].rows] == ["2"]
    assert again[2].correction["reason"] != found[2].correction["reason"]


def test_an_endpoint_needs_no_ray(config):
    with pytest.raises(ValueError, match="engine ray runs the language model itself, and endpoint"):
        replace(config, endpoint="http://x/v1")
