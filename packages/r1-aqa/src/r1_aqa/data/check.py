"""Check which audio can be used: there, readable, not silent, not too long, not in a benchmark.

Each file is decoded once and fingerprinted; what was found is kept beside the output (see
`audio_common.check`), so that an interrupted preparation goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from audio_common import AudioError, audio_info
from audio_common.check import Check, CheckMemory, check_files

from r1_aqa.data.fingerprints import RATE, Fingerprint, FingerprintIndex, fingerprint
from r1_aqa.output import Progress

SILENCE_DB = -80.0
"""Level of the loudest sample, dB of full scale, below which audio is silent."""


@dataclass(frozen=True)
class SoundCheck:
    """What was found about an audio file."""

    seconds: float = 0.0
    peak_db: float = 0.0
    error: str | None = None
    print: Fingerprint | None = None

    def problem(self, *, max_seconds: float, skip_long: bool) -> str | None:
        """Return why it cannot be used, None if it can."""
        if self.error:
            return self.error
        if self.peak_db < SILENCE_DB:
            return "silent"
        if skip_long and self.seconds > max_seconds:
            return f"longer than {max_seconds:g} s"
        return None


def check_sounds(paths: Iterable[Path], memory: CheckMemory) -> dict[Path, SoundCheck]:
    """Decode and fingerprint each file once, two at a time."""
    paths = list(dict.fromkeys(paths))
    with Progress("Checking audio", len(paths)) as progress:
        checks, failures = check_files(
            paths,
            memory,
            num_workers=2,
            sample_rate=RATE,
            describe=_describe,
            progress=lambda done, total: progress.advance(done - progress.done),
        )
    return {
        path: _from_check(checks[path]) if path in checks else _failed(path, failures[path]) for path in paths
    }


def look_at_sounds(paths: Iterable[Path]) -> dict[Path, SoundCheck]:
    """Read each file's header alone."""
    wanted = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(wanted, pool.map(_look, wanted), strict=True))


def find_contamination(checks: dict[Path, SoundCheck], benchmark: dict[Path, SoundCheck]) -> dict[Path, str]:
    """Return the recordings that are in a benchmark too, and which of its files each is."""
    usable = [(str(path), check.print) for path, check in benchmark.items() if check.print]
    index = FingerprintIndex([name for name, _ in usable], [mark for _, mark in usable if mark])
    found = {path: index.find(check.print) for path, check in checks.items() if check.print}
    return {path: name for path, name in found.items() if name}


def _look(path: Path) -> SoundCheck:
    try:
        return SoundCheck(audio_info(path).duration or 0.0)
    except (AudioError, OSError) as error:
        return _failed(path, str(error))


def _describe(samples: np.ndarray) -> list[list[int]]:
    found = fingerprint(samples)
    return [found.hashes.tolist(), found.frames.tolist()]


def _from_check(check: Check) -> SoundCheck:
    assert check.seconds is not None
    assert check.peak_db is not None
    marks = (np.array(numbers, dtype=np.int32) for numbers in check.description)
    return SoundCheck(check.seconds, check.peak_db, None, Fingerprint(*marks))


def _failed(path: Path, reason: str) -> SoundCheck:
    return SoundCheck(error=f"unreadable: {reason}" if path.is_file() else "missing")
