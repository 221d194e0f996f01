"""Encode the clips that an index lacks, a bounded number of files and windows at a time.

A clip's record (content hash, duration) is written before its vectors. So the windows that a clip lacks
follow from the index alone: those its duration asks for and that are not there. This finds what a killed run
left out, and tries again what could not be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml_clap.scan import Found, sha256
from ml_clap.store import Entry, IndexWriter
from ml_clap.windows import plan_windows

if TYPE_CHECKING:
    from ml_clap.encoding import AudioSpan, BadFile
    from ml_clap.model import MLCLAP

FILES_AT_ONCE = 64
"""Files hashed and measured together."""
WINDOWS_AT_ONCE = 1024
"""Windows batched by length together: enough for little padding, few enough for bounded memory."""

Window = tuple[int, float, float]
"""A clip's line number, start and end in seconds."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be indexed, or not all of it: a line of `bad_files.jsonl`."""

    file: str
    """Absolute path."""
    reason: str
    windows_missing: int | None = None
    """How many of its windows the index lacks; None when nothing could be read of it."""


def measure(clip: Found) -> Entry | Problem:
    """Hash a file and find its length; a Problem if it cannot be read or holds no sound."""
    from audio_common.audio import AudioError

    try:
        entry = Entry(
            id=clip.id,
            file=clip.file,
            size=clip.size,
            mtime_ns=clip.mtime_ns,
            sha256=sha256(clip.path),
            duration=measure_duration(clip.path),
            captions=clip.captions,
            label=clip.label,
            licence=clip.licence,
        )
    except (AudioError, OSError) as e:
        return Problem(str(clip.path), str(e))
    return entry if entry.duration > 0 else Problem(str(clip.path), "no sound in it: 0 samples")


def measure_duration(path: Path) -> float:
    """Seconds of sound of a file: by its header, or by decoding it where the header does not say."""
    from audio_common.audio import audio_info, stream_audio

    duration = audio_info(path).duration
    if duration is None:
        duration = sum(len(block) for block in stream_audio(path, sample_rate=16000)) / 16000
    return duration


class IndexFiller:
    """Encodes what an index lacks.

    Attributes:
        num_windows: windows encoded so far.
        audio_seconds: sound encoded so far.
    """

    def __init__(
        self, model: MLCLAP, writer: IndexWriter, seconds_per_batch: float = 160.0, num_workers: int = 1
    ) -> None:
        self.model = model
        self.writer = writer
        self.seconds_per_batch = seconds_per_batch
        self.num_workers = num_workers
        self.num_windows = 0
        self.audio_seconds = 0.0
        self._done = 0.0
        self._problems: list[Problem] = []
        self._failed: dict[int, list[str]] = defaultdict(list)

    def run(self, new: Sequence[Found], on_progress: Callable[[float, int], None]) -> list[Problem]:
        """Encode the windows that the index's clips lack, then the new clips.

        Args:
            new: clips that the index does not have.
            on_progress: called after each batch with the number of clips done and of clips to do.

        Returns:
            What could not be read.
        """
        lacking = self._lacking()
        total = len(lacking) + len(new)
        for group in _groups(chain(lacking, self._add(new))):
            for _ in self._encode(group):
                on_progress(self._done, total)
        on_progress(total, total)
        return self._problems + [self._problem(entry, reasons) for entry, reasons in self._failed.items()]

    def _lacking(self) -> list[list[Window]]:
        """Per clip of the index that lacks any, the windows it lacks."""
        present = self.writer.windows()
        counts = np.bincount(present["entry"], minlength=len(self.writer.entries))
        planned = [self._plan(number) for number in range(len(self.writer.entries))]
        lacking = [number for number, windows in enumerate(planned) if counts[number] < len(windows)]
        starts = defaultdict(set)
        for number, start, _ in present[np.isin(present["entry"], lacking)].tolist():
            starts[number].add(start)
        return [
            [window for window in planned[number] if window[1] not in starts[number]] for number in lacking
        ]

    def _plan(self, number: int) -> list[Window]:
        settings = self.writer.settings
        duration = self.writer.entries[number].duration
        windows = plan_windows(duration, settings.window_seconds, settings.hop_seconds)
        return [(number, start, end) for start, end in windows]

    def _add(self, new: Sequence[Found]) -> Iterator[list[Window]]:
        """Write the records of new clips, some at a time, and give each one's windows."""
        with ThreadPoolExecutor(self.num_workers) as pool:
            for first in range(0, len(new), FILES_AT_ONCE):
                measured = list(pool.map(measure, new[first : first + FILES_AT_ONCE]))
                bad = [clip for clip in measured if isinstance(clip, Problem)]
                self._problems += bad
                self._done += len(bad)
                good = [clip for clip in measured if isinstance(clip, Entry)]
                for number in self.writer.add_entries(good):
                    yield self._plan(number)

    def _encode(self, group: Sequence[tuple[Window, float]]) -> Iterator[None]:
        """Encode windows and write them; yields after each batch."""
        from ml_clap.encoding import encode_spans

        windows = [window for window, _ in group]
        bad: list[BadFile] = []
        lacking = set(range(len(windows)))
        batches = encode_spans(
            self.model,
            [self._span(window) for window in windows],
            seconds_per_batch=self.seconds_per_batch,
            num_workers=self.num_workers,
            bad_files=bad,
        )
        for indices, embeddings in batches:
            vectors = embeddings.numpy()
            finite = np.isfinite(vectors).all(axis=1)
            written = [index for index, good in zip(indices, finite, strict=True) if good]
            self.writer.add_windows([windows[index] for index in written], vectors[finite])
            lacking -= set(written)
            self._count([group[index] for index in indices])
            yield
        reasons = {str(file.path): file.reason for file in bad}
        for index in sorted(lacking):
            entry = windows[index][0]
            unknown = "its embedding is not finite"
            self._failed[entry].append(reasons.get(str(self._path(entry)), unknown))

    def _span(self, window: Window) -> AudioSpan:
        from ml_clap.encoding import AudioSpan

        number, start, end = window
        whole = start == 0.0 and end == self.writer.entries[number].duration
        return AudioSpan(self._path(number), start, None if whole else end - start)

    def _path(self, number: int) -> Path:
        return Path(self.writer.settings.root, self.writer.entries[number].file)

    def _count(self, encoded: Sequence[tuple[Window, float]]) -> None:
        self.num_windows += len(encoded)
        for (_, start, end), share in encoded:
            self.audio_seconds += end - start
            self._done += share

    def _problem(self, number: int, reasons: list[str]) -> Problem:
        whole = len(reasons) == len(self._plan(number))
        return Problem(str(self._path(number)), reasons[0], None if whole else len(reasons))


def _groups(clips: Iterable[list[Window]]) -> Iterator[list[tuple[Window, float]]]:
    """The clips' windows, up to `WINDOWS_AT_ONCE` at a time, each with its share of its clip's work."""
    group: list[tuple[Window, float]] = []
    for windows in clips:
        for window in windows:
            group.append((window, 1 / len(windows)))
            if len(group) == WINDOWS_AT_ONCE:
                yield group
                group = []
    if group:
        yield group
