"""A pool's processes: started when one is needed, lent to one thread at a time, replaced when they end."""

from __future__ import annotations

import os
import threading

from audio_common.worker_process import WorkerProcess


class WorkerGroup:
    """Processes that decode.

    Args:
        num_workers: of them at most; whoever needs one more waits.
        megabytes: memory of each.
        seconds: time limit of a task.
    """

    def __init__(self, num_workers: int, megabytes: int, seconds: float) -> None:
        self.num_workers, self.megabytes, self.seconds = num_workers, megabytes, seconds
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._num_lent = 0
        self._changed = threading.Condition()
        self.is_closed = False

    def borrow(self) -> WorkerProcess:
        """Return a process that nobody else has; `give_back` must follow.

        Raises:
            RuntimeError: the group is closed, or a process does not start.
        """
        if self._owner != os.getpid():  # in a fork: the processes are the parent's
            self._begin()
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or self._num_lent < self.num_workers)
            if self.is_closed:
                raise RuntimeError("the pool that decodes is closed")
            self._num_lent += 1
            worker = self._idle.pop() if self._idle else None
        try:
            if worker is None or not worker.is_usable:
                if worker is not None:
                    worker.end()
                worker = WorkerProcess(self.megabytes, self.seconds)
        except BaseException:
            with self._changed:
                self._num_lent -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._busy.add(worker)
            if self.is_closed:  # meanwhile
                worker.kill()
        return worker

    def give_back(self, worker: WorkerProcess, *, is_ready: bool) -> None:
        """Have a process lent to others, or end it if it is not ready for another task."""
        if not is_ready:
            worker.end()
        with self._changed:
            self._busy.discard(worker)
            self._num_lent -= 1
            is_kept = is_ready and not self.is_closed
            if is_kept:
                self._idle.append(worker)
            self._changed.notify()
        if is_ready and not is_kept:
            worker.end()

    def give_up(self) -> None:
        """End the processes that are busy: their tasks fail. Others are started when they are needed."""
        if self._owner != os.getpid():
            return
        with self._changed:
            for worker in self._busy:
                worker.kill()

    def close(self) -> None:
        """End all processes; tasks that run fail."""
        if self._owner != os.getpid():
            return
        with self._changed:
            self.is_closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:  # a thread waits for its answer, and will end it
                worker.kill()
            self._changed.notify_all()
        for worker in idle:
            worker.end()
