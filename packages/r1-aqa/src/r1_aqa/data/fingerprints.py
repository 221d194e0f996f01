"""Find recordings of one data set in another, by fingerprints that survive formats, loudness and cutting.

MMAU and MMAR take sounds from the same places as training sets (AudioSet, VGGSound), under other file names.
A fingerprint is a set of landmarks: pairs of peaks of the spectrogram, each hashed from its two frequencies
and the time between them (Wang, ISMIR 2003). Two recordings are the same when many landmarks agree on one
shift in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATE = 8_000
"""Hz."""
WINDOW, HOP = 512, 128
"""Samples of a frame, and between the beginnings of two."""
PEAKS_A_SECOND = 20
NEIGHBORS = 6
"""Later peaks that a peak is paired with."""
LONGEST_PAIR = 48
"""Most frames of 16 ms between two peaks of a pair."""
LEAST_AGREEING = 12
"""Landmarks of two recordings that must agree on a shift."""
LEAST_SHARE = 0.04
"""Share that must agree, of the landmarks of the recording with fewer of them."""


@dataclass(frozen=True)
class Fingerprint:
    """The landmarks of a recording: `hashes (n,)` and the frame of each, `frames (n,)`, both int32."""

    hashes: np.ndarray
    frames: np.ndarray


def fingerprint(samples: np.ndarray) -> Fingerprint:
    """Return the landmarks of mono samples `(samples,)` at 8 kHz; silence has none."""
    frames, bins = find_peaks(spectrogram(samples))
    order = np.argsort(frames, kind="stable")
    frames, bins = frames[order], bins[order]
    # Pair each peak with its next ones at once: the peaks `ahead` places later.
    hashes, starts = [], []
    for ahead in range(1, min(NEIGHBORS, len(frames) - 1) + 1):  # a few milliseconds have fewer peaks
        gap = frames[ahead:] - frames[: len(frames) - ahead]
        near = (gap > 0) & (gap < LONGEST_PAIR)
        first, second = bins[: len(bins) - ahead][near], bins[ahead:][near]
        # 8 bits for each frequency, 6 for the time between.
        hashes.append((first * 256 + second) * 64 + gap[near])
        starts.append(frames[: len(frames) - ahead][near])
    if not hashes:
        return Fingerprint(np.zeros(0, np.int32), np.zeros(0, np.int32))
    return Fingerprint(np.concatenate(hashes).astype(np.int32), np.concatenate(starts).astype(np.int32))


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Return log magnitudes, `(frames, 256)`, relative to the peak so that loudness does not count."""
    if len(samples) < WINDOW:
        return np.zeros((0, WINDOW // 2))
    count = 1 + (len(samples) - WINDOW) // HOP
    places = np.arange(WINDOW)[None] + HOP * np.arange(count)[:, None]
    spectrum = np.fft.rfft(samples[places] * np.hanning(WINDOW), axis=1)[:, : WINDOW // 2]
    peak = np.abs(samples).max()
    # 1e-6: far below any peak, and the logarithm of digital silence is finite.
    return np.log(np.abs(spectrum) / (peak if peak > 0 else 1.0) + 1e-6)


def find_peaks(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and bins of the strongest local maxima of each second."""
    if not len(levels) or np.ptp(levels) == 0:
        return np.zeros(0, int), np.zeros(0, int)
    # A local maximum is the largest of 11 frames by 17 bins around it.
    padded = np.pad(levels, ((5, 5), (8, 8)), constant_values=-np.inf)
    rows = np.lib.stride_tricks.sliding_window_view(padded, 11, axis=0).max(-1)
    around = np.lib.stride_tricks.sliding_window_view(rows, 17, axis=1).max(-1)
    frames, bins = np.nonzero((levels == around) & (levels > np.median(levels)))
    # Rank the maxima within their second and keep the first ones: a loud second must not take them all.
    strength, second = levels[frames, bins], frames * HOP // RATE
    order = np.lexsort((-strength, second))
    starts = np.r_[0, np.nonzero(np.diff(second[order]))[0] + 1]
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    kept = order[place < PEAKS_A_SECOND]
    return frames[kept], bins[kept]


class FingerprintIndex:
    """An index of recordings in which others are looked up."""

    def __init__(self, names: Sequence[str], prints: Sequence[Fingerprint]) -> None:
        self.names, self.sizes = list(names), [len(mark.hashes) for mark in prints]
        owners = np.repeat(np.arange(len(prints)), self.sizes)
        hashes = np.concatenate([mark.hashes for mark in prints]) if prints else np.zeros(0, np.int32)
        frames = np.concatenate([mark.frames for mark in prints]) if prints else np.zeros(0, np.int32)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners, self._frames = hashes[order], owners[order], frames[order]

    def find(self, query: Fingerprint) -> str | None:
        """Return the recording that the query is, or is a part of, or contains; None if there is none."""
        low = np.searchsorted(self._hashes, query.hashes, "left")
        high = np.searchsorted(self._hashes, query.hashes, "right")
        votes: Counter[tuple[int, int]] = Counter()
        for start, stop, frame in zip(low, high, query.frames, strict=True):
            shifts = self._frames[start:stop] - frame
            # Peaks move by a frame where cutting moves the frames: neighbors vote together.
            votes.update(zip(self._owners[start:stop].tolist(), (shifts // 2).tolist(), strict=True))
        best = [(votes[owner, shift] + votes.get((owner, shift + 1), 0), owner) for owner, shift in votes]
        if not best:
            return None
        count, owner = max(best)
        # A share of the smaller one: a few seconds out of a minute have few of its landmarks.
        needed = max(LEAST_AGREEING, LEAST_SHARE * min(len(query.hashes), self.sizes[owner]))
        return self.names[owner] if count >= needed else None
