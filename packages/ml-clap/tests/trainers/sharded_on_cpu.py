"""Train what a file of jobs names, one after another, under the recipes of accelerate, without GPUs.

accelerate shares weights out among GPUs alone. Told that these processes have some, it does on processors
what it does on GPUs: FSDP 2 is torch's, ZeRO DeepSpeed's. Run by torch's launcher, for accelerate's starts
one process on a processor. Each job is `{"recipe": NAME, "command": [...], "environment": {...}}`.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import ml_clap
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

RECIPES = Path(ml_clap.__file__).parent / "recipes" / "accelerate"
NAMES = ("ACCELERATE_", "FSDP_")
"""What the names of accelerate's settings begin with."""


def settings(recipe: str) -> dict[str, str]:
    """Return what accelerate's launcher puts into the environment of each process."""
    words = ["--config_file", str(RECIPES / f"{recipe}.yaml"), "-m", "ml_clap"]
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    args.gpu_ids, args.deepspeed_hostfile, args.deepspeed_fields_from_accelerate_config = "all", None, ""
    found = prepare_deepspeed_cmd_env(args)[1] if args.use_deepspeed else prepare_multi_gpu_env(args)
    return {name: value for name, value in found.items() if name.startswith(NAMES)}


def run(job: dict) -> None:
    """Train as one job says."""
    from ml_clap import cli
    from ml_clap.trainers import processes
    from ml_clap.trainers.train import train

    for name in [name for name in os.environ if name.startswith(NAMES)]:
        del os.environ[name]
    os.environ.update(settings(job["recipe"]) | job.get("environment", {}))
    # DDP runs on processors as it is.
    is_told = job["recipe"] != "ddp"
    kind = DistributedType.MULTI_GPU if is_told else DistributedType.MULTI_CPU
    PartialState._prepare_backend = lambda *_, **__: ("gloo", kind)  # type: ignore[method-assign]
    processes._is_on_cpu = lambda device: not is_told
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    train(cli.read(job["command"]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    # DeepSpeed would compile an extension to talk through shared memory; gloo does.
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo")
    # A run leaves the group when it ends, and DeepSpeed cannot do without the one that it began with.
    torch.distributed.destroy_process_group = lambda *_, **__: None
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run(job)
