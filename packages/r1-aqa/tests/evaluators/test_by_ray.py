"""Answers by Ray are the local ones: block by block, after a lost worker, after a kill, and from URLs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from r1_aqa.bulk.blocks import Block
from r1_aqa.bulk.run import Done
from r1_aqa.bulk.work import do_block
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.ray import RayConfig
from r1_aqa.evaluators import by_ray
from r1_aqa.evaluators.evaluate import evaluate
from r1_aqa.evaluators.predictions import Prediction, read_predictions
from r1_aqa.evaluators.scores import Scores
from r1_aqa.models.heard import DeafModelError


@pytest.fixture
def config(benchmark: Path, tiny_model_folder: Path, tmp_path: Path) -> EvaluateConfig:
    return EvaluateConfig(
        data=str(benchmark),
        model=str(tiny_model_folder),
        out=tmp_path / "ray",
        batch_size=3,
        max_new_tokens=6,
        device="cpu",
        shuffles=1,
        silent=True,
        engine="ray",
        ray=RayConfig(num_workers=2, block_seconds=12.0),
    )


@pytest.fixture(scope="session")
def local(
    benchmark: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Scores, list[Prediction]]:
    """Scores and answers of the local engine."""
    out = tmp_path_factory.mktemp("local")
    scores = evaluate(
        EvaluateConfig(
            data=str(benchmark),
            model=str(tiny_model_folder),
            out=out,
            batch_size=3,
            max_new_tokens=6,
            device="cpu",
            shuffles=1,
            silent=True,
        )
    )
    return scores, read_predictions(out / "predictions.jsonl")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """Blocks are done in this process, as a worker does them; returns the blocks that were done."""
    done: list[Block] = []

    def run_blocks(blocks, make_worker, parts, config) -> Iterator[Done]:
        worker = make_worker()
        # The look comes last: what was answered before is kept then.
        for block in [*blocks[1:], blocks[0]]:
            if not parts.list_done([block]):
                done.append(block)
            count, tries = do_block(worker, block, parts)
            yield Done(block, count, 0, 0.0, tries)

    monkeypatch.setattr(by_ray, "run_blocks", run_blocks)
    return done


def rows_of(blocks: list[Block]) -> list[int]:
    return [row["row"] for block in blocks for row in block.rows if "look" not in row]


def test_blocks_together_are_the_local_run(
    config: EvaluateConfig, here: list[Block], local: tuple[Scores, list[Prediction]]
) -> None:
    scores = evaluate(config)
    assert [len(block.rows) for block in here] == [5, 2, 2, 1]  # the last one is the look
    assert sorted(rows_of(here)) == list(range(9))
    assert read_predictions(config.out / "predictions.jsonl") == local[1]
    assert scores == local[0]
    assert not (config.out / "parts").exists()


def test_a_kill_between_part_and_file_loses_nothing(
    config: EvaluateConfig,
    here: list[Block],
    local: tuple[Scores, list[Prediction]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(by_ray, "_told", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(config)
    assert len(here) == 4
    # No answer is in the file before the look, but all are in parts.
    assert read_predictions(config.out / "predictions.jsonl") == []
    assert evaluate(config) == local[0]
    assert len(here) == 4
    assert read_predictions(config.out / "predictions.jsonl") == local[1]


def test_either_engine_goes_on_where_the_other_stopped(
    config: EvaluateConfig, here: list[Block], local: tuple[Scores, list[Prediction]]
) -> None:
    assert evaluate(config) == local[0]
    file = config.out / "predictions.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["row"] < 4]
    here.clear()
    for engine, asked in (("ray", [4, 5, 6, 7, 8, 0]), ("transformers", [])):
        file.write_text("".join(kept), encoding="utf-8")
        assert evaluate(replace(config, engine=engine)) == local[0]
        assert read_predictions(file) == local[1]
        # The sound that is none is asked about again, as by the local engine.
        assert sorted(rows_of(here)) == sorted(asked)
        here.clear()


def test_a_deaf_model_is_not_scored(
    config: EvaluateConfig, here: list[Block], deaf_model_folder: Path
) -> None:
    with pytest.raises(DeafModelError, match=r"the model does not hear: .* by 0 nats with other audio"):
        evaluate(replace(config, model=str(deaf_model_folder)))
    assert read_predictions(config.out / "predictions.jsonl") == []


def test_what_a_worker_gives_up_is_asked_again_and_counts_as_wrong(
    config: EvaluateConfig, here: list[Block], local: tuple[Scores, list[Prediction]], monkeypatch
) -> None:
    work = by_ray.EvaluateWorker.work

    def failing(self, rows):
        if any(row.get("row") == 3 for row in rows):
            raise MemoryError("too long")
        return work(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(by_ray.EvaluateWorker, "work", failing)
        scores = evaluate(config)
    assert scores["num_unreadable"] == local[0]["num_unreadable"] + 1
    failed = [one for one in read_predictions(config.out / "predictions.jsonl") if one.row == 3]
    assert [(one.run, one.output, one.error) for one in failed] == [
        (run, None, "MemoryError: too long") for run in ("given", "shuffle-1", "silent")
    ]
    assert evaluate(config) == local[0]


def test_an_endpoint_needs_no_ray(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="engine ray runs a model here, and endpoint names one elsewhere"):
        EvaluateConfig(data="q.jsonl", out=tmp_path, endpoint="http://x/v1", endpoint_model="m", engine="ray")
