"""Check whether sound files can be used: decoded once, in threads, and remembered until they change.

A check finds what is damaged, silent or shorter than its header says, whose channels cancel each other, how
long and how loud each sound is, and which files are copies of each other. It is appended to a JSON Lines file
as soon as it is made, so that work which is stopped goes on where it was. A file is known by its path, size
and time of last change. Failures are not remembered: a missing decoder may be installed, a file may come.

    >>> from audio_common.check import CheckMemory, check_files
    >>> checks, failures = check_files(paths, CheckMemory("checked.jsonl"))  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_common.strict_json import read_records

if TYPE_CHECKING:
    import numpy as np

    from audio_common.config import Channel
    from audio_common.info import AudioInfo
    from audio_common.workers import DecodeLimits, DecodePool

SILENT_DB = -999.0
"""Level, in dB of full scale, that stands for digital silence."""
DESCRIBED_SECONDS = 60
"""The most sound, from a file's beginning, that `describe` is given."""

Describe = Callable[["np.ndarray"], Any]
"""Samples `(samples,)` float32 of a file's beginning -> anything that JSON can hold."""


@dataclass(frozen=True)
class Check:
    """What decoding a file found."""

    seconds: float | None
    """Length; after a quick check what the header says, which may be nothing, or an estimate: `is_exact`."""
    declared_seconds: float | None
    """Length by the header; None where that only estimates."""
    peak_db: float | None
    """Level of the loudest sample, dB of full scale: `SILENT_DB` if all are 0, None after a quick check.
    Above 0 for samples beyond ±1, which files of floats may hold."""
    digest: str
    """Hash of the decoded sound, or after a quick check of the file's bytes: the same for copies."""
    description: Any = None
    """What `describe` made of the sound."""
    num_channels: int | None = None
    channels_cancel: bool = False
    """Whether nearly nothing is left of the channels' average, so that "mean" takes the loudest; False after
    a quick check."""
    is_exact: bool = True
    """Whether decoding gives `seconds`; False: an estimate of the header."""
    problem: str | None = None
    """What decoding complained of: what was left out, or where the file is cut off."""


class CheckMemory:
    """The checks of earlier runs, and the file to which this one's are appended.

    Args:
        path: JSON Lines, made on the first check. A last line that was cut off is taken away.
        is_quick: a quick check (header and bytes, nothing decoded) is enough; a full one always is.
        forget: begin anew.
    """

    def __init__(self, path: str | Path, *, is_quick: bool = False, forget: bool = False) -> None:
        self.path = Path(path)
        self.is_quick = is_quick
        self._known: dict[str, dict[str, Any]] = {}
        if forget:
            self.path.unlink(missing_ok=True)
        elif self.path.is_file():
            self._known = {row["path"]: row for row in _rows(self.path)}
            _cut_half_line(self.path)

    def get(self, path: Path, channel: Channel = "mean") -> Check | None:
        """Return the check with this choice of channel of a file that has not changed since, or None."""
        row = self._known.get(str(path))
        if row is None or row["state"] != _state(path) or (row["quick"] and not self.is_quick):
            return None
        if not row["quick"] and row["num_channels"] != 1 and row["channel"] != channel:
            return None
        stored: dict[str, Any] = {field.name: row.get(field.name) for field in fields(Check)}
        return Check(**stored)

    def add(self, path: Path, check: Check, channel: Channel = "mean") -> None:
        """Remember a check that was made with this choice of channel."""
        row = {"path": str(path), "state": _state(path), "quick": self.is_quick, "channel": channel}
        row |= asdict(check)
        self._known[str(path)] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="ascii") as file:
            file.write(json.dumps(row) + "\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Read the whole rows: a killed run may have left half of one, an older version less in each."""
    needed = {"path", "state", "quick", "channel"} | {field.name for field in fields(Check)}
    return (row for row in read_records(path) if needed <= row.keys())


def _cut_half_line(path: Path) -> None:
    """Take away what follows the last line break: the next line would be appended to it."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _state(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name with a NUL or a lone surrogate
        return None
    return [status.st_size, status.st_mtime_ns]


def check_files(
    paths: Iterable[Path],
    memory: CheckMemory,
    *,
    num_workers: int = 4,
    sample_rate: int = 16_000,
    channel: Channel = "mean",
    describe: Describe | None = None,
    progress: Callable[[int, int], None] | None = None,
    max_seconds: float | None = None,
    decode_limits: DecodeLimits | DecodePool | None = None,
) -> tuple[dict[Path, Check], dict[Path, str]]:
    """Check files, each once.

    Args:
        paths: files, in which one may come several times.
        memory: what is known already; what is found is added. It decides between full and quick checks.
        num_workers: threads that decode.
        sample_rate: Hz, at which sounds are decoded; the same for all checks in one memory.
        channel: which of a sound's channels is decoded; see `load_audio`.
        describe: makes the description of each check from the file's first `DESCRIBED_SECONDS`, in the
            threads; not called by quick checks.
        progress: called with the number of files done, and of all, after each file.
        max_seconds: a longer sound is not usable; no more of it is decoded.
        decode_limits: of time and memory, in processes of its own, or a pool of them, which stays open;
            None decodes in threads.

    Returns:
        The check of each usable file, and the reason why each other one is not.
    """
    from audio_common.info import audio_info  # here, so that importing this module loads no numpy
    from audio_common.reader import AudioError
    from audio_common.workers import DecodeLimits, DecodePool

    pool = (
        DecodePool(decode_limits, num_workers) if isinstance(decode_limits, DecodeLimits) else decode_limits
    )
    check_fully = full_check if pool is None else partial(_check_in, pool)
    read_header = audio_info if pool is None else pool.audio_info
    wanted = list(dict.fromkeys(paths))
    checks: dict[Path, Check] = {}
    failures: dict[Path, str] = {}
    for path in wanted:
        known = memory.get(path, channel)
        lacks_description = describe is not None and not memory.is_quick
        if known is not None and not (lacks_description and known.description is None):
            checks[path] = known
    todo = [path for path in wanted if path not in checks]

    def check(path: Path) -> Check | str:
        try:
            if memory.is_quick:
                return quick_check(path, read_header)
            return check_fully(path, sample_rate, describe, channel, max_seconds)
        except AudioError as e:
            return str(e)

    with ThreadPoolExecutor(num_workers, thread_name_prefix="check") as threads:
        running = {threads.submit(check, path): path for path in todo}
        try:
            for done, future in enumerate(as_completed(running), start=1):
                path, outcome = running[future], future.result()
                if isinstance(outcome, Check):
                    checks[path] = outcome
                    memory.add(path, outcome, channel)
                else:
                    failures[path] = outcome
                if progress is not None:
                    progress(len(wanted) - len(todo) + done, len(wanted))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            if pool is not None:
                pool.give_up()
            raise
        finally:
            if pool is not None and pool is not decode_limits:
                pool.close()
    return checks, failures


def full_check(
    path: Path,
    sample_rate: int = 16_000,
    describe: Describe | None = None,
    channel: Channel = "mean",
    max_seconds: float | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> Check:
    """Decode a file from end to end, in bounded memory.

    Args:
        path: the file.
        sample_rate: Hz, at which it is decoded.
        describe: makes the check's description from the first `DESCRIBED_SECONDS`.
        channel: which of its channels is decoded.
        max_seconds: a longer sound is an AudioError; no more of it is decoded.
        progress: called with the seconds of each block that is decoded.

    Raises:
        AudioError: it is not, or not wholly, sound.
    """
    import numpy as np

    from audio_common.channels import OneChannelReader
    from audio_common.decoding import decoded_blocks
    from audio_common.headers import promised_share

    sound = OneChannelReader(path, channel, asks=True)
    declared = None if sound.reader.num_frames is None else sound.reader.duration
    digest = hashlib.blake2b(digest_size=16)
    samples, peak = 0, 0.0
    beginning: list[np.ndarray] = []
    for block in decoded_blocks(sound, sample_rate, max_seconds=max_seconds):
        if progress is not None:
            progress(len(block) / sample_rate)
        if describe is not None and samples < DESCRIBED_SECONDS * sample_rate:
            beginning.append(block[: DESCRIBED_SECONDS * sample_rate - samples])
        samples += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        digest.update(block.tobytes())
    seconds = samples / sample_rate
    complaints = list(sound.reader.complaints)
    if (share := promised_share(path)) is not None:
        declared = seconds * share
    return Check(
        seconds=seconds,
        declared_seconds=declared,
        peak_db=round(20 * log10(peak), 2) if peak else SILENT_DB,
        digest="sound:" + digest.hexdigest(),
        description=None if describe is None else describe(np.concatenate(beginning)),
        num_channels=sound.reader.num_channels,
        channels_cancel=sound.verdict.cancels,
        problem="; ".join(complaints) or None,
    )


def _check_in(
    pool: DecodePool,
    path: Path,
    sample_rate: int,
    describe: Describe | None,
    channel: Channel,
    max_seconds: float | None,
) -> Check:
    """Check a file in a process of a pool; `describe` runs here."""
    from audio_common.workers import printed

    options: dict[str, Any] = {"sample_rate": sample_rate, "channel": channel, "max_seconds": max_seconds}
    result = pool.result_of("check", path, {**options, "is_described": describe is not None})
    check = Check(**{field.name: result[field.name] for field in fields(Check)})
    problems = [*([check.problem] if check.problem else []), *printed(result["noise"])]
    description = None if describe is None else describe(result["samples"][0])
    return replace(check, problem="; ".join(problems) or None, description=description)


def quick_check(path: Path, read_header: Callable[[Path], AudioInfo] | None = None) -> Check:
    """Read a file's header, and its bytes for their digest; decode nothing.

    Args:
        path: the file.
        read_header: `audio_info`, or that of a `DecodePool`.

    Raises:
        AudioError: it does not begin as sound does.
    """
    from audio_common.info import audio_info
    from audio_common.reader import reported, shown

    info = (read_header or audio_info)(path)
    with reported(shown(path)), path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return Check(
        seconds=info.duration,
        declared_seconds=None if info.num_frames is None else info.duration,
        peak_db=None,
        digest="bytes:" + digest.hexdigest(),
        num_channels=info.num_channels,
        is_exact=info.is_exact,
    )
