"""Output files of a command: held while it writes them, and cleaned of what a killed one left."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aac_llm.files import TEMPORARY, is_stream
from aac_llm.lock import sole_writer


@contextmanager
def hold(*paths: Path | None) -> Iterator[None]:
    """Hold output files within the block; None and `-` are nobody's.

    Raises:
        BusyError: another process is writing one of them.
    """
    with ExitStack() as held:
        for path in dict.fromkeys(path for path in paths if path is not None and not is_stream(path)):
            held.enter_context(sole_writer(path))
            # Beside it is its report, under one of two names.
            for name in (path.name, f"{path.stem}.report.json"):
                for left in path.parent.glob(f".{glob.escape(name)}.*{TEMPORARY}"):
                    left.unlink(missing_ok=True)
        yield
