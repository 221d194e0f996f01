"""Which sounds can be used: there, readable, not silent, not too long, not in a benchmark.

Each file is decoded once; what was found is kept beside the output by the file's size and time, so that an
interrupted preparation goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from audio_common import AudioError, audio_info, load_audio

from r1_aqa.data.fingerprints import RATE, Fingerprint, FingerprintIndex, fingerprint

SILENCE = 1e-4
"""Peak below which a sound is silent (-80 dB of full scale)."""
PRINTED_SECONDS = 60
"""Of each sound this much is fingerprinted."""


@dataclass(frozen=True)
class SoundCheck:
    """What a file is like."""

    seconds: float
    peak: float
    error: str | None
    print: Fingerprint | None

    def problem(self, *, max_seconds: float, skip_long: bool) -> str | None:
        """Why it cannot be used, None when it can."""
        if self.error:
            return self.error
        if self.peak < SILENCE:
            return "silent"
        if skip_long and self.seconds > max_seconds:
            return f"longer than {max_seconds:g} s"
        return None


class SoundChecks:
    """Checks of many files, in a journal that survives a kill."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self._known = dict(_read_journal(journal))

    def check(self, paths: Iterable[Path], *, decode: bool = True) -> dict[Path, SoundCheck]:
        """Check each file once, two at a time."""
        from rich.progress import track

        wanted = list(dict.fromkeys(paths))
        new = [path for path in wanted if _key(path) not in self._known]
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(2) as pool, self.journal.open("a", encoding="utf-8") as file:
            found = pool.map(check_sound if decode else look_at_sound, new)
            for path, result in track(
                zip(new, found, strict=True), "sounds", len(new), transient=True, disable=not new
            ):
                self._known[_key(path)] = result
                if decode:
                    file.write(json.dumps([_key(path), _to_row(result)]) + "\n")
        return {path: self._known[_key(path)] for path in wanted}


def check_sound(path: Path) -> SoundCheck:
    """Decode a file; never raises."""
    try:
        samples = np.asarray(load_audio(path, sample_rate=RATE))
    except (AudioError, OSError) as error:
        return SoundCheck(0.0, 0.0, _reason(path, error), None)
    peak = float(np.abs(samples).max(initial=0.0))
    return SoundCheck(len(samples) / RATE, peak, None, fingerprint(samples[: PRINTED_SECONDS * RATE]))


def look_at_sound(path: Path) -> SoundCheck:
    """Read a file's header alone."""
    try:
        return SoundCheck(audio_info(path).duration or 0.0, 1.0, None, None)
    except (AudioError, OSError) as error:
        return SoundCheck(0.0, 0.0, _reason(path, error), None)


def find_contamination(checks: dict[Path, SoundCheck], benchmark: dict[Path, SoundCheck]) -> dict[Path, str]:
    """Recordings that are in a benchmark too, and which of its files each is."""
    usable = [(str(path), check.print) for path, check in benchmark.items() if check.print]
    index = FingerprintIndex([name for name, _ in usable], [each for _, each in usable if each])
    found = {path: index.find(check.print) for path, check in checks.items() if check.print}
    return {path: name for path, name in found.items() if name}


def _reason(path: Path, error: Exception) -> str:
    return "missing" if not path.is_file() else f"unreadable: {error}"


def _key(path: Path) -> str:
    try:
        about = path.stat()
    except OSError:
        return f"{path}|missing"
    return f"{path}|{about.st_size}|{about.st_mtime_ns}"


def _to_row(check: SoundCheck) -> dict[str, Any]:
    row: dict[str, Any] = {"seconds": check.seconds, "peak": check.peak, "error": check.error}
    if check.print:
        row |= {"hashes": check.print.hashes.tolist(), "frames": check.print.frames.tolist()}
    return row


def _read_journal(path: Path) -> Sequence[tuple[str, SoundCheck]]:
    found = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        try:
            key, row = json.loads(line)
        except ValueError:  # half a line, left by a kill
            continue
        marks = [np.array(row[name], dtype=np.int32) for name in ("hashes", "frames") if name in row]
        found.append(
            (
                key,
                SoundCheck(row["seconds"], row["peak"], row["error"], Fingerprint(*marks) if marks else None),
            )
        )
    return found
