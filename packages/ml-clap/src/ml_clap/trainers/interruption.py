"""Stopping a run: Ctrl-C and SIGTERM wait until what was done is saved."""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from typing import Self

    from accelerate import Accelerator

logger = logging.getLogger(__name__)


class Interruption:
    """Within its block Ctrl-C and SIGTERM are only noted; a later Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self._noted: float | None = None
        self._kept: dict[int, Any] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether a signal came."""
        return self._noted is not None

    def is_wanted_anywhere(self, accelerator: Accelerator) -> bool:
        """Tell whether a signal came to any of the processes; all get the same answer."""
        stop = self.is_wanted
        if accelerator.num_processes > 1:
            # A signal may reach the processes in different updates: one more each would never meet.
            flag = torch.tensor(float(stop), device=accelerator.device)
            stop = bool(accelerator.reduce(flag, reduction="sum").item())
        return stop

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._kept = {number: signal.signal(number, self._note) for number in numbers}
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
