"""Place sounds in a composition: each gets its room, a window of its recording, an onset and a level."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from r1_aqa.data.composition import FRAME_SECONDS, REFERENCE_DB, Part, SoundShape, Window, steady_window

Extreme = Literal["loudest", "quietest"]
GAP = 0.4
"""Seconds between two sounds, and at both ends."""
LEAST_ROOM = 0.7
"""Seconds that each sound gets at least."""
LOUDER_DB = 6.0
"""By so much the loudest sound is above all others."""
LONGEST_SECONDS = 4.0
"""The most of a recording that is heard at once, where its length is not asked for."""


@dataclass(frozen=True, kw_only=True)
class ShapedClip:
    """A labelled clip as planning needs it."""

    name: str
    label: str
    shape: SoundShape


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound to be placed; several with the same `slot` sound at once."""

    label: str
    slot: int
    seconds: float | None = None
    """Its length; None: what the recording and the room give."""
    steady: bool = False
    """Whether it must sound without a pause for `seconds`."""
    clip: ShapedClip | None = None
    window: Window | None = None
    gain_db: float = 0.0
    """Against `REFERENCE_DB`."""


def place(
    sounds: Sequence[Sound], seconds: float, rng: random.Random, answer_is: Extreme | None = None
) -> list[Part]:
    """Return the parts of a composition: each slot gets its room, each sound a window and an onset there.

    Args:
        sounds: with their clips.
        seconds: length of the composition.
        rng: draws what is left open.
        answer_is: whether one is to be `LOUDER_DB` above or below all others also on average, not only at
            its loudest.
    """
    slots = sorted({sound.slot for sound in sounds})
    rooms = _rooms([[sound for sound in sounds if sound.slot == slot] for slot in slots], seconds, rng)
    placed: list[tuple[Sound, Window, float]] = []
    for slot, (start, room) in zip(slots, rooms, strict=True):
        for sound in (sound for sound in sounds if sound.slot == slot):
            window = _window(sound, room, rng)
            slack = max(0.0, room - window.seconds)
            if sound.seconds is not None and not sound.steady:
                slack = min(slack, 0.2 * sound.seconds)
            placed.append((sound, window, start + rng.uniform(0.0, slack)))
    gains = _gains([(sound, window) for sound, window, _ in placed], answer_is)
    return [
        Part(
            source=_clip_of(sound).name,
            label=sound.label,
            start=round(window.start * FRAME_SECONDS, 3),
            seconds=round(window.seconds, 3),
            onset=round(onset, 3),
            gain_db=round(gain, 1),
        )
        for (sound, window, onset), gain in zip(placed, gains, strict=True)
    ]


def _rooms(slots: Sequence[Sequence[Sound]], seconds: float, rng: random.Random) -> list[tuple[float, float]]:
    """Return start and length of the room that each slot has, with gaps between."""
    fixed = [max(_length(sound) for sound in sounds) for sounds in slots]
    free = seconds - GAP * (len(slots) + 1) - sum(fixed)
    # Where lengths are given the rest is left silent at random places; else it is shared out.
    weights = [rng.uniform(0.7, 1.3) for _ in slots]
    extra = [free * weight / sum(weights) for weight in weights]
    rooms, start = [], GAP
    for length, more in zip(fixed, extra, strict=True):
        rooms.append((start, length + more))
        start += length + more + GAP
    return rooms


def _length(sound: Sound) -> float:
    if sound.window is not None:
        return sound.window.seconds
    return sound.seconds if sound.seconds is not None else LEAST_ROOM


def _window(sound: Sound, room: float, rng: random.Random) -> Window:
    if sound.window is not None:
        return sound.window
    shape = _clip_of(sound).shape
    if sound.steady:
        assert sound.seconds is not None
        return steady_window(shape, sound.seconds, rng)
    if sound.seconds is not None:
        least = 0.75 * sound.seconds
        found = [window for window in shape.heard_windows(sound.seconds) if window.seconds >= least]
        return rng.choice(found)
    return heard_window(shape, min(room, LONGEST_SECONDS) * rng.uniform(0.8, 1.0), rng)


def heard_window(shape: SoundShape, seconds: float, rng: random.Random) -> Window:
    """Return a window of a recording, rather a longer one than the last crack of a door."""
    found = shape.heard_windows(seconds)
    longest = max(window.seconds for window in found)
    return rng.choice([window for window in found if window.seconds >= 0.6 * longest])


def _gains(placed: Sequence[tuple[Sound, Window]], answer_is: Extreme | None) -> list[float]:
    """Return how much each recording is amplified; for loudness the means are apart, too."""
    loudest = [_clip_of(sound).shape.loudest(window) for sound, window in placed]
    gains = [sound.gain_db + REFERENCE_DB - level for (sound, _), level in zip(placed, loudest, strict=True)]
    if answer_is is None:
        return gains
    means = [
        _clip_of(sound).shape.mean(window) + gain for (sound, window), gain in zip(placed, gains, strict=True)
    ]
    return _means_apart([sound.gain_db for sound, _ in placed], gains, means, answer_is == "loudest")


def _means_apart(
    wanted: Sequence[float], gains: Sequence[float], means: Sequence[float], is_loudest: bool
) -> list[float]:
    """Return the gains, lowered until the mean levels, too, are `LOUDER_DB` apart from the answer's.

    Args:
        wanted: levels against each other; the answer's is the highest, or the lowest.
        gains: which give these levels to the loudest 50 ms.
        means: mean level of each with that gain.
        is_loudest: whether the answer is the loudest, else the quietest.
    """
    if is_loudest:
        right = max(range(len(wanted)), key=wanted.__getitem__)
        lacking = [max(0.0, LOUDER_DB - (means[right] - mean)) for mean in means]
        return [gain - lack * (i != right) for i, (gain, lack) in enumerate(zip(gains, lacking, strict=True))]
    right = min(range(len(wanted)), key=wanted.__getitem__)
    lack = max((LOUDER_DB - (mean - means[right]) for i, mean in enumerate(means) if i != right), default=0.0)
    return [gain - max(0.0, lack) * (i == right) for i, gain in enumerate(gains)]


def _clip_of(sound: Sound) -> ShapedClip:
    assert sound.clip is not None
    return sound.clip
