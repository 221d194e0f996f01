"""What a person sees: results on standard output, all else on standard error, progress in one look."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from audio_common.reader import UNPRINTABLE

T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]
SECONDS = 30.0
"""Between two lines of progress where there is no terminal."""


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def set_up(*, quiet: bool = False, verbose: bool = False, has_model: bool = True) -> None:
    """Write our own messages plainly to standard error; of libraries only what is wrong.

    Args:
        quiet: only warnings and errors, no progress.
        verbose: our debugging messages and the libraries' warnings, too.
        has_model: whether transformers will load a model: it would draw bars of its own in the midst of ours.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if verbose else "error")
    # DeepSpeed, where it is installed, says on the standard output that there is no GPU.
    logging.getLogger("DeepSpeed").addFilter(_is_error)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_StderrHandler()], force=True)
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    for name in (PACKAGE, "audio_common"):
        logging.getLogger(name).setLevel(level)
    if not verbose:
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
    if has_model:
        quiet_models(quiet, verbose)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield items and show how far it is; the total is their number if they have one."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with Progress(description, total) as shown:
        for item in items:
            yield item
            shown.advance()


class Progress:
    """A bar on a terminal, elsewhere a line now and then: count, rate, time left.

    Args:
        description: what is done, as in `Encoding sounds`.
        total: how much there is; None: not known.
        start: how much of it was done before, by an interrupted command.
        shown: False in all processes but the first.
    """

    def __init__(
        self, description: str, total: int | None = None, *, start: int = 0, shown: bool = True
    ) -> None:
        self.description, self.total, self.start, self.done = description, total, start, start
        self._shown = shown and logging.getLogger(PACKAGE).isEnabledFor(logging.INFO)
        self._bar: Any = None
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._shown and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.start, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._told > self._began and kind is None:
            self._tell()  # who saw lines sees the last one, too

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count what is done; a note (a loss, a score) stands at the end."""
        self.done += count
        note = printable(note)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif self._shown and time.monotonic() - self._told >= SECONDS:
            self._tell(note)

    def _tell(self, note: str = "") -> None:
        self._told = time.monotonic()
        rate = (self.done - self.start) / max(self._told - self._began, 1e-9)
        parts = [f"{self.done}/{self.total}" if self.total else str(self.done), _rate(rate)]
        if self.total and rate and self.done < self.total:
            parts.append(f"{_duration((self.total - self.done) / rate)} left")
        print(
            f"{self.description}: {', '.join([*parts, *([note] if note else [])])}",
            file=sys.stderr,
            flush=True,
        )


def console(**settings: Any) -> Any:
    """Return rich's console for results; a reader that goes away (`| head`) is left to the command line."""
    from rich.console import Console

    class Results(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end with 1, which means that items were skipped

    return Results(**settings)


def printable(text: object, *, lines: bool = False) -> str:
    r"""Return a text for a terminal: control characters are written as escapes.

    Args:
        text: a file's name, a caption, whatever comes from outside.
        lines: whether it may have several lines and tabs, as a message of ours may.

    >>> printable("dog\x1b[2J.wav")
    'dog\\x1b[2J.wav'
    """

    def escape(match: re.Match[str]) -> str:
        number = ord(match[0])
        if lines and match[0] in "\n\t":
            return match[0]
        return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"

    return UNPRINTABLE.sub(escape, str(text))


def _rate(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    note = TextColumn("{task.fields[note]}", markup=False)  # may hold the brackets of a file's name
    # Results that go to a file must not be drawn into the bar's console instead.
    redirect = sys.stdout.isatty()
    return Bar(*columns, note, console=Console(stderr=True), redirect_stdout=redirect)


def quiet_models(quiet: bool, verbose: bool) -> None:
    """Silence the bars and the news of transformers and the hub, as `set_up` does where a model is loaded."""
    from huggingface_hub import constants
    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # a bar for each file of weights
    if not verbose:
        transformers_logging.set_verbosity_error()  # the variable in `set_up` may have come too late
        # its retries without a network, each told twice; our error says it once
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not quiet and not constants.HF_HUB_OFFLINE and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        enable_progress_bars()  # a download of minutes shows that it goes on


class _StderrHandler(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the moment, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)
