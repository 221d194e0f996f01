"""Deterministic sound scenes, synthesised: sounds with a structured truth, and nothing to download.

    >>> scene = random_scene(seed=7, num_events=2, seconds=4.0)
    >>> [event.kind for event in scene.events]
    ['whistle', 'knock']
    >>> render(scene).shape
    (64000,)

A `Scene` says which kinds of event sound when, for how long and how loudly; `render` makes the waveform, and
`audio_common.scenes.text` captions in eight languages and questions from the same description. Every event
has its own seed, from which its pitch, tempo and timbre are drawn: a classifier of kinds has to generalise.
The same scene gives the same samples on one installation; between platforms and versions of numpy they may
differ by rounding.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.random import PCG64, Generator

from audio_common.scenes.sounds import SAMPLE_RATE, SYNTHESISERS

KINDS = tuple(SYNTHESISERS)
"""The kinds of event, in alphabetical order."""

Loudness = Literal["loud", "normal", "quiet"]

REFERENCE_LEVEL = 10 ** (-25 / 20)
"""RMS, of full scale 1, of an event of 0 dB over the loudest of its windows of 50 ms."""
_SHORTEST_SOUND = 0.05  # seconds
_WINDOW = round(_SHORTEST_SOUND * SAMPLE_RATE)

_GAINS_DB: dict[Loudness, tuple[float, float]] = {
    "loud": (-2.0, 0.0),
    "normal": (-8.0, -6.0),
    "quiet": (-16.0, -13.0),
}
_LOUD_DB, _QUIET_DB = -4.0, -11.0
_SHORTEST_EVENT = 0.8  # seconds; a bell or a siren is not recognised in less
_LONGEST_EVENT = 3.5
_GAP = 0.15  # seconds between events that follow one another


@dataclass(frozen=True, kw_only=True)
class Event:
    """One sound event: what, when, how loud."""

    kind: str
    """One of `KINDS`."""
    onset: float
    """Seconds from the start of the scene."""
    duration: float
    """Seconds, at least 0.05; the sound has faded out at its end."""
    gain_db: float = -7.0
    """Level against `REFERENCE_LEVEL`: from -4 dB on it counts as loud, up to -11 dB as quiet."""
    seed: int = 0
    """Pitch, tempo and timbre are drawn from it."""

    def __post_init__(self) -> None:
        if self.kind not in SYNTHESISERS:
            raise ValueError(f"unknown kind of event {self.kind!r}; known kinds: {', '.join(KINDS)}")
        if not 0.0 <= self.onset < math.inf:
            raise ValueError(f"onset must be at least 0 seconds, got {self.onset}")
        if not _SHORTEST_SOUND <= self.duration < math.inf:
            raise ValueError(f"duration must be at least {_SHORTEST_SOUND} seconds, got {self.duration}")
        if not -60.0 <= self.gain_db <= 0.0:
            raise ValueError(f"gain_db must be in [-60, 0], got {self.gain_db}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    @property
    def end(self) -> float:
        """Seconds from the start of the scene at which the event is over."""
        return self.onset + self.duration

    @property
    def loudness(self) -> Loudness:
        """What a caption says of the level."""
        if self.gain_db >= _LOUD_DB:
            return "loud"
        return "quiet" if self.gain_db <= _QUIET_DB else "normal"

    def overlap(self, other: Event) -> float:
        """Seconds during which both sound."""
        return max(0.0, min(self.end, other.end) - max(self.onset, other.onset))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Sound events over a faint background noise, in the order of their onsets."""

    events: tuple[Event, ...]
    """At least one event; all end within `seconds`."""
    seconds: float
    """Length of the scene."""
    noise_db: float = -65.0
    """RMS of the background noise in dB of full scale."""
    seed: int = 0
    """The background noise is drawn from it."""

    def __post_init__(self) -> None:
        if not self.events:
            raise ValueError("a scene needs at least one event, got none")
        object.__setattr__(self, "events", tuple(sorted(self.events, key=lambda e: (e.onset, e.kind))))
        last = max(event.end for event in self.events)
        if not last <= self.seconds + 1e-6:
            raise ValueError(f"the events last until {last:.3f} s, but the scene has only {self.seconds} s")
        if not -120.0 <= self.noise_db <= -30.0:
            raise ValueError(f"noise_db must be in [-120, -30], got {self.noise_db}")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The different kinds in the order of their first onset."""
        return tuple(dict.fromkeys(event.kind for event in self.events))

    def groups(self) -> list[tuple[Event, ...]]:
        """Events that overlap go together; the groups follow one another in time."""
        groups: list[list[Event]] = []
        for event in self.events:
            if groups and any(event.overlap(other) > 0 for other in groups[-1]):
                groups[-1].append(event)
            else:
                groups.append([event])
        return [tuple(group) for group in groups]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers: what JSON can hold."""
        plain = asdict(self)
        plain["events"] = list(plain["events"])
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Scene:
        """The scene of which `plain` is `to_dict()`; an unknown or missing key is a TypeError."""
        return cls(**{**plain, "events": tuple(Event(**event) for event in plain["events"])})


# ------------------------------------------------------------------------------------------ drawing a scene


def random_scene(
    seed: int, *, num_events: int | None = None, seconds: float | None = None, kinds: Sequence[str] = KINDS
) -> Scene:
    """Draw a scene of different kinds that follow one another or sound in pairs at the same time.

    Args:
        seed: the same seed and arguments give the same scene.
        num_events: number of events; one to three by default.
        seconds: length of the scene; by default as long as the events drawn need (about 1 to 4 s each).
        kinds: kinds to draw from.

    Raises:
        ValueError: fewer kinds than events, or no room for the events in `seconds`.
    """
    rng = Generator(PCG64(seed))
    count = int(rng.integers(1, 4)) if num_events is None else num_events
    if not 1 <= count <= len(kinds):
        raise ValueError(f"num_events must be between 1 and the number of kinds ({len(kinds)}), got {count}")
    chosen = [kinds[i] for i in rng.choice(len(kinds), count, replace=False)]
    sizes = _group_sizes(rng, count)
    room = _SHORTEST_EVENT + 2 * _GAP
    if seconds is None:
        seconds = round(float(sum(rng.uniform(1.4, _LONGEST_EVENT + 0.5, len(sizes)))), 2)
    if seconds < room * len(sizes):
        raise ValueError(
            f"{count} events in {len(sizes)} successive groups need {room * len(sizes):.2f} seconds, "
            f"got {seconds}; give more seconds or fewer events"
        )
    slots = room + rng.dirichlet(np.full(len(sizes), 8.0)) * (seconds - room * len(sizes))
    starts = np.concatenate([[0.0], np.cumsum(slots)])
    events: list[Event] = []
    for size, start, slot in zip(sizes, starts, slots, strict=False):
        events += _place(rng, chosen[len(events) : len(events) + size], float(start), float(slot))
    return Scene(
        events=tuple(events),
        seconds=float(seconds),
        noise_db=round(float(rng.uniform(-75, -60)), 1),
        seed=int(rng.integers(2**31)),
    )


def _group_sizes(rng: Generator, count: int) -> list[int]:
    """Cut `count` events into successive groups of one, or two at a time."""
    sizes: list[int] = []
    while count:
        sizes.append(2 if count > 1 and rng.random() < 0.5 else 1)
        count -= sizes[-1]
    return sizes


def _place(rng: Generator, kinds: Sequence[str], start: float, slot: float) -> list[Event]:
    """Put one event, or two that overlap for at least half of the shorter, into a slot of the scene."""
    room = slot - 2 * _GAP
    length = min(room, _LONGEST_EVENT) * rng.uniform(0.8, 1.0) if room > _SHORTEST_EVENT / 0.8 else room
    onset = start + _GAP + rng.uniform(0.0, room - length)
    if len(kinds) == 1:
        return [_event(rng, kinds[0], onset, length)]
    first = length * rng.uniform(0.75, 1.0)
    delay = rng.uniform(0.1, 0.3) * length
    return [_event(rng, kinds[0], onset, first), _event(rng, kinds[1], onset + delay, length - delay)]


def _event(rng: Generator, kind: str, onset: float, duration: float) -> Event:
    loudness: Loudness = rng.choice(["loud", "normal", "normal", "quiet"])  # type: ignore[assignment]
    return Event(
        kind=kind,
        onset=round(onset, 3),
        duration=round(duration - 0.001, 3),  # rounding both up must not pass the end of the slot
        gain_db=round(float(rng.uniform(*_GAINS_DB[loudness])), 1),
        seed=int(rng.integers(2**31)),
    )


# ------------------------------------------------------------------------------------------ sound


def render_event(event: Event) -> np.ndarray:
    """The event alone at 16 kHz: (samples,) float64, at its level, faded out at its end."""
    rng = Generator(PCG64([event.seed, zlib.crc32(event.kind.encode())]))
    sound = SYNTHESISERS[event.kind](rng, round(event.duration * SAMPLE_RATE))
    sound[-80:] *= np.linspace(1.0, 0.0, 80)
    return sound * (REFERENCE_LEVEL * 10 ** (event.gain_db / 20) / _level(sound))


def _level(sound: np.ndarray) -> float:
    """RMS of the loudest window of 50 ms: what an ear calls the level of a click as well as of rain."""
    hop = _WINDOW // 2
    power = np.add.reduceat(sound**2, np.arange(0, len(sound), hop))
    return float(np.sqrt(max(a + b for a, b in pairwise(power)) / _WINDOW))


def render(scene: Scene, *, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Synthesise a scene.

    Returns:
        (samples,) float32 in [-1, 1], `round(seconds * sample_rate)` samples long. Sounds are made at 16 kHz;
        another rate is resampled from it (soxr HQ).
    """
    samples = round(scene.seconds * SAMPLE_RATE)
    noise = Generator(PCG64(scene.seed)).standard_normal(samples, dtype=np.float32)
    mix = 10 ** (scene.noise_db / 20) * noise.astype(np.float64)
    for event in scene.events:
        start = round(event.onset * SAMPLE_RATE)
        sound = render_event(event)[: samples - start]
        mix[start : start + len(sound)] += sound
    if sample_rate != SAMPLE_RATE:
        import soxr

        mix = soxr.resample(mix, SAMPLE_RATE, sample_rate, "HQ")
        mix = np.pad(mix, (0, max(0, round(scene.seconds * sample_rate) - len(mix))))
        mix = mix[: round(scene.seconds * sample_rate)]
    return (mix / max(1.0, float(np.abs(mix).max()) / 0.99)).astype(np.float32)
