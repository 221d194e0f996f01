"""Processes that share out the weights train as one does: losses, weights, a resume by more or fewer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from aac_llm.config.export_checkpoint import ExportCheckpointConfig
from aac_llm.config.model import ModelConfig
from aac_llm.data.manifest import Clip, write_manifest
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.trainers.checkpoint import FSDP_PARTS, FSDP_WHOLE, WHOLE, name_engine, prepare_resume
from aac_llm.trainers.export import export_checkpoint
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

PROGRAM = Path(__file__).with_name("sharded_on_cpu.py")
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed (pip install deepspeed)"
)


@dataclass(frozen=True)
class Run:
    """A training of three updates in one or two processes.

    Attributes:
        processes: how many.
        sharding: fsdp or zero3; nothing: each process has all weights.
        resumes: the run from whose first checkpoint this one goes on.
        files: how FSDP's checkpoints are written, whole or in parts.
    """

    processes: int
    sharding: str = ""
    resumes: str = ""
    files: str = "SHARDED_STATE_DICT"


RUNS = {
    "one": Run(1),
    "ddp": Run(2),
    "ddp-2to1": Run(1, resumes="ddp"),
    "ddp-1to2": Run(2, resumes="one"),
    "fsdp": Run(2, "fsdp"),
    "fsdp-2to1": Run(1, "fsdp", "fsdp"),
    "fsdp-alone": Run(1, "fsdp"),
    "fsdp-1to2": Run(2, "fsdp", "fsdp-alone"),
    "fsdp-whole": Run(2, "fsdp", files="FULL_STATE_DICT"),
    "fsdp-whole-resumed": Run(2, "fsdp", "fsdp-whole", files="FULL_STATE_DICT"),
    "zero3": Run(2, "zero3"),
    "zero3-2to1": Run(1, "zero3", "zero3"),
}


def weights(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.relative_to(folder)} {name}": t for file in files for name, t in load_file(file).items()}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float) -> None:
    assert found.keys() == expected.keys() != set()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=atol, rtol=0)


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """The folder of all trainings, and the program that makes them."""
    folder = tmp_path_factory.mktemp("sharded")
    words = [sys.executable, str(PROGRAM), str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(words, stderr=errors, env=environment, **pipes) as process,
    ):
        yield folder, process
        process.stdin.close()


@pytest.fixture
def runs(program: tuple[Path, Any], tiny_config: ModelConfig, scene_clips: list[Clip]) -> Callable[..., Path]:
    """Return a function that makes sure of some runs and those they go on from; it returns their folder."""
    folder, process = program
    if not (folder / "model.json").exists():
        still = replace(tiny_config, lora=replace(tiny_config.lora, dropout=0.0))
        (folder / "model.json").write_text(json.dumps(asdict(still)))
        # Of one length: what a short clip is padded with shows in the fifth digit.
        write_manifest(folder / "clips.jsonl", [cut(clip, folder) for clip in scene_clips])

    def make(*names: str) -> Path:
        for name in names:
            run = RUNS[name]
            if (folder / f"{name}-0").exists():
                continue
            if run.resumes:
                make(run.resumes)
                copy_begun(folder / run.resumes, folder / name)
            process.stdin.write(json.dumps(asdict(run) | {"name": name}) + "\n")
            process.stdin.flush()
            codes = json.loads(process.stdout.readline() or "[]")
            assert codes == [0] * run.processes, (name, (folder / "errors.txt").read_text()[-6000:])
        return folder

    return make


def cut(clip: Clip, folder: Path) -> Clip:
    """Return a clip of its first second."""
    sound, rate = soundfile.read(clip.audio, stop=16_000)
    soundfile.write(folder / clip.audio.name, sound, rate)
    return replace(clip, audio=folder / clip.audio.name, duration=1.0)


def copy_begun(run: Path, out: Path) -> None:
    """Copy a training as it was after its first update."""
    shutil.copytree(run / "checkpoint-1", out / "checkpoint-1")
    settings = json.loads((run / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(settings | {"out": str(out)}))
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (out / "log.jsonl").write_text(lines[0])


@pytest.mark.parametrize(
    "name", ["ddp", "fsdp", "fsdp-whole", "fsdp-alone", pytest.param("zero3", marks=needs_deepspeed)]
)
def test_shared_out_weights_learn_as_whole_ones(runs: Callable[..., Path], name: str) -> None:
    folder = runs("one", name)
    assert losses(folder / name) == pytest.approx(losses(folder / "one"), abs=2e-5)
    assert len(losses(folder / name)) == 3
    assert_near(weights(folder / name / "last"), weights(folder / "one" / "last"), 1e-5)
    scores = [json.loads((folder / run / "best" / "validation.json").read_text()) for run in (name, "one")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "ddp-2to1",
        "ddp-1to2",
        "fsdp-2to1",
        "fsdp-1to2",
        "fsdp-whole-resumed",
        pytest.param("zero3-2to1", marks=needs_deepspeed),
    ],
)
def test_another_number_of_processes_goes_on(runs: Callable[..., Path], name: str) -> None:
    folder = runs("one", name)
    assert losses(folder / name) == pytest.approx(losses(folder / "one"), abs=2e-5)
    assert_near(weights(folder / name / "last"), weights(folder / "one" / "last"), 1e-5)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp-whole", pytest.param("zero3", marks=needs_deepspeed)])
def test_a_checkpoint_is_exported_as_a_plain_folder(
    runs: Callable[..., Path], name: str, tmp_path: Path
) -> None:
    run, out = runs(name) / name, tmp_path / "model"
    export_checkpoint(ExportCheckpointConfig(checkpoint=run / "checkpoint-3", out=out))
    found, expected = weights(out), weights(run / "last")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert CaptionModel.from_pretrained(out).use() == CaptionModel.from_pretrained(run / "last").use()
    with pytest.raises(ValueError, match="is not empty; give a new folder"):
        export_checkpoint(ExportCheckpointConfig(checkpoint=run / "checkpoint-1", out=out))


def test_a_checkpoint_of_another_engine_is_refused(runs: Callable[..., Path]) -> None:
    folder = runs("ddp", "fsdp", "fsdp-whole")
    engines = [name_engine(folder / name / "checkpoint-1") for name in ("ddp", "fsdp", "fsdp-whole")]
    assert engines == [WHOLE, FSDP_PARTS, FSDP_WHOLE]
    with pytest.raises(ValueError, match="was written by FSDP with SHARDED_STATE_DICT, and this training"):
        prepare_resume(folder / "fsdp" / "checkpoint-1", Accelerator(cpu=True))
