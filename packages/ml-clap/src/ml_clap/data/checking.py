"""Whether sound files can be used: decoded once, in threads, and remembered until they change.

What was found is appended to a JSON Lines file as it is found, so a check that is stopped goes on where it
was. A file is known by its path, size and time of last change. Failures are not remembered: a missing decoder
may be installed, a missing file may come.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from math import log10
from pathlib import Path
from typing import Any

SAMPLE_RATE = 16_000
"""Hz, at which models hear the files."""
PLACEHOLDER_BYTES = 0x7FFF_0000
"""Sizes from here on stand in .wav files that were written to a pipe."""


@dataclass(frozen=True)
class Check:
    """What decoding a file found."""

    seconds: float | None
    """Length; of a quick check what the header says, which may be nothing."""
    declared_seconds: float | None
    """Length by the header."""
    peak_db: float | None
    """Level of the loudest sample, dB of full scale; None after a quick check. -999 for digital silence."""
    digest: str
    """Of the decoded sound, or after a quick check of the file's bytes: the same for copies."""


class CheckMemory:
    """Checks of an earlier run, and a file to which this one's are appended.

    Args:
        path: The file.
        is_quick: Whether a quick check is enough; a full one always is.
        forget: Begin anew.
    """

    def __init__(self, path: Path, *, is_quick: bool, forget: bool = False) -> None:
        self.path = path
        self.is_quick = is_quick
        self._known: dict[str, dict[str, Any]] = {}
        if forget:
            path.unlink(missing_ok=True)
        elif path.is_file():
            self._known = {row["path"]: row for row in _rows(path)}

    def get(self, path: Path) -> Check | None:
        """The check of an unchanged file."""
        row = self._known.get(str(path))
        if row is None or row["state"] != _state(path) or (row["quick"] and not self.is_quick):
            return None
        return Check(**{each.name: row[each.name] for each in fields(Check)})

    def add(self, path: Path, check: Check) -> None:
        """Remember a check."""
        row = {"path": str(path), "state": _state(path), "quick": self.is_quick} | asdict(check)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="ascii") as file:
            file.write(json.dumps(row) + "\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole: a run that was killed may have left half of one."""
    needed = {"path", "state", "quick", *(each.name for each in fields(Check))}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and needed <= row.keys():
            yield row


def _state(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def check_files(
    paths: Iterable[Path],
    memory: CheckMemory,
    *,
    num_workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[Path, Check], dict[Path, str]]:
    """Check files, each once.

    Args:
        paths: Files, in which one may come several times.
        memory: What is known already; what is found is added.
        num_workers: Threads.
        progress: Told (done, of how many) after each file.

    Returns:
        The check of each usable file, and the reason why each other one is not.
    """
    wanted = list(dict.fromkeys(paths))
    checks: dict[Path, Check] = {}
    failures: dict[Path, str] = {}
    for path in wanted:
        known = memory.get(path)
        if known is not None:
            checks[path] = known
    todo = [path for path in wanted if path not in checks]
    check = quick_check if memory.is_quick else full_check
    with ThreadPoolExecutor(num_workers) as pool:
        running = {pool.submit(_outcome, check, path): path for path in todo}
        try:
            for done, future in enumerate(as_completed(running), start=1):
                path, outcome = running[future], future.result()
                if isinstance(outcome, Check):
                    checks[path] = outcome
                    memory.add(path, outcome)
                else:
                    failures[path] = outcome
                if progress is not None:
                    progress(len(wanted) - len(todo) + done, len(wanted))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return checks, failures


def _outcome(check: Callable[[Path], Check], path: Path) -> Check | str:
    from audio_common.audio import AudioError

    try:
        return check(path)
    except (AudioError, OSError, UnicodeError) as e:  # UnicodeError: a file name that libsndfile cannot take
        return str(e)


def full_check(path: Path) -> Check:
    """Decode a file from end to end, in bounded memory.

    Raises:
        AudioError: it is not, or not wholly, sound.
    """
    from audio_common.audio import audio_info, stream_audio

    declared = audio_info(path).duration
    digest = hashlib.blake2b(digest_size=16)
    samples, peak = 0, 0.0
    for block in stream_audio(path, sample_rate=SAMPLE_RATE):
        samples += len(block)
        peak = max(peak, float(block.abs().max()))
        digest.update(block.numpy().tobytes())
    seconds = samples / SAMPLE_RATE
    level = round(20 * log10(peak), 2) if peak else -999.0
    return Check(seconds, _wav_seconds(path, seconds) or declared, level, "sound:" + digest.hexdigest())


def _wav_seconds(path: Path, seconds: float) -> float | None:
    """Length that a .wav's first words declare, which libsndfile corrects to what is there without a word.

    None where they declare no more than there is, or are a placeholder of a writer that could not go back.
    """
    with path.open("rb") as file:
        head = file.read(12)
    size, declared = path.stat().st_size, int.from_bytes(head[4:8], "little") + 8
    is_wav = head[:4] == b"RIFF" and head[8:] == b"WAVE"
    return seconds * declared / size if is_wav and size < declared < PLACEHOLDER_BYTES else None


def quick_check(path: Path) -> Check:
    """Read a file's header, and its bytes for their digest.

    Raises:
        AudioError: it does not begin as sound does.
    """
    from audio_common.audio import audio_info

    seconds = audio_info(path).duration
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return Check(seconds, seconds, None, "bytes:" + digest.hexdigest())
