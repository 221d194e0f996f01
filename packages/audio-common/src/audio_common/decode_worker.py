"""The process in which `audio_common.workers` decodes, `decode_worker MEGABYTES SECONDS LIFELINE SHARED`.

Requests come on standard input, pickled: the parent is trusted. What goes back is not, since it is made of
files that nobody knows: frames of a kind, a length and that many bytes, of samples (float32) or JSON. The
libraries' own words go to standard error, which is a file of the parent's.

The process is made to be killed, and leaves nothing behind:

- its memory is limited by the system, beyond what the libraries take;
- Ctrl-C is the parent's affair;
- the parent holds the other end of a pipe, LIFELINE: when it is gone, however it ended, the system sends a
  signal that ends this process whatever it does. Where systems do not, an alarm ends one that hangs.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import pickle
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from audio_common.frames import (
    FAILURE,
    FRAME_SAMPLES,
    HEADER,
    NOISE_BYTES,
    PROGRESS,
    READY,
    RESULT,
    SAMPLES,
    SHARED,
    SHARED_BYTES,
)

if TYPE_CHECKING:
    import numpy as np

ORPHAN_SECONDS = 15
"""By which an alarm comes later than the parent's own."""


def main() -> None:
    """Serve requests until there are no more."""
    megabytes, seconds, lifeline = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    watch(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shared = mmap.mmap(int(sys.argv[4]), SHARED_BYTES)
    outlet = Outlet(os.dup(1), seconds, shared)
    os.dup2(2, 1)  # what a library prints there would be taken for frames
    logging.getLogger("audio_common").addHandler(logging.NullHandler())  # the parent logs complaints
    logging.getLogger("audio_common").propagate = False
    import audio_common.check
    import audio_common.decoding  # noqa: F401  # all that decodes, before memory is limited

    limit_resources(megabytes)
    outlet.send(READY)
    while True:
        outlet.stop_alarm()
        try:
            folder, task, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        outlet.set_alarm()
        serve(outlet, megabytes, folder, task, options)


def watch(lifeline: int) -> None:
    """Have the system end this process when the parent's end of a pipe is closed."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was closed before
        sys.exit()


def limit_resources(megabytes: int) -> None:
    """Have the system refuse more memory than the libraries take now plus `megabytes`, and long files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (NOISE_BYTES, NOISE_BYTES))
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmData:"))
    except (OSError, StopIteration):  # macOS has no such limit
        return
    limit = (kilobytes << 10) + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Outlet:
    """Frames on their way to the parent; while one waits to be taken, no alarm comes.

    Args:
        fd: descriptor that the parent reads.
        seconds: the parent's time limit.
        shared: memory that the parent has, too, for the last samples of a sound.
    """

    def __init__(self, fd: int, seconds: float, shared: mmap.mmap) -> None:
        self._fd = fd
        self._shared = shared
        self._patience = int(min(seconds, 1e8)) + ORPHAN_SECONDS
        self._waiting: list[memoryview] = []
        self._decoded, self._told = 0.0, time.monotonic()

    def set_alarm(self) -> None:
        """End the process if nothing is sent for long."""
        self._decoded, self._told = 0.0, time.monotonic()
        signal.alarm(self._patience)

    def stop_alarm(self) -> None:
        """Wait for the next request without end."""
        signal.alarm(0)

    def send(self, kind: bytes, content: bytes | memoryview = b"") -> None:
        """Send a frame, and samples before it that wait: the parent wakes up once."""
        signal.alarm(0)
        views = [*self._waiting, memoryview(HEADER.pack(kind, len(content))), memoryview(content)]
        self._waiting = []
        while views:
            count = os.writev(self._fd, views)
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if views:
                views[0] = views[0][count:]
        signal.alarm(self._patience)

    def send_samples(self, samples: np.ndarray) -> None:
        """Send float32 (samples,), with the next frame."""
        content = memoryview(samples.data).cast("B")
        if self._waiting:
            self.send(SAMPLES, content)
        else:
            self._waiting = [memoryview(HEADER.pack(SAMPLES, len(content))), content]

    def share_samples(self, blocks: list[np.ndarray], count: int) -> None:
        """Hand over a sound's last samples, `count` float32 in blocks, at most `FRAME_SAMPLES`."""
        import numpy as np

        np.concatenate(blocks, out=np.frombuffer(self._shared, np.float32, count))
        content = struct.pack("<q", count)
        self._waiting += [memoryview(HEADER.pack(SHARED, len(content))), memoryview(content)]

    def tell_progress(self, seconds: float) -> None:
        """Note that so much sound has been decoded, and tell it once a second."""
        self._decoded += seconds
        if time.monotonic() - self._told > 1:
            self.send(PROGRESS, struct.pack("<d", self._decoded))
            self._decoded, self._told = 0.0, time.monotonic()


def serve(outlet: Outlet, megabytes: int, folder: str, task: str, options: dict[str, Any]) -> None:
    """Do a task in the parent's working folder and send what it gives, or why it cannot be done."""
    from audio_common.reader import AudioError

    try:
        if folder:
            os.chdir(folder)
        result = TASKS[task](outlet, **options)
    except (AudioError, MemoryError) as error:
        is_full = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
        reason = (
            f"decoding took more than {megabytes} MB of memory and was stopped" if is_full else str(error)
        )
        outlet.send(FAILURE, json.dumps({"reason": reason, "is_full": is_full}).encode())
    else:
        # Nothing to say, the rule of most sounds, costs no JSON.
        outlet.send(RESULT, json.dumps(result).encode() if any(result.values()) else b"")


def load(
    outlet: Outlet,
    source: str | bytes,
    sample_rate: int,
    offset: float,
    duration: float | None,
    channel: Any,
    max_seconds: float | None,
) -> dict[str, Any]:
    """Send a segment's samples; see `load_audio`."""
    import numpy as np

    from audio_common.channels import OneChannelReader
    from audio_common.decoding import decoded_blocks

    sound = OneChannelReader(source, channel)
    pending: list[np.ndarray] = []
    num_pending = 0
    for block in decoded_blocks(sound, sample_rate, offset, duration, max_seconds):
        if num_pending + len(block) > FRAME_SAMPLES and pending:
            outlet.send_samples(np.concatenate(pending))
            pending, num_pending = [], 0
        pending.append(block)
        num_pending += len(block)
    if num_pending > FRAME_SAMPLES:
        outlet.send_samples(pending[0])
    else:
        outlet.share_samples(pending, num_pending)
    return {"complaints": sound.complaints}


def info(outlet: Outlet, source: str | bytes) -> dict[str, Any]:
    """What `audio_info` gives."""
    from audio_common.info import audio_info

    return asdict(audio_info(source))


def infos(outlet: Outlet, source: list[str]) -> dict[str, Any]:
    """What `audio_info` gives for each, or why there is nothing."""
    from audio_common.reader import AudioError

    found: list[dict[str, Any]] = []
    for path in source:
        try:
            found.append(info(outlet, path))
        except AudioError as error:
            found.append({"reason": str(error)})
    return {"infos": found}


def measure(outlet: Outlet, source: str | bytes) -> dict[str, Any]:
    """What `measure_audio` gives."""
    from audio_common.info import measure_audio

    return asdict(measure_audio(source, progress=outlet.tell_progress))


def check(outlet: Outlet, source: str, is_described: bool, **options: Any) -> dict[str, Any]:
    """What `full_check` gives; the beginning that is to be described is sent to the parent before."""
    from pathlib import Path

    from audio_common.check import full_check

    describe = outlet.send_samples if is_described else None
    return asdict(full_check(Path(source), describe=describe, progress=outlet.tell_progress, **options))


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "load": load,
    "info": info,
    "infos": infos,
    "measure": measure,
    "check": check,
}

if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the parent is gone
        os._exit(1)
