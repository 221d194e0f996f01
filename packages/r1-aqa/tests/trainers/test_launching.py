"""The recipes of accelerate and Slurm: what they start, on one machine or several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import r1_aqa
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

RECIPES = Path(r1_aqa.__file__).parent / "recipes"
ENGINES = {
    "one_gpu": "NO",
    "ddp": "MULTI_GPU",
    "ddp_nodes": "MULTI_GPU",
    "fsdp": "FSDP",
    "fsdp_nodes": "FSDP",
    "deepspeed_zero2": "DEEPSPEED",
    "deepspeed_zero3": "DEEPSPEED",
    "deepspeed_zero3_nodes": "DEEPSPEED",
}
STAND_INS = {
    "scontrol": 'echo "node7"; echo "node8"',
    "srun": 'shift; for node in 0 1; do SLURM_NODEID=$node "$@"; done',
    "accelerate": 'printf "%s\\n" "$@"; echo END',
    "python": f'exec {sys.executable} "$@"',
}
"""Commands of a cluster, as far as the batch file needs them; `srun` runs its nodes one after another."""


def read(words: list[str]):
    """Return what accelerate's launcher understands."""
    assert words[0] == "launch"
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(words[1:]))
    return args


def test_every_engine_has_its_recipes() -> None:
    assert {path.stem for path in (RECIPES / "accelerate").iterdir()} == ENGINES.keys()


@pytest.mark.parametrize("name", ENGINES)
def test_accelerate_reads_a_recipe(name: str) -> None:
    path = RECIPES / "accelerate" / f"{name}.yaml"
    assert f"{name}.yaml -m r1_aqa train" in path.read_text().splitlines()[0]
    assert yaml.safe_load(path.read_text())["distributed_type"] == ENGINES[name]
    args = read(["launch", "--config_file", str(path), "-m", "r1_aqa", "train"])
    assert args.num_machines == (2 if name.endswith("_nodes") else 1)
    assert args.use_fsdp == name.startswith("fsdp")
    assert args.use_deepspeed == name.startswith("deepspeed")
    if args.use_fsdp:
        assert int(args.fsdp_version) == 2
    if args.use_deepspeed:
        assert args.zero_stage == int(name[len("deepspeed_zero")])


@pytest.mark.parametrize("recipe", ["ddp_nodes", "fsdp_nodes", "deepspeed_zero3_nodes"])
def test_the_batch_file_starts_a_launcher_on_each_node(tmp_path: Path, recipe: str) -> None:
    script = RECIPES / "slurm" / "train.sbatch"
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "123"}
    environment = os.environ | slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECIPE": recipe}
    words = ["train", "--config", "a recipe.yaml", "--out", "runs/here"]
    found = subprocess.run(
        ["bash", str(script), *words], env=environment, capture_output=True, text=True, check=True
    )
    launched = [part.split("\n")[:-1] for part in found.stdout.replace("\nEND\n", "\n\0").split("\0")[:-1]]
    assert len(launched) == 2
    for rank, given in enumerate(launched):
        args = read(given)
        assert args.config_file == str(RECIPES / "accelerate" / f"{recipe}.yaml")
        assert (args.num_machines, args.num_processes, args.machine_rank) == (2, 16, rank)
        assert (args.main_process_ip, args.main_process_port) == ("node7", 20123)
        assert (args.module, args.training_script, args.training_script_args) == (True, "r1_aqa", words)
