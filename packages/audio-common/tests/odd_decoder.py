"""A process that decodes, and behaves as the sound's name says: as a library does on a hostile file."""

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from audio_common import decode_worker


def behave(name: str, outlet: decode_worker.Outlet) -> None:
    import numpy as np

    if "noisy" in name:
        os.write(2, b"libodd: frame 7 is odd\n")
    if "printing" in name:
        os.write(1, b"libodd says hello\n")
    if "hanging" in name:
        time.sleep(1000)
    if "holding" in name:  # the interpreter's lock
        sum(itertools.repeat(1))
    if "bomb" in name:
        held = []
        while True:
            held.append(np.ones(1 << 22))
    if "crashing" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "aborting" in name:
        os.abort()
    if "leaving" in name:
        sys.exit(3)
    if "babbling" in name:
        os.write(outlet._fd, bytes(range(256)) * 10)
    if "slow" in name:  # but it gets on
        for _ in range(4):
            time.sleep(0.5)
            outlet.send_samples(np.zeros(16_000 * 10, np.float32))


def oddly(task: Any) -> Any:
    def run(outlet: decode_worker.Outlet, source: str | bytes, **options: Any) -> Any:
        if isinstance(source, str):
            behave(Path(source).stem, outlet)
        return task(outlet, source, **options)

    return run


if __name__ == "__main__":
    decode_worker.TASKS.update({name: oddly(task) for name, task in decode_worker.TASKS.items()})
    decode_worker.main()
