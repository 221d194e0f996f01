"""Encode the clips that an index lacks, a bounded number of files and windows at a time.

A clip's record (content hash, duration) is written before its vectors. So the windows that a clip lacks
follow from the index alone: those its duration asks for and that are not there. This finds what a killed run
left out, and tries again what could not be read.

A window in which there is no sound, and a clip that is only a fragment, have no vector unless that is asked
for: they would answer queries by chance. Which windows are silent is written down, so that they are decoded
once and not at every run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from audio_common.prefetch import AudioSpan, BadFile, batch_ahead
from audio_common.workers import DecodeLimits, DecodePool

from ml_clap.search.scan import Found, sha256
from ml_clap.search.store import Entry, IndexWriter, sound_path
from ml_clap.search.windows import BLOCK_SECONDS, SILENCE_PEAK, plan_windows, stream_windows

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.models.dual_encoder import DualEncoder

FILES_AT_ONCE = 64
"""Files hashed and measured together, and long files encoded together."""
CLIPS_AT_ONCE = 1024
"""Short clips batched by length together: enough for little padding."""
SAMPLE_RATE = 16_000
"""Hz at which a file is measured; whatever the model's is."""
MIN_SECONDS = 0.1
"""A shorter clip is a fragment: a cut's leftover, or a click, of which a model makes anything."""

Window = tuple[int, float, float]
"""A clip's line number, start and end in seconds."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be indexed, or not all of it: a line of `bad_files.jsonl`."""

    file: str
    """Absolute path."""
    reason: str
    partly: bool = False
    """Whether some of it is in the index."""


def measure(clip: Found, window_seconds: float, pool: DecodePool | None = None) -> Entry | Problem:
    """Hash a file and find its length; a Problem if it cannot be read or holds no sound."""
    from audio_common.audio import AudioError

    try:
        duration, problem = measure_duration(clip.path, window_seconds, pool)
        digest = sha256(clip.path)
    except (AudioError, OSError) as e:
        return Problem(str(clip.path), str(e))
    return Entry(
        id=clip.id,
        file=clip.file,
        size=clip.size,
        mtime_ns=clip.mtime_ns,
        sha256=digest,
        duration=duration,
        captions=clip.captions,
        label=clip.label,
        licence=clip.licence,
        metadata=clip.metadata,
        problem=problem,
    )


def measure_duration(
    path: Path, window_seconds: float, pool: DecodePool | None = None
) -> tuple[float, str | None]:
    """Return the seconds of audio of a file, and why there is not more.

    By its header where that is exact; else, or if it promises an end that is not there (a file cut off, a
    header that lies), by decoding all of it, as its windows will be.

    Args:
        path: the file.
        window_seconds: of a shorter file the end is not looked at: it is encoded whole.
        pool: processes that decode; None: in this one.

    Raises:
        AudioError: nothing of it can be decoded.
    """
    from audio_common import audio

    info = (pool or audio).audio_info(path)
    # Without a number of frames the length is an estimate, which promises nothing.
    told = info.duration if info.num_frames is not None else None
    if info.is_exact and told is not None:
        has_sound, complaint = (True, None) if told <= window_seconds else _read_end(path, told, pool)
        if has_sound:
            return told, complaint
    samples = 0
    try:
        for block in (pool or audio).stream_audio(
            path, sample_rate=SAMPLE_RATE, block_seconds=BLOCK_SECONDS, channel="first"
        ):
            samples += len(block)
    except audio.AudioError as e:
        if not samples:
            raise
        return samples / SAMPLE_RATE, str(e)
    seconds = samples / SAMPLE_RATE
    if told is None or seconds >= told * 0.99 - 0.05:
        return seconds, None
    return seconds, f"{path} ends after {seconds:.1f} s of {told:.1f} s"


def _read_end(path: Path, seconds: float, pool: DecodePool | None) -> tuple[bool, str | None]:
    """Return whether a file has sound where its header says that it ends, and what its decoder says there."""
    from audio_common import audio

    complaints: list[str] = []
    try:
        (pool or audio).load_audio(
            path, offset=max(0.0, seconds - 0.1), channel="first", complaints=complaints
        )
    except audio.AudioError:
        return False, None
    return True, f"{path}, {complaints[-1]}" if complaints else None


class IndexFiller:
    """Encodes what an index lacks.

    Attributes:
        num_windows: windows encoded so far.
        audio_seconds: sound encoded so far.
        complaints: what is odd about sounds that were encoded nevertheless.
    """

    def __init__(
        self,
        model: DualEncoder,
        writer: IndexWriter,
        seconds_per_batch: float = 160.0,
        num_workers: int = 1,
        decode_limits: DecodeLimits | DecodePool | None = None,
        index_silence: bool = False,
    ) -> None:
        self.model = model
        self.writer = writer
        self.index_silence = index_silence
        self.seconds_per_batch = seconds_per_batch
        self.num_workers = num_workers
        self.decode_limits = decode_limits
        self.num_windows = 0
        self.audio_seconds = 0.0
        self.complaints: list[BadFile] = []
        self._pool: DecodePool | None = None
        self._done = 0.0
        self._problems: dict[str, Problem] = {}

    def run(self, new: Sequence[Found], on_progress: Callable[[float, int], None]) -> list[Problem]:
        """Encode the windows that the index's clips lack, then the new clips.

        Args:
            new: clips that the index does not have.
            on_progress: called after each batch with the number of clips done and of clips to do.

        Returns:
            What could not be read, now or in earlier runs.
        """
        # What an earlier run could not read is still not there: it belongs in every report.
        for number, entry in enumerate(self.writer.entries):
            if entry.problem:
                self._note(number, entry.problem, partly=True)
        if self.index_silence:
            self.writer.forget_silent()
        lacking = self.list_lacking()
        total = len(lacking) + len(new)
        with ExitStack() as stack:
            if isinstance(self.decode_limits, DecodePool):
                self._pool = self.decode_limits
            elif self.decode_limits is not None:
                self._pool = stack.enter_context(DecodePool(self.decode_limits, self.num_workers + 1))
            for _ in self._encode(chain(lacking, self._add(new))):
                on_progress(self._done, total)
        on_progress(total, total)
        return list(self._problems.values())

    def list_left_out(self) -> list[Problem]:
        """Return what has no vector because there is no sound in it, or too little, in any run."""
        if self.index_silence:
            return []
        starts = defaultdict(list)
        for number, start, _ in self.writer.silent_windows().tolist():
            starts[number].append(start)
        left_out = []
        for number, entry in enumerate(self.writer.entries):
            windows, silent = self._plan(number), sorted(starts[number])
            path = str(self._path(number))
            if not windows:
                reason = f"lasts {entry.duration:.3f} s: a fragment under {MIN_SECONDS:g} s is not indexed"
                left_out.append(Problem(path, reason))
            elif len(silent) == len(windows):
                left_out.append(Problem(path, f"holds no sound (no sample above {_decibels()} dB)"))
            elif silent:
                many = f"{len(silent):,} of {len(windows):,} windows hold no sound, the first at"
                left_out.append(Problem(path, f"{many} {silent[0]:.1f} s", partly=True))
        return left_out

    def list_lacking(self) -> list[list[Window]]:
        """Return for each clip of the index that lacks any the windows it lacks."""
        present = np.concatenate([self.writer.windows(), self.writer.silent_windows()])
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
        if duration < MIN_SECONDS and not self.index_silence:
            return []
        windows = plan_windows(duration, settings.window_seconds, settings.hop_seconds)
        return [(number, start, end) for start, end in windows]

    def _add(self, new: Sequence[Found]) -> Iterator[list[Window]]:
        """Write the records of new clips, some at a time, and give each one's windows."""
        window_seconds = self.writer.settings.window_seconds
        with ThreadPoolExecutor(self.num_workers) as threads:
            for first in range(0, len(new), FILES_AT_ONCE):
                clips = new[first : first + FILES_AT_ONCE]
                measured = list(threads.map(lambda clip: measure(clip, window_seconds, self._pool), clips))
                for bad in measured:
                    if isinstance(bad, Problem):
                        self._problems[bad.file] = bad
                        self._done += 1
                for number in self.writer.add_entries(clip for clip in measured if isinstance(clip, Entry)):
                    if problem := self.writer.entries[number].problem:
                        self._note(number, problem, partly=True)
                    yield self._plan(number)

    def _encode(self, clips: Iterable[list[Window]]) -> Iterator[None]:
        """Encode clips, some at a time: those of one window by length, longer ones window by window."""
        whole: list[list[Window]] = []
        long: list[list[Window]] = []
        for windows in clips:
            if not windows:  # a fragment
                self._done += 1
                continue
            (whole if self._is_whole(windows[0]) else long).append(windows)
            if len(whole) == CLIPS_AT_ONCE:
                yield from self._encode_whole(whole)
                whole = []
            if len(long) == FILES_AT_ONCE:
                yield from self._encode_long(long)
                long = []
        yield from self._encode_whole(whole)
        yield from self._encode_long(long)

    def _encode_whole(self, clips: Sequence[list[Window]]) -> Iterator[None]:
        """Encode clips of one window each."""
        from ml_clap.models.encoding import encode_spans

        bad: list[BadFile] = []
        silent: list[int] = []
        windows = [window for (window,) in clips]

        def skip(index: int, waveform: Tensor) -> bool:
            is_skipped = self._is_silent(waveform)
            if is_skipped:
                silent.append(index)
            return is_skipped

        batches = encode_spans(
            self.model,
            [AudioSpan(self._path(number)) for number, _, _ in windows],
            channel=self.writer.settings.channel,
            seconds_per_batch=self.seconds_per_batch,
            num_workers=self.num_workers,
            bad_files=bad,
            decode_limits=self._pool,
            complaints=self.complaints,
            skip=skip,
        )
        for indices, embeddings in batches:
            self._write([(windows[index], 1.0) for index in indices], embeddings)
            yield
        self._write_silent([(windows[index], 1.0) for index in silent])
        for file in bad:
            self._note(windows[file.index][0], file.reason)
        self._done += len(bad)

    def _encode_long(self, clips: Sequence[list[Window]]) -> Iterator[None]:
        """Encode windows of long files, decoding the next batch meanwhile."""
        from ml_clap.models.encoding import encode_waveforms

        shares = {windows[0][0]: 1 / len(windows) for windows in clips}
        sounds = (sound for windows in clips for sound in self._stream(windows))
        size = max(1, int(self.seconds_per_batch / self.writer.settings.window_seconds))
        for batch in batch_ahead(sounds, size):
            silent = [window for window, waveform in batch if self._is_silent(waveform)]
            self._write_silent([(window, shares[window[0]]) for window in silent])
            heard = [(window, waveform) for window, waveform in batch if window not in silent]
            if heard:
                waveforms = [waveform for _, waveform in heard]
                embeddings = encode_waveforms(self.model, waveforms, seconds_per_batch=self.seconds_per_batch)
                self._write([(window, shares[window[0]]) for window, _ in heard], embeddings)
            yield

    def _stream(self, windows: Sequence[Window]) -> Iterator[tuple[Window, Tensor]]:
        """Give windows of one file with their audio, as far as it can be read."""
        from audio_common.audio import AudioError

        number = windows[0][0]
        path = self._path(number)
        left = len(windows)
        reason = f"{path} ends earlier than when it was measured"
        try:
            spans = [(start, end) for _, start, end in windows]
            sounds = stream_windows(
                path,
                spans,
                self.model.sample_rate,
                channel=self.writer.settings.channel,
                pool=self._pool,
            )
            for window, waveform in zip(windows, sounds, strict=False):
                yield window, waveform
                left -= 1
        except (AudioError, OSError) as e:
            reason = str(e)
        if left:
            self._note(number, reason, partly=left < len(self._plan(number)))
            self._done += left / len(windows)

    def _write(self, windows: Sequence[tuple[Window, float]], embeddings: Tensor) -> None:
        """Append windows, given with their shares of their clips' work."""
        vectors = embeddings.numpy()
        finite = np.isfinite(vectors).all(axis=1)
        good = [window for (window, _), is_good in zip(windows, finite, strict=True) if is_good]
        self.writer.add_windows(good, vectors[finite])
        for ((number, start, _), share), is_good in zip(windows, finite, strict=True):
            self._done += share
            if not is_good:
                reason = f"the embedding of the window at {start:.1f} s is not finite"
                self._note(number, reason, partly=share < 1)
        self.num_windows += len(good)
        self.audio_seconds += sum(end - start for _, start, end in good)

    def _write_silent(self, windows: Sequence[tuple[Window, float]]) -> None:
        """Write down windows without sound, given with their shares of their clips' work."""
        if windows:
            self.writer.add_silent([window for window, _ in windows])
        self._done += sum(share for _, share in windows)

    def _is_silent(self, waveform: Tensor) -> bool:
        return not self.index_silence and float(waveform.abs().max()) <= SILENCE_PEAK

    def _note(self, number: int, reason: str, partly: bool = False) -> None:
        path = str(self._path(number))
        self._problems[path] = Problem(path, reason, partly)

    def _is_whole(self, window: Window) -> bool:
        number, start, end = window
        return start == 0.0 and end == self.writer.entries[number].duration

    def _path(self, number: int) -> Path:
        return sound_path(self.writer.settings.root, self.writer.entries[number].file)


def _decibels() -> int:
    return round(20 * math.log10(SILENCE_PEAK))
