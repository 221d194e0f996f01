"""Compose a sound of parts of recordings: which part, when, how loud; what is heard in it is then known.

Nothing is decoded to plan a composition: `SoundShape`, the levels of a recording every 25 ms, says where in
it something sounds, for how long without a pause, and how loud. Levels are weighted by frequency as loudness
meters do it (K-weighting, ITU-R BS.1770-4), so that a rumble which is strong but hardly heard is not "loud".

    >>> noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    >>> shape = SoundShape.from_json(describe_sound(noise))
    >>> part = Part(source="rain", label="rain", start=0.0, seconds=1.0, onset=0.5, gain_db=-6.0)
    >>> render(Composition(parts=(part,), seconds=2.0), lambda source: noise).shape
    (32000,)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

SAMPLE_RATE = 16_000
"""Hz."""
FRAME_SECONDS = 0.025
FRAME = round(FRAME_SECONDS * SAMPLE_RATE)
FADE_SECONDS = 0.01
REFERENCE_DB = -25.0
"""Level over the loudest 50 ms, dB of full scale, that `audio_common.scenes` and we call 0 dB."""
HEARD_DB, STEADY_DB = 25.0, 20.0
"""So far below a recording's loudest 50 ms is still its sound, and is no pause in it."""
FLOOR_DB = -90.0
NUM_BANDS = 24

# Coefficients of ITU-R BS.1770-4, tables 1 and 2, at 48 kHz: a high shelf (the head) and a high-pass.
_SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a recording within a composition; times in seconds."""

    source: str
    """Which recording."""
    label: str
    """What it is."""
    start: float
    """Where in the recording it begins."""
    seconds: float
    onset: float
    """Where in the composition it begins."""
    gain_db: float
    """Amplification of the recording's samples."""

    @property
    def end(self) -> float:
        """Return where in the composition it ends."""
        return self.onset + self.seconds


@dataclass(frozen=True, kw_only=True)
class Composition:
    """Parts over a faint noise, so that no place is digital silence."""

    parts: tuple[Part, ...]
    seconds: float
    noise_db: float = -65.0
    """RMS of the noise, dB of full scale."""
    seed: int = 0
    """Of the noise."""


@dataclass(frozen=True)
class Window:
    """A part of a recording, in frames of 25 ms."""

    start: int
    length: int

    @property
    def seconds(self) -> float:
        """Return its length."""
        return self.length * FRAME_SECONDS


@dataclass(frozen=True)
class SoundShape:
    """Where and how loud a recording sounds."""

    levels: np.ndarray
    """`(frames,)`: K-weighted level of each 25 ms, dB of full scale."""
    bands: np.ndarray
    """`(24,)`: mean level of its spectrum in bands of like width in octaves, dB below the loudest band."""

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> SoundShape:
        """Return the shape that `describe_sound` wrote down."""
        return cls(np.array(description["levels"], float), np.array(description["bands"], float))

    def between(self, start: float, end: float) -> SoundShape:
        """Return the shape of the part between two times, seconds; it is silent elsewhere."""
        levels = np.full_like(self.levels, FLOOR_DB)
        first, last = round(start / FRAME_SECONDS), round(end / FRAME_SECONDS)
        levels[first:last] = self.levels[first:last]
        return SoundShape(levels, self.bands)

    @property
    def is_silent(self) -> bool:
        """Return whether nothing is heard."""
        return len(self.levels) < 2 or float(self.levels.max()) < -75.0

    def loudest(self, window: Window) -> float:
        """Return the level of the loudest 50 ms of a window, dB of full scale."""
        power = 10 ** (self.levels[window.start : window.start + window.length] / 10)
        pairs = (power[1:] + power[:-1]) / 2 if len(power) > 1 else power
        return 10 * float(np.log10(pairs.max()))

    def mean(self, window: Window) -> float:
        """Return the level of what is heard of a window, pauses left out, dB of full scale."""
        levels = self.levels[window.start : window.start + window.length]
        heard = levels[levels >= levels.max() - HEARD_DB]
        return 10 * float(np.log10((10 ** (heard / 10)).mean()))

    def runs(self, below_db: float, longest_pause: float) -> list[Window]:
        """Return the stretches that sound, without a longer pause than this (seconds).

        Args:
            below_db: what is so far below the loudest frame is a pause.
            longest_pause: a longer one ends a stretch.
        """
        heard = np.flatnonzero(self.levels >= self.levels.max() - below_db)
        cuts = np.flatnonzero(np.diff(heard) > round(longest_pause / FRAME_SECONDS) + 1)
        firsts = heard[np.concatenate([[0], cuts + 1])]
        lasts = heard[np.concatenate([cuts, [len(heard) - 1]])]
        return [Window(int(first), int(last - first) + 1) for first, last in zip(firsts, lasts, strict=True)]

    @cached_property
    def steady(self) -> list[Window]:
        """Return the stretches without a pause that one hears (0.2 s), of its full loudness somewhere."""
        return [run for run in self.runs(STEADY_DB, 0.2) if self._is_loud(run)]

    @cached_property
    def bursts(self) -> list[Window]:
        """Return single sounds that can be counted: a pause of 0.1 s on both sides, at least 0.25 s long."""
        least = round(0.25 / FRAME_SECONDS)
        return [run for run in self._sounding if run.length >= least and self._is_loud(run)]

    @cached_property
    def _sounding(self) -> list[Window]:
        return self.runs(HEARD_DB, 0.1)

    def heard_windows(self, seconds: float) -> list[Window]:
        """Return windows of at most so many seconds that begin and end with sound, one for each beginning."""
        heard = self.levels >= self.levels.max() - HEARD_DB
        longest = max(1, int(seconds / FRAME_SECONDS + 1e-6))
        found = []
        for run in self._sounding:
            # A long stretch may be entered anywhere; of a short one the beginning belongs to it.
            last = max(run.start, run.start + run.length - longest)
            for start in sorted({*range(run.start, last + 1, 4), last}):
                length = int(heard[start : start + longest].nonzero()[0][-1:].sum()) + 1
                window = Window(start, length)
                if heard[start] and self._is_loud(window):
                    found.append(window)
        peak = int(self.levels.argmax())
        return found or [Window(peak, int(np.flatnonzero(heard[peak : peak + longest])[-1]) + 1)]

    def span(self, seconds: float) -> float:
        """Return the longest of `heard_windows`, in seconds."""
        return max((window.seconds for window in self.heard_windows(seconds)), default=0.0)

    def _is_loud(self, window: Window) -> bool:
        return float(self.levels[window.start : window.start + window.length].max()) >= (
            float(self.levels.max()) - 6.0
        )


def describe_sound(samples: np.ndarray) -> dict[str, list[float]]:
    """Return the shape of samples `(samples,)` at 16 kHz as JSON keeps it.

    A last frame that is not whole is left out, but of less than a frame.
    """
    padded = np.pad(np.asarray(samples, np.float32), (0, max(0, FRAME - len(samples))))
    spectrum = np.fft.rfft(padded)
    frequencies = np.fft.rfftfreq(len(padded), 1 / SAMPLE_RATE)
    weighted = np.fft.irfft(spectrum * k_weighting(frequencies), len(padded))
    frames = weighted[: len(weighted) // FRAME * FRAME].reshape(-1, FRAME)
    levels = _decibels((frames**2).mean(1))
    edges = np.geomspace(60, SAMPLE_RATE / 2, NUM_BANDS + 1)
    places = np.searchsorted(frequencies, edges)
    power = np.add.reduceat(np.abs(spectrum) ** 2, np.minimum(places[:-1], len(spectrum) - 1))
    bands = _decibels(power / max(float(power.max()), 1e-30))
    return {"levels": [round(float(x), 1) for x in levels], "bands": [round(float(x), 1) for x in bands]}


def k_weighting(frequencies: np.ndarray) -> np.ndarray:
    """Return the amplification of BS.1770's two filters at frequencies in Hz, without their phase."""
    turn = np.exp(-2j * np.pi * np.asarray(frequencies) / 48_000)
    gain = np.ones(len(turn))
    for above, below in (_SHELF, _HIGH_PASS):
        parts = (sum(c * turn**power for power, c in enumerate(side)) for side in (above, below))
        numerator, denominator = parts
        gain = gain * np.abs(numerator / denominator)
    return gain


def steady_window(shape: SoundShape, seconds: float, rng: random.Random) -> Window:
    """Return a window of exactly so many seconds without a pause.

    Raises:
        ValueError: no stretch of the recording is that long.
    """
    length = int(seconds / FRAME_SECONDS + 1e-6)
    fitting = [run for run in shape.steady if run.length >= length]
    if not fitting:
        raise ValueError(f"the recording does not sound for {seconds:g} s without a pause")
    run = rng.choice(fitting)
    return Window(run.start + rng.randrange(run.length - length + 1), length)


def render(composition: Composition, load: Callable[[str], np.ndarray]) -> np.ndarray:
    """Return the samples of a composition, `(samples,)` float32 at 16 kHz within [-1, 1].

    Args:
        composition: what sounds when.
        load: gives the samples of a source, `(samples,)` at 16 kHz.
    """
    length = round(composition.seconds * SAMPLE_RATE)
    noise = np.random.Generator(np.random.PCG64(composition.seed)).standard_normal(length, np.float32)
    mix = noise * np.float32(10 ** (composition.noise_db / 20))
    for part in composition.parts:
        first = round(part.start * SAMPLE_RATE)
        sound = load(part.source)[first : first + round(part.seconds * SAMPLE_RATE)]
        start = round(part.onset * SAMPLE_RATE)
        sound = _faded(sound[: length - start]) * np.float32(10 ** (part.gain_db / 20))
        mix[start : start + len(sound)] += sound
    return mix / np.float32(max(1.0, float(np.abs(mix).max()) / 0.99))


def nearest_labels(bands: Mapping[str, Sequence[np.ndarray]], count: int = 64) -> dict[str, list[str]]:
    """Return for each label the others whose recordings' mean spectrum is most like its own, nearest first.

    Args:
        bands: label -> `SoundShape.bands` of its recordings.
        count: of others, at most.
    """
    labels = sorted(bands)
    means = np.stack([np.mean(np.stack(list(bands[label])), 0) for label in labels])
    found = {}
    for number, label in enumerate(labels):
        distances = np.abs(means - means[number]).mean(1)
        order = np.argsort(distances, kind="stable")
        found[label] = [labels[other] for other in order if other != number][:count]
    return found


def _faded(sound: np.ndarray) -> np.ndarray:
    count = min(round(FADE_SECONDS * SAMPLE_RATE), len(sound) // 2)
    if not count:
        return sound
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
    faded = np.array(sound, np.float32)
    faded[:count] *= ramp
    faded[-count:] *= ramp[::-1]
    return faded


def _decibels(power: np.ndarray) -> np.ndarray:
    return np.maximum(10 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)
