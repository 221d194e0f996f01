"""Is a recording of one set in another? Fingerprints that survive formats, loudness and cutting.

MMAU and MMAR take sounds from the same places as training sets (AudioSet, VGGSound), under other file names.
A fingerprint is a set of landmarks: pairs of peaks of the spectrogram, each hashed from its two frequencies
and the time between them (Wang, ISMIR 2003). Two recordings are the same when many landmarks agree on one
shift in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE = 8_000
WINDOW, HOP = 512, 128
PEAKS_A_SECOND = 20
NEIGHBOURS = 6
"""Later peaks that a peak is paired with."""
LONGEST_PAIR = 48
"""In frames of 16 ms."""
LEAST_AGREEING = 12
LEAST_SHARE = 0.04
"""Of the landmarks of the recording with fewer of them."""


@dataclass(frozen=True)
class Fingerprint:
    """Landmarks of a recording: `hashes (n,)` and the frame of each, `frames (n,)`, both int32."""

    hashes: np.ndarray
    frames: np.ndarray


def fingerprint(samples: np.ndarray) -> Fingerprint:
    """Of mono samples at 8 kHz; silence has no landmarks."""
    frames, bins = find_peaks(spectrogram(samples))
    order = np.argsort(frames, kind="stable")
    frames, bins = frames[order], bins[order]
    hashes, starts = [], []
    for ahead in range(1, NEIGHBOURS + 1):
        gap = frames[ahead:] - frames[: len(frames) - ahead]
        near = (gap > 0) & (gap < LONGEST_PAIR)
        first, second = bins[: len(bins) - ahead][near], bins[ahead:][near]
        hashes.append((first * 256 + second) * 64 + gap[near])
        starts.append(frames[: len(frames) - ahead][near])
    if not hashes:
        return Fingerprint(np.zeros(0, np.int32), np.zeros(0, np.int32))
    return Fingerprint(np.concatenate(hashes).astype(np.int32), np.concatenate(starts).astype(np.int32))


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Log magnitudes, `(frames, 256)`, free of loudness."""
    if len(samples) < WINDOW:
        return np.zeros((0, WINDOW // 2))
    count = 1 + (len(samples) - WINDOW) // HOP
    places = np.arange(WINDOW)[None] + HOP * np.arange(count)[:, None]
    spectrum = np.fft.rfft(samples[places] * np.hanning(WINDOW), axis=1)[:, : WINDOW // 2]
    peak = np.abs(samples).max()
    return np.log(np.abs(spectrum) / (peak if peak > 0 else 1.0) + 1e-6)


def find_peaks(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and bins of local maxima, the strongest of each second."""
    if not len(levels) or np.ptp(levels) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    around = np.full_like(levels, -np.inf)
    padded = np.pad(levels, ((5, 5), (8, 8)), constant_values=-np.inf)
    rows = np.lib.stride_tricks.sliding_window_view(padded, 11, axis=0).max(-1)
    around = np.lib.stride_tricks.sliding_window_view(rows, 17, axis=1).max(-1)
    frames, bins = np.nonzero((levels == around) & (levels > np.median(levels)))
    strength, second = levels[frames, bins], frames * HOP // RATE
    order = np.lexsort((-strength, second))
    place = np.zeros(len(order), int)
    starts = np.r_[0, np.nonzero(np.diff(second[order]))[0] + 1]
    place[:] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    kept = order[place < PEAKS_A_SECOND]
    return frames[kept], bins[kept]


class FingerprintIndex:
    """Recordings to look others up in."""

    def __init__(self, names: Sequence[str], prints: Sequence[Fingerprint]) -> None:
        self.names, self.sizes = list(names), [len(each.hashes) for each in prints]
        owners = np.repeat(np.arange(len(prints)), self.sizes)
        hashes = np.concatenate([each.hashes for each in prints]) if prints else np.zeros(0, np.int32)
        frames = np.concatenate([each.frames for each in prints]) if prints else np.zeros(0, np.int32)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners, self._frames = hashes[order], owners[order], frames[order]

    def find(self, query: Fingerprint) -> str | None:
        """The recording that the query is, or is a part of, or holds."""
        low = np.searchsorted(self._hashes, query.hashes, "left")
        high = np.searchsorted(self._hashes, query.hashes, "right")
        votes: Counter[tuple[int, int]] = Counter()
        for start, stop, frame in zip(low, high, query.frames, strict=True):
            shifts = self._frames[start:stop] - frame
            # Peaks move by a frame where cutting moves the frames: neighbours vote together.
            votes.update(zip(self._owners[start:stop].tolist(), (shifts // 2).tolist(), strict=True))
        best = [(votes[owner, shift] + votes.get((owner, shift + 1), 0), owner) for owner, shift in votes]
        if not best:
            return None
        count, owner = max(best)
        needed = max(LEAST_AGREEING, LEAST_SHARE * min(len(query.hashes), self.sizes[owner]))
        return self.names[owner] if count >= needed else None


def fingerprint_file(path: Path) -> Fingerprint:
    """Of the first minute of a file.

    Raises:
        AudioError: it cannot be read.
    """
    from audio_common import load_audio

    return fingerprint(np.asarray(load_audio(path, sample_rate=RATE, duration=60.0)))
