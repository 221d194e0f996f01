"""Train as `accelerate launch --config_file recipes/accelerate/fsdp.yaml` does, among processes without GPUs.

accelerate shares weights out among GPUs alone. Told that these processes have some, it does on processors
what it does on GPUs, FSDP 2 of torch included. Run by torch's launcher, for accelerate's starts one process.
"""

import os
import sys
from pathlib import Path

import aac_llm
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

RECIPE = Path(aac_llm.__file__).parent / "recipes" / "accelerate" / "fsdp.yaml"


def settings() -> dict[str, str]:
    """What accelerate's launcher puts into the environment of each process."""
    args = launch_command_parser().parse_args(
        ["--config_file", str(RECIPE), "--mixed_precision", "no", "x.py"]
    )
    args, *_ = _validate_launch_command(args)
    args.gpu_ids = "all"
    wanted = ("ACCELERATE_", "FSDP_")
    return {name: value for name, value in prepare_multi_gpu_env(args).items() if name.startswith(wanted)}


if __name__ == "__main__":
    os.environ.update(settings())
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)  # type: ignore[method-assign]
    torch.distributed.init_process_group("gloo")
    from aac_llm.cli import main

    main(sys.argv[1:])
