"""Settings of `r1-aqa doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Say what is wrong with the installation, the machine and what is named, and what mends it.

    Each line ends in the command that mends what it names. Exit code 1: there is a fault; a note alone is 0.
    """

    paths: tuple[Path, ...] = ()
    """Training runs, models, manifests and the like to look at, and single sounds."""
    offline: bool = False
    """Do not try to reach the hub."""
    json: Path | None = None
    """Also write all findings to this file; `-`: to standard output."""
