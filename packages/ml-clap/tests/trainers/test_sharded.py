"""Two processes that share the weights out train as one does, and go on from what any number of them wrote.

The trainings of two processes run one after another in one pair of processes, which torch's launcher starts
(`sharded_on_cpu.py`), under the shipped recipes of accelerate; those of one process run here. Nothing is
drawn at random by a process (`no_dropout`), so all of them must take the same updates.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from launched import run_launched
from ml_clap import cli
from ml_clap.config.export_checkpoint import ExportCheckpointConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers import trainer
from ml_clap.trainers.export import export_checkpoint
from ml_clap.trainers.run_folder import find_parts, load_checkpoint, read_log
from ml_clap.trainers.train import train
from safetensors.torch import load_file
from torch import Tensor

UPDATES = 3
WORDS = ("--max_steps", str(UPDATES), "--save_steps", "2", "--eval_steps", "9", "--keep_checkpoints", "9")
CACHED = ("--gradient_cache", "3")
"""Each of the two encodes its 4 pairs as 3 and 1, which weights that are shared out must not mix up."""
HAS_DEEPSPEED = find_spec("deepspeed") is not None
needs_deepspeed = pytest.mark.skipif(not HAS_DEEPSPEED, reason="DeepSpeed is not installed")
SHARED = [
    "fsdp",
    "fsdp_whole",
    *(pytest.param(name, marks=needs_deepspeed) for name in ("deepspeed_zero2", "deepspeed_zero3")),
]
WHOLE = {"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}


def job(name: str, recipe: str, *words: str, **environment: str) -> dict:
    return {"name": name, "recipe": recipe, "words": words, "environment": environment}


JOBS = [
    job("fsdp", "fsdp", *CACHED),
    job("fsdp_whole", "fsdp", **WHOLE),
    job("fsdp_bf16", "fsdp", "--precision", "bf16", "--max_steps", "1", **WHOLE),
    job("fsdp_resumed", "fsdp"),  # from what one process wrote
]
if HAS_DEEPSPEED:
    JOBS += [
        job("deepspeed_zero2", "deepspeed_zero2"),
        job("deepspeed_zero3", "deepspeed_zero3", *CACHED),
        job("deepspeed_zero2_resumed", "deepspeed_zero2"),
        job("deepspeed_zero3_resumed", "deepspeed_zero3"),
    ]


def command(recipe: Path, out: Path, *words: str) -> list[str]:
    average = ["--ema_decay", "null"] if "deepspeed" in out.name else []
    return ["train", "--config", str(recipe), "--out", str(out), *WORDS, *average, *words]


def begin_from(run: Path, out: Path) -> None:
    """Make a run that stopped after the second update of another one."""
    shutil.copytree(run / "checkpoint-2", out / "checkpoint-2")
    shutil.copy(run / "log.jsonl", out)


@pytest.fixture(scope="module")
def runs(no_dropout_everywhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of all runs: those of one process (`one`, `deepspeed_one`) and those of two."""
    folder = tmp_path_factory.mktemp("sharded")
    patch = pytest.MonkeyPatch()
    patch.setattr(trainer, "plot_curves", lambda *_: None)  # a second for each of these runs
    recipe = shutil.copy(no_dropout_everywhere, folder / "recipe.yaml")
    for name in ("one", "deepspeed_one"):
        train(cli.read(command(recipe, folder / name, "--batch_size", "8")))
    bf16 = ("--batch_size", "8", "--precision", "bf16", "--max_steps", "1")
    train(cli.read(command(recipe, folder / "one_bf16", *bf16)))
    for name in [each["name"] for each in JOBS if each["name"].endswith("_resumed")]:
        begin_from(folder / ("deepspeed_one" if "deepspeed" in name else "one"), folder / name)
    jobs = [
        {**each, "command": command(recipe, folder / each["name"], "--batch_size", "4", *each["words"])}
        for each in JOBS
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("sharded_on_cpu.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run_launched([*launch, str(script), str(folder / "jobs.json")])
    yield folder
    patch.undo()


def records(run: Path) -> list[dict]:
    return [record for record in read_log(run / "log.jsonl") if "loss" in record]


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "last" / "model.safetensors")


def single(runs: Path, name: str) -> Path:
    return runs / ("deepspeed_one" if "deepspeed" in name else "one")


def assert_same_training(found: Path, expected: Path) -> None:
    ours, theirs = records(found), records(expected)
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    for got, wanted in zip(ours, theirs, strict=True):
        assert got["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
        assert got["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-3)
        assert got["temperature"] == pytest.approx(wanted["temperature"], rel=1e-5)
    got, wanted = weights(found), weights(expected)
    assert got.keys() == wanted.keys()
    assert all(got[name].shape == wanted[name].shape for name in wanted)
    assert all(torch.allclose(got[name], wanted[name], rtol=1e-3, atol=1e-4) for name in wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_shared_out_weights_take_the_updates_of_whole_ones(runs: Path, name: str) -> None:
    assert_same_training(runs / name, single(runs, name))
    scores = [
        record["score"]
        for run in (runs / name, single(runs, name))
        for record in read_log(run / "log.jsonl")
        if "score" in record
    ]
    assert len(scores) == 2
    assert scores[0] == pytest.approx(scores[1], abs=0.5)


@pytest.mark.slow
def test_bfloat16_rounds_shared_out_weights_as_whole_ones(runs: Path) -> None:
    (found,), (expected,) = (records(runs / name) for name in ("fsdp_bf16", "one_bf16"))
    exact = records(runs / "one")[0]
    for name in ("loss", "grad_norm"):
        assert found[name] != exact[name]
        assert found[name] == pytest.approx(expected[name], rel=0.01)


@pytest.mark.slow
def test_a_checkpoint_in_parts_has_a_part_of_each_process(runs: Path) -> None:
    parts = find_parts(runs / "fsdp" / "checkpoint-2")
    assert parts is not None
    files = sorted(parts.glob("*.safetensors"))
    assert len(files) == len(list(parts.iterdir())) == 2
    sizes = [sum(tensor.numel() for tensor in load_file(file).values()) for file in files]
    assert max(sizes) < 1.5 * min(sizes)
    for name in ("fsdp_whole", "deepspeed_zero3") if HAS_DEEPSPEED else ("fsdp_whole",):
        assert find_parts(runs / name / "checkpoint-2") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_one_process_goes_on_from_what_two_wrote(runs: Path, name: str) -> None:
    out = runs / f"{name}_by_one"
    begin_from(runs / name, out)
    (words,) = (each["words"] for each in JOBS if each["name"] == name)
    train(cli.read(command(runs / "recipe.yaml", out, "--batch_size", "8", *words)))
    assert_same_training(out, single(runs, name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "fsdp_resumed",
        *(
            pytest.param(f"{name}_resumed", marks=needs_deepspeed)
            for name in ("deepspeed_zero2", "deepspeed_zero3")
        ),
    ],
)
def test_two_processes_go_on_from_what_one_wrote(runs: Path, name: str) -> None:
    assert_same_training(runs / name, single(runs, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "fsdp", "fsdp_whole"])
def test_a_checkpoint_becomes_a_plain_folder(runs: Path, tmp_path: Path, name: str) -> None:
    out = export_checkpoint(
        ExportCheckpointConfig(checkpoint=runs / name / f"checkpoint-{UPDATES}", out=tmp_path / "model")
    )
    expected = load_file(runs / name / "last" / "model.safetensors")
    found = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    with pytest.raises(ValueError, match="is not empty"):
        export_checkpoint(ExportCheckpointConfig(checkpoint=runs / name / "checkpoint-2", out=out))
    assert MLCLAP.from_pretrained(out).encode_text("a dog barks").shape == (16,)


@pytest.mark.slow
def test_another_global_batch_is_refused(runs: Path) -> None:
    out = runs / "other_batch"
    begin_from(runs / "fsdp", out)
    with pytest.raises(ValueError, match=r"batch_size was 8, is 4 \(of all processes\)"):
        train(cli.read(command(runs / "recipe.yaml", out, "--batch_size", "4")))


@pytest.mark.slow
def test_damaged_parts_are_named(runs: Path) -> None:
    out = runs / "damaged"
    begin_from(runs / "fsdp", out)
    part = next((out / "checkpoint-2" / "parts").iterdir())
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"checkpoint-2.parts cannot be read.*delete its checkpoint"):
        train(cli.read(command(runs / "recipe.yaml", out, "--batch_size", "8", *CACHED)))
    assert load_checkpoint(out / "checkpoint-2")["optimizer"] is None
