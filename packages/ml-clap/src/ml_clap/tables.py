"""Results on the terminal: tables, what was skipped, and progress told as (done, of how many)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

from ml_clap.files import is_stream
from ml_clap.output import Progress, console, printable


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[float, int], None]]:
    """Show progress within the block; gives the function to call with (done, of how many)."""
    with ExitStack() as stack:
        shown: Progress | None = None

        def update(done: float, total: int) -> None:
            nonlocal shown
            if shown is None:  # only now is the total known
                shown = stack.enter_context(Progress(description, total))
            shown.advance(int(done) - shown.done)

        yield update


@contextmanager
def tables_beside_json(json: Path | None) -> Iterator[None]:
    """Within the block tables go to standard error if JSON takes standard output (`--json -`)."""
    with redirect_stdout(sys.stderr) if json is not None and is_stream(json) else ExitStack():
        yield


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print a table to standard output; the first column is text, the others are numbers.

    Control characters in it, which file names and captions may hold, are written as escapes.
    """
    from rich.table import Table
    from rich.text import Text

    # As Text: labels in [brackets] are no markup.
    # One space between columns: eleven of them fit into the 80 of a terminal, or of none.
    table = Table(
        title=Text(printable(title)), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for place, name in enumerate(columns):
        table.add_column(Text(printable(name)), justify="right" if place else "left", no_wrap=place > 0)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    screen = console()
    screen.print(table)
    if note:
        screen.print(Text(printable(note)))


def print_skipped(reasons: Sequence[str], limit: int = 5, what: str = "sound") -> None:
    """Print to standard output which files (or lines) were skipped, and why."""
    if reasons:
        print(f"{count_of(len(reasons), what)} skipped:")
    for reason in reasons[:limit]:
        print(f"  {printable(reason)}")
    if len(reasons) > limit:
        print(f"  and {len(reasons) - limit:,} more; --json FILE lists all")


def count_of(number: int, what: str) -> str:
    """Return a number of things in words.

    >>> count_of(1, "clip"), count_of(1200, "clip")
    ('1 clip', '1,200 clips')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
