"""One request at a time: the model's thread, and a bounded number of requests that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class BusyError(RuntimeError):
    """As many requests as may wait do."""


class Work:
    """The model's thread and its queue; both the page's events and the API's requests go through it.

    Args:
        max_waiting: requests that may wait while one is answered.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._places = threading.Semaphore(max_waiting + 1)

    def place(self) -> Place:
        """Take a place in the queue, before anything is read or decoded for the request.

        Raises:
            BusyError: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError(
                f"{self.max_waiting} requests are waiting already, as many as may; try again in some seconds"
            )
        return Place(self._thread, self._places)

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the model's thread when its turn comes, and return what it returns."""
        with self.place() as place:
            return place.submit(function, *arguments).result()

    def close(self) -> None:
        """Drop what waits, and wait for what is being done."""
        self._thread.shutdown(cancel_futures=True)


class Place:
    """A place in the queue, given back when the request has ended."""

    def __init__(self, thread: ThreadPoolExecutor, places: threading.Semaphore) -> None:
        self._thread = thread
        self._places = places
        self._future: Future[Any] | None = None

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        # A caller may leave while its work still runs (a closed browser): the place is free when it ends.
        if self._future is None or self._future.cancel() or self._future.done():
            self._places.release()
        else:
            self._future.add_done_callback(lambda _: self._places.release())

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a function called in the model's thread."""
        self._future = future = self._thread.submit(function, *arguments)
        return future
