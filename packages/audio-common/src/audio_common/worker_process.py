"""One process that decodes (`audio_common.decode_worker`), as the pool sees it."""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from audio_common.frames import FRAME_SAMPLES, HEADER, KINDS, NOISE_BYTES, READY, SHARED_BYTES

if TYPE_CHECKING:
    import numpy as np

MODULE = "audio_common.decode_worker"
START_SECONDS = 120.0
"""Within which a worker must have started, on a machine that is busy."""
PIPE_BYTES = 1 << 20
"""What the system holds between a worker and the parent; the default is 64 KiB, a tenth of a clip."""
SHOWN_NOISE = 2000
"""The last bytes of what the libraries printed that are kept of one sound."""
REAP_SECONDS = 10.0
MOST_BYTES = 1 << 30
"""Of a frame; more is a worker that has lost its mind."""


class WorkerEndedError(Exception):
    """The process ended, or sent what cannot be."""


class WorkerLateError(Exception):
    """The process did not answer within its time."""


class WorkerProcess:
    """A process that does one task at a time.

    Args:
        megabytes: memory that it may take beyond what its libraries take.
        seconds: time limit of a task.

    Raises:
        RuntimeError: it does not start.
    """

    def __init__(self, megabytes: int, seconds: float) -> None:
        self.left = START_SECONDS
        """Seconds that may still be spent waiting for it."""
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        fcntl.fcntl(self._noise, fcntl.F_SETFL, os.O_APPEND)
        self._heard = 0
        read_end, self._lifeline = os.pipe()
        shared = _open_shared()
        shared.truncate(SHARED_BYTES)
        self._shared = mmap.mmap(shared.fileno(), SHARED_BYTES)
        # What this process imports is what the worker does, but nothing from the current folder.
        search = os.pathsep.join(filter(None, sys.path))
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    MODULE,
                    str(megabytes),
                    str(seconds),
                    str(read_end),
                    str(shared.fileno()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._noise,
                env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=(read_end, shared.fileno()),
                process_group=0,  # Ctrl-C is for the parent alone
                bufsize=0,
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(read_end)
            shared.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._frames = self._process.stdin.fileno(), self._process.stdout.fileno()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # the system's limit for all pipes of a user
                fcntl.fcntl(self._frames, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self._requests, False)
        self._poll = select.poll()
        self._poll.register(self._frames, select.POLLIN)
        try:
            kind, _ = self.receive()
        except (WorkerEndedError, WorkerLateError) as error:
            self.end()
            raise RuntimeError(f"the process that decodes does not start: {self.noise()}") from error
        except BaseException:
            self.end()
            raise
        assert kind == READY

    @property
    def is_usable(self) -> bool:
        """Whether it runs, and has room to print."""
        return self._process.poll() is None and self._heard < NOISE_BYTES // 2

    def request(self, task: str, options: dict[str, Any], seconds: float) -> None:
        """Begin a task that may take so long.

        Raises:
            WorkerEndedError, WorkerLateError: it does not take the request.
        """
        self.left = seconds
        self.noise()
        data = memoryview(pickle.dumps((_folder(), task, options), protocol=5))
        writable = select.poll()
        writable.register(self._requests, select.POLLOUT)
        while data:
            try:
                data = data[os.write(self._requests, data) :]
            except BlockingIOError:
                self._wait(writable)
            except BrokenPipeError as error:
                raise WorkerEndedError from error

    def receive(self) -> tuple[bytes, np.ndarray]:
        """Return the next frame: its kind, and its bytes as uint8.

        Raises:
            WorkerEndedError, WorkerLateError: none comes.
        """
        import numpy as np

        header = bytearray(HEADER.size)
        self._fill(memoryview(header))
        kind, size = HEADER.unpack(header)
        if size > MOST_BYTES or kind not in KINDS:
            raise WorkerEndedError
        content = np.empty(size, np.uint8)
        self._fill(content.data)
        return kind, content

    def shared_samples(self, content: np.ndarray) -> np.ndarray:
        """Copy the samples that a frame tells of out of the shared memory, as float32 (samples,)."""
        import numpy as np

        count = int(content.view(np.int64)[0])
        if not 0 <= count <= FRAME_SAMPLES:
            raise WorkerEndedError
        return np.frombuffer(self._shared, np.float32, count).copy()

    def _fill(self, view: memoryview) -> None:
        while view:
            self._wait(self._poll)
            count = os.readv(self._frames, [view])
            if not count:
                raise WorkerEndedError
            view = view[count:]

    def _wait(self, poll: select.poll) -> None:
        start = time.monotonic()
        is_ready = poll.poll(max(0.0, min(self.left, 1e6)) * 1000)
        self.left -= time.monotonic() - start
        if not is_ready:
            raise WorkerLateError

    def noise(self) -> str:
        """Return what its libraries have printed since the last time."""
        size = os.fstat(self._noise.fileno()).st_size
        if size == self._heard:
            return ""
        start = max(self._heard, size - SHOWN_NOISE)
        data = os.pread(self._noise.fileno(), size - start, start)
        self._heard = size
        return data.decode(errors="replace").strip()

    def last_words(self) -> str:
        """Say how it ended, once it has."""
        code = self._process.returncode
        if code is None:
            return "was stopped"
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def kill(self) -> None:
        """End it at once; whoever waits for its answer learns that."""
        self._process.kill()

    def end(self) -> None:
        """End it and leave nothing of it; its last noise can still be had until this object goes."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # it hangs in the system, on a disk that is gone, say
            self._process.wait(REAP_SECONDS)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _open_shared() -> BinaryIO:
    """Open a file without a name, on Linux one that is only memory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("samples"), "r+b")
    return tempfile.TemporaryFile()


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # removed
        return ""
