"""Where and how loud recordings sound, and sounds composed of them."""

import math
import random

import numpy as np
import pytest
from r1_aqa.data.composition import (
    Composition,
    Part,
    SoundShape,
    describe_sound,
    k_weighting,
    nearest_labels,
    render,
    steady_window,
)

RATE = 16_000


def tone(seconds: float, hz: float = 1000.0, level_db: float = -20.0) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (10 ** (level_db / 20) * math.sqrt(2) * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def shape_of(*sounds: np.ndarray) -> SoundShape:
    return SoundShape.from_json(describe_sound(np.concatenate(sounds)))


def test_k_weighting_is_that_of_the_standard() -> None:
    # BS.1770-4: +0.69 dB at 997 Hz is what its offset of -0.691 takes back; about +4 dB from 4 kHz on.
    gains = 20 * np.log10(k_weighting(np.array([20.0, 997.0, 6000.0])))
    assert gains[0] < -10
    assert gains[1:] == pytest.approx([0.69, 4.0], abs=0.05)


def test_levels_are_those_of_the_sound() -> None:
    shape = shape_of(tone(1.0, 997.0, -20.0), tone(1.0, 997.0, -32.0))
    assert shape.levels[4:36] == pytest.approx(-20.0 + 0.69, abs=0.1)
    assert shape.levels[44:76] == pytest.approx(-32.0 + 0.69, abs=0.1)
    assert shape_of(silence(1.0)).is_silent
    assert shape_of(np.ones(3, np.float32)).is_silent  # less than a frame


def test_a_rumble_is_not_loud() -> None:
    assert shape_of(tone(1.0, 30.0)).levels.max() < shape_of(tone(1.0, 1000.0)).levels.max() - 7


def test_pauses_end_a_stretch_when_they_are_heard() -> None:
    shape = shape_of(silence(0.5), tone(0.4), silence(0.15), tone(0.4), silence(0.6), tone(1.5), silence(0.2))
    steady = [(run.start * 0.025, run.seconds) for run in shape.steady]
    assert steady == [
        (0.5, pytest.approx(0.95, abs=0.051)),
        (pytest.approx(2.05, abs=0.026), pytest.approx(1.5, abs=0.051)),
    ]
    assert [run.seconds for run in shape.bursts] == pytest.approx([0.4, 0.4, 1.5], abs=0.051)
    for window in shape.heard_windows(1.0):
        assert window.seconds <= 1.0
        assert shape.levels[window.start] > -45 < shape.levels[window.start + window.length - 1]


def test_a_steady_window_has_the_length_and_no_pause() -> None:
    shape = shape_of(tone(0.5), silence(0.5), tone(2.0), silence(0.5))
    for seed in range(20):
        window = steady_window(shape, 1.5, random.Random(seed))
        assert window.seconds == 1.5
        assert shape.levels[window.start : window.start + window.length].min() > -25
    with pytest.raises(ValueError, match="does not sound for 2"):
        steady_window(shape, 2.5, random.Random(0))


def test_only_a_part_is_known_of_an_event() -> None:
    shape = shape_of(tone(1.0, level_db=-10), tone(1.0, level_db=-30)).between(1.0, 2.0)
    assert shape.levels.max() == pytest.approx(-29.3, abs=0.2)
    assert shape.heard_windows(0.5)[0].start == 40


def test_parts_are_where_they_are_said_to_be() -> None:
    sounds = {"low": tone(2.0, 500.0), "high": tone(2.0, 4000.0)}
    parts = (
        Part(source="low", label="low", start=0.5, seconds=1.0, onset=0.25, gain_db=-6.0),
        Part(source="high", label="high", start=0.0, seconds=0.5, onset=2.0, gain_db=0.0),
    )
    mix = render(Composition(parts=parts, seconds=3.0, noise_db=-90.0), sounds.__getitem__)
    assert mix.shape == (48_000,)
    assert mix.dtype == np.float32
    assert np.abs(mix[:4000]).max() < 1e-3
    assert mix[4400:19_600] == pytest.approx(sounds["low"][8400:23_600] * 10 ** (-6 / 20), abs=1e-3)
    assert np.abs(mix[20_000:32_000]).max() < 1e-3
    assert np.sqrt((mix[32_400:39_600] ** 2).mean()) == pytest.approx(0.1, rel=0.02)


def test_what_would_clip_is_turned_down_as_a_whole() -> None:
    parts = tuple(
        Part(source="x", label="x", start=0.0, seconds=1.0, onset=onset, gain_db=gain)
        for onset, gain in ((0.0, 30.0), (1.5, 24.0))
    )
    mix = render(Composition(parts=parts, seconds=3.0), lambda source: tone(1.0))
    assert np.abs(mix).max() == pytest.approx(0.99, abs=1e-3)
    first, second = (np.sqrt((mix[start : start + 12_000] ** 2).mean()) for start in (2000, 26_000))
    assert 20 * math.log10(first / second) == pytest.approx(6.0, abs=0.1)


def test_labels_are_near_that_sound_alike() -> None:
    rows = {name: [shape_of(tone(1.0, hz)).bands] for name, hz in (("a", 300), ("b", 360), ("c", 5000))}
    near = nearest_labels(rows)
    assert (near["a"], near["b"], len(near["c"])) == (["b", "c"], ["a", "c"], 2)
