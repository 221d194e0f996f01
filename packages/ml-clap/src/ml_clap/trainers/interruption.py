"""Stopping a run: Ctrl-C and SIGTERM wait until what was done is saved."""

from __future__ import annotations

import logging
import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

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
