"""Check which audio can be used: there, readable, not silent, not too long, not in a benchmark.

Each file is decoded once and fingerprinted; what was found is kept beside the output (see
`audio_common.check`), so that an interrupted preparation goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from audio_common import AudioError, DecodeLimits, DecodePool
from audio_common.check import Check, CheckMemory, check_files
from audio_common.config import Channel

from r1_aqa.bulk.places import is_url
from r1_aqa.data.fingerprints import RATE, Fingerprint, FingerprintIndex, fingerprint
from r1_aqa.data.lengths import measure
from r1_aqa.data.report import (
    CANCELS,
    CORRUPT,
    DAMAGED,
    LENGTH,
    LONG,
    LOUD,
    MISSING,
    SILENT,
    TOO_LONG,
    Reason,
)
from r1_aqa.output import Progress

SILENCE_DB = -80.0
"""Level of the loudest sample, dB of full scale, below which audio is silent."""
LOUD_DB, INTEGERS_DB = 1.0, 40.0
"""Levels above which a sound is louder than full scale allows, and above which it may hold integers."""
LENGTH_SECONDS, LENGTH_SHARE = 0.5, 0.05
"""Seconds, or share of the length, by which metadata may be wrong."""


@dataclass(frozen=True)
class SoundCheck:
    """What was found about an audio file."""

    seconds: float = 0.0
    peak_db: float = 0.0
    error: Reason | None = None
    print: Fingerprint | None = None
    channels_cancel: bool = False
    damage: str | None = None
    """What decoding complained of; the rest of the sound can be used."""

    def problem(self, *, max_seconds: float, skip_long: bool) -> Reason | None:
        """Return why it cannot be used, None if it can."""
        if self.error:
            return self.error
        if self.peak_db < SILENCE_DB:
            return Reason(SILENT, "silent")
        if skip_long and self.seconds > max_seconds:
            return Reason(TOO_LONG, f"longer than {max_seconds:g} s")
        return None

    def remarks(self, duration: Any, *, max_seconds: float) -> list[Reason]:
        """Return what is odd about a sound that can be used.

        Args:
            duration: seconds that the metadata say, if they do.
            max_seconds: longer ones are named.
        """
        found = []
        if self.damage:
            found.append(Reason(DAMAGED, f"damaged: {self.damage}"))
        if self.peak_db > LOUD_DB:
            hint = " (integers stored as floats?)" if self.peak_db > INTEGERS_DB else ""
            found.append(Reason(LOUD, f"loud: its peak is {self.peak_db:+.1f} dB of full scale{hint}"))
        if self.channels_cancel:
            found.append(Reason(CANCELS, "cancels"))
        said = duration if isinstance(duration, int | float) and not isinstance(duration, bool) else None
        if said and abs(self.seconds - said) > max(LENGTH_SECONDS, LENGTH_SHARE * said):
            than = "shorter" if self.seconds < said else "longer"
            text = f"length: {than} than its metadata says ({self.seconds:.1f} s of {said:g} s)"
            found.append(Reason(LENGTH, text))
        if self.seconds > max_seconds:
            found.append(Reason(LONG, f"long: {self.seconds:.1f} s"))
        return found


def check_sounds(
    paths: Iterable[Path],
    memory: CheckMemory,
    channel: Channel = "mean",
    limits: DecodeLimits | None = None,
) -> dict[Path, SoundCheck]:
    """Decode and fingerprint each file once, two at a time."""
    paths = list(dict.fromkeys(paths))
    with Progress("Checking audio", len(paths)) as progress:
        checks, failures = check_files(
            paths,
            memory,
            num_workers=2,
            sample_rate=RATE,
            channel=channel,
            describe=describe,
            decode_limits=limits,
            progress=lambda done, total: progress.advance(done - progress.done),
        )
    return sound_checks(paths, checks, failures)


def sound_checks(
    paths: Iterable[Path], checks: Mapping[Path, Check], failures: Mapping[Path, str]
) -> dict[Path, SoundCheck]:
    """Return what was found about each file, by what decoding it found or why it cannot be used."""
    return {
        path: _from_check(checks[path]) if path in checks else _failed(path, failures[path]) for path in paths
    }


def look_at_sounds(paths: Iterable[Path], limits: DecodeLimits | None = None) -> dict[Path, SoundCheck]:
    """Read each file's header alone, and all of it where that does not say how long it is."""
    wanted = list(dict.fromkeys(paths))
    with DecodePool(limits, num_workers=2) as pool, ThreadPoolExecutor(2) as threads:
        return dict(zip(wanted, threads.map(lambda path: _look(path, pool), wanted), strict=True))


def find_contamination(checks: dict[Path, SoundCheck], benchmark: dict[Path, SoundCheck]) -> dict[Path, str]:
    """Return the recordings that are in a benchmark too, and which of its files each is."""
    usable = [(str(path), check.print) for path, check in benchmark.items() if check.print]
    index = FingerprintIndex([name for name, _ in usable], [mark for _, mark in usable if mark])
    found = {path: index.find(check.print) for path, check in checks.items() if check.print}
    return {path: name for path, name in found.items() if name}


def _look(path: Path, pool: DecodePool) -> SoundCheck:
    try:
        return SoundCheck(measure(path, decoder=pool))
    except (AudioError, OSError) as error:
        return _failed(path, str(error))


def describe(samples: np.ndarray) -> list[list[int]]:
    """Return the fingerprint of samples (samples,) at `RATE`, in JSON's types."""
    found = fingerprint(samples)
    return [found.hashes.tolist(), found.frames.tolist()]


def _from_check(check: Check) -> SoundCheck:
    assert check.seconds is not None
    assert check.peak_db is not None
    marks = (np.array(numbers, dtype=np.int32) for numbers in check.description)
    return SoundCheck(
        check.seconds,
        check.peak_db,
        print=Fingerprint(*marks),
        channels_cancel=check.channels_cancel,
        damage=check.problem or _too_short(check.seconds, check.declared_seconds),
    )


def _too_short(seconds: float, declared: float | None) -> str | None:
    is_short = declared is not None and declared - seconds > max(LENGTH_SECONDS, LENGTH_SHARE * declared)
    return f"its header says {declared:.1f} s, {seconds:.1f} s are there" if is_short else None


def _failed(path: Path, reason: str) -> SoundCheck:
    # A path that no system would take (too long, with a NUL) names no file either.
    if os.path.isfile(path) or is_url(path):
        return SoundCheck(error=Reason(CORRUPT, f"unreadable: {reason}"))
    return SoundCheck(error=Reason(MISSING, "missing"))
