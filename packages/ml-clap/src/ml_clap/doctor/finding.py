"""What the doctor finds: one line each, with the command that mends it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["ok", "note", "fault"]
"""`note`: something does not work, or might not, that not every command needs."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    kind: Kind
    subject: str
    """In a word or two: `torch`, `disk`, `run`."""
    text: str
    """How it is, in one line."""
    command: str = ""
    """What mends it; empty where nothing is to be mended."""

    def __post_init__(self) -> None:
        if (self.kind == "ok") == bool(self.command):
            raise ValueError(f"what is {self.kind} must{' not' * (self.kind == 'ok')} name a command: {self}")

    def line(self) -> str:
        """Return it as a line of the report."""
        return f"{self.kind:5}  {self.subject:11}  {self.text}" + (f" -> {self.command}" * bool(self.command))


def set_aside(folder: Path) -> str:
    """Return the command that moves a folder out of the way; it removes nothing."""
    place = folder if folder.name not in ("", "..") else folder.resolve()
    return f"mv {shlex.quote(str(place))} {shlex.quote(f'{place}.broken')}"
