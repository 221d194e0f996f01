"""A training run besides its maths: its processes, its settings, how far it is, and being told to stop."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import parse_flag_from_env

from ml_clap.config.train import TrainConfig

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger(__name__)

MAY_CHANGE = (
    "out",
    "device",
    "resume",
    "log_every",
    "keep_checkpoints",
    "checkpoint_every",
    "report_to",
    "data.num_workers",
    "data.cache_gigabytes",
)
"""Settings that may differ when a run is continued: they do not touch its numbers."""


class TrainingError(ValueError):
    """Training cannot go on; says what to do."""


@dataclass
class RunState:
    """How far a run is; with the tensors, what a checkpoint holds."""

    step: int = 0
    """Updates taken."""
    epoch: int = 0
    batches: int = 0
    """Batches of this epoch that are done."""
    best: float | None = None
    """Highest validation score."""


class Interruption:
    """Within its block Ctrl-C and SIGTERM are only noted; a later Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self._noted: float | None = None
        self._kept: dict[int, Any] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether a signal came."""
        return self._noted is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may take signals
            self._kept = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._noted is None:
            self._noted = now
            logger.info("Stopping after this update; Ctrl-C again stops at once.")
        # Behind `accelerate launch` one Ctrl-C arrives twice: from the terminal and from the launcher.
        elif number == signal.SIGINT and now - self._noted > 2.0:
            raise KeyboardInterrupt("The last checkpoint is kept; the same command continues from it.")


def random_seed(*numbers: int) -> int:
    """A seed of 63 bits from some numbers; close numbers give seeds far apart."""
    text = " ".join(str(number) for number in numbers)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def plain(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON has them."""
    return json.loads(json.dumps(asdict(config), default=str))


def check_same_run(saved: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Raise a TrainingError that names the settings in which a run would differ from what it was."""
    before, now = flatten(saved), flatten(wanted)
    changed = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(before | now)
        if name not in MAY_CHANGE and before.get(name) != now.get(name)
    ]
    if changed:
        raise TrainingError(
            f"the run in {out} had other settings: {'; '.join(changed)}. Continue it with its own "
            f"(--config {out / 'config.json'}), or choose another --out"
        )


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The processes, devices, precision and trackers of a run."""
    for name in config.report_to:
        if find_spec(name) is None:
            raise TrainingError(f"report_to: {name} is not installed; pip install {name}, or leave it out")
    # Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    asked = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    accelerator = Accelerator(
        cpu=asked or not torch.accelerator.is_available(),
        mixed_precision="no" if config.precision == "fp32" else config.precision,
        log_with=list(config.report_to) or None,
        project_dir=config.out,
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False),  # no buffer changes in training
            InitProcessGroupKwargs(timeout=timedelta(hours=2)),  # the others wait while one validates
        ],
    )
    if config.report_to:
        settings = {
            name: value if isinstance(value, str | float | int | bool) else str(value)
            for name, value in flatten(plain(config)).items()
        }
        accelerator.init_trackers("ml-clap", config=settings)
    if config.batch_size < accelerator.num_processes:
        raise TrainingError(
            f"batch_size is of all processes together: {config.batch_size} pairs are too few for "
            f"{accelerator.num_processes} processes"
        )
    return accelerator
