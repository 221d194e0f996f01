"""Scenes are reproducible, say the truth about their sound, and their kinds can be told apart."""

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from audio_common.scenes.scene import KINDS, REFERENCE_LEVEL, Event, Scene, random_scene, render, render_event
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 16_000
SEEDS = st.integers(0, 2**31)
some_examples = settings(max_examples=30, deadline=None)


def level_db(sound: np.ndarray) -> float:
    """Level of the loudest 50 ms, measured at every sample."""
    power = np.convolve(sound.astype(float) ** 2, np.full(800, 1 / 800), mode="valid")
    return 10 * np.log10(power.max() + 1e-20)


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound.astype(float) ** 2)))


# ------------------------------------------------------------------------------------------ reproducible


def digest_of_scenes() -> str:
    sounds = [render(random_scene(seed, num_events=3)) for seed in range(8)]
    return hashlib.sha256(b"".join(sound.tobytes() for sound in sounds)).hexdigest()


def test_another_process_renders_the_same_samples() -> None:
    code = (
        "import hashlib; from audio_common.scenes.scene import *\n"
        "sounds = [render(random_scene(seed, num_events=3)) for seed in range(8)]\n"
        "print(hashlib.sha256(b''.join(s.tobytes() for s in sounds)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest_of_scenes()


def test_a_scene_stays_what_it_was() -> None:
    """Quickstarts state their numbers on these scenes: a change of a synthesiser or a draw must be seen."""
    scene = random_scene(3, num_events=3, seconds=6.0)
    assert [(event.kind, event.onset, event.loudness) for event in scene.events] == GOLDEN_EVENTS
    halves = render(scene).reshape(12, -1)
    levels = [20 * np.log10(rms(half)) for half in halves]
    np.testing.assert_allclose(levels, GOLDEN_LEVELS_DB, atol=0.2)


GOLDEN_EVENTS = [("applause", 0.338, "quiet"), ("bell", 3.32, "normal"), ("rain", 3.708, "normal")]
GOLDEN_LEVELS_DB = [-51.1, -48.4, -45.7, -48.5, -49.0, -60.2, -37.2, -33.5, -32.7, -31.3, -33.0, -37.1]


@some_examples
@given(seed=SEEDS, num_events=st.integers(1, 5))
def test_a_scene_survives_json(seed: int, num_events: int) -> None:
    scene = random_scene(seed, num_events=num_events)
    again = Scene.from_dict(json.loads(json.dumps(scene.to_dict())))
    assert again == scene
    assert np.array_equal(render(again), render(scene))


# ------------------------------------------------------------------------------------------ sound


@some_examples
@given(seed=SEEDS, num_events=st.integers(1, 4), rate=st.sampled_from([8_000, 16_000, 22_050, 44_100]))
def test_rendering_has_the_stated_length_and_never_clips(seed: int, num_events: int, rate: int) -> None:
    scene = random_scene(seed, num_events=num_events)
    sound = render(scene, sample_rate=rate)
    assert sound.shape == (round(scene.seconds * rate),)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() < 0.995


def test_many_loud_events_at_once_do_not_clip() -> None:
    events = tuple(Event(kind=kind, onset=0.1, duration=2.0, gain_db=0.0) for kind in KINDS)
    sound = render(Scene(events=events, seconds=2.5))
    assert np.abs(sound).max() <= 0.99 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_sound_begins_at_the_onset_and_stops_at_the_end(kind: str) -> None:
    for seed in range(5):
        event = Event(kind=kind, onset=1.0, duration=1.5, gain_db=0.0, seed=seed)
        sound = render(Scene(events=(event,), seconds=3.0, noise_db=-90.0))
        background = rms(sound[: RATE - 10])
        assert rms(sound[RATE : RATE + 1600]) > 30 * background
        assert rms(sound[round(2.5 * RATE) :]) < 2 * background


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain_db", [0.0, -15.0])
def test_level_is_the_stated_gain(kind: str, gain_db: float) -> None:
    sound = render_event(Event(kind=kind, onset=0.0, duration=2.0, gain_db=gain_db, seed=11))
    assert level_db(sound) == pytest.approx(20 * np.log10(REFERENCE_LEVEL) + gain_db, abs=1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_instances_are_alike(kind: str) -> None:
    sounds = np.stack(
        [render_event(Event(kind=kind, onset=0.0, duration=2.0, seed=seed)) for seed in range(12)]
    )
    unit = sounds / np.linalg.norm(sounds, axis=1, keepdims=True)
    assert np.abs(unit @ unit.T - np.eye(12)).max() < 0.9
    colour = np.stack([band_levels(sound).mean(0) for sound in sounds])
    assert colour.std(0).max() > 1.0  # dB: the timbre itself varies, not the samples of a noise alone


@pytest.mark.parametrize("kind", KINDS)
def test_events_of_any_length_can_be_rendered(kind: str) -> None:
    for duration in (0.05, 0.051, 0.3, 7.0):
        event = Event(kind=kind, onset=0.5, duration=duration)
        sound = render(Scene(events=(event,), seconds=8.0, noise_db=-90.0))
        assert np.isfinite(sound).all()
        assert level_db(sound[8000 : 8000 + round(duration * RATE)]) > -50
        assert rms(sound[round((0.5 + duration) * RATE) :]) < 1e-4


# ------------------------------------------------------------------------------------------ distinct kinds


def band_levels(sound: np.ndarray) -> np.ndarray:
    """(frames, 24) dB in bands equally wide in log frequency, of frames of 32 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(1, 257, 25).astype(int))
    return 10 * np.log10(np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1) + 1e-6)


def statistics(sound: np.ndarray) -> np.ndarray:
    levels = band_levels(sound)
    change = np.abs(np.diff(levels, axis=0))
    return np.concatenate([levels.mean(0), levels.std(0), change.mean(0)])


def test_kinds_are_told_apart_by_simple_spectral_statistics() -> None:
    """Nearest centroid over instances it has not seen, at levels it has not seen."""
    rng = np.random.default_rng(0)

    def instances(seeds: range) -> tuple[np.ndarray, np.ndarray]:
        events = [
            Event(
                kind=kind, onset=0.0, duration=rng.uniform(1.0, 3.0), gain_db=rng.uniform(-15, 0), seed=seed
            )
            for kind in KINDS
            for seed in seeds
        ]
        features = np.stack([statistics(render_event(event)) for event in events])
        return features, np.repeat(np.arange(len(KINDS)), len(seeds))

    train, train_kind = instances(range(10))
    test, test_kind = instances(range(1000, 1010))
    mean, std = train.mean(0), train.std(0)
    centroids = np.stack([((train - mean) / std)[train_kind == k].mean(0) for k in range(len(KINDS))])
    distance = np.linalg.norm(((test - mean) / std)[:, None] - centroids, axis=2)
    correct = distance.argmin(1) == test_kind
    assert correct.mean() > 0.95
    assert min(correct[test_kind == k].mean() for k in range(len(KINDS))) >= 0.8


# ------------------------------------------------------------------------------------------ description


@some_examples
@given(seed=SEEDS, num_events=st.integers(1, 6))
def test_random_events_follow_with_a_gap_or_overlap_by_half(seed: int, num_events: int) -> None:
    scene = random_scene(seed, num_events=num_events)
    assert len(scene.kinds) == num_events
    groups = scene.groups()
    assert [event for group in groups for event in group] == list(scene.events)
    for before, after in itertools.pairwise(groups):
        assert after[0].onset - max(event.end for event in before) > 0.25
    for group in groups:
        assert len(group) <= 2
        if len(group) == 2:
            assert group[0].overlap(group[1]) >= 0.5 * min(event.duration for event in group)


def test_random_scenes_hold_every_kind_relation_and_loudness() -> None:
    scenes = [random_scene(seed) for seed in range(150)]
    events = [event for scene in scenes for event in scene.events]
    assert {event.kind for event in events} == set(KINDS)
    assert {event.loudness for event in events} == {"loud", "normal", "quiet"}
    assert {len(scene.events) for scene in scenes} == {1, 2, 3}
    assert {max(len(group) for group in scene.groups()) for scene in scenes} == {1, 2}


def test_kinds_and_seconds_can_be_chosen() -> None:
    scene = random_scene(0, num_events=2, seconds=3.0, kinds=("rain", "dog"))
    assert sorted(scene.kinds) == ["dog", "rain"]
    assert scene.seconds == 3.0


def test_overlap_is_measured_in_seconds() -> None:
    a = Event(kind="dog", onset=0.0, duration=2.0)
    b = Event(kind="bell", onset=1.5, duration=2.0)
    c = Event(kind="rain", onset=2.0, duration=1.0)
    assert a.overlap(b) == b.overlap(a) == 0.5
    assert a.overlap(c) == 0.0
    assert Scene(events=(c, a), seconds=4.0).groups() == [(a,), (c,)]
    assert Scene(events=(b, a), seconds=4.0).groups() == [(a, b)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Event(kind="dgo", onset=0, duration=1), "unknown kind of event 'dgo'"),
        (lambda: Event(kind="dog", onset=-1, duration=1), "onset must be at least 0"),
        (lambda: Event(kind="dog", onset=0, duration=float("nan")), "duration must be at least 0.05"),
        (lambda: Event(kind="dog", onset=0, duration=1, gain_db=3), "gain_db"),
        (lambda: Event(kind="dog", onset=0, duration=1, seed=-1), "seed"),
        (lambda: Scene(events=(), seconds=1), "at least one event"),
        (lambda: Scene(events=(Event(kind="dog", onset=1, duration=1),), seconds=1.5), "last until 2.000 s"),
        (lambda: Scene(events=(Event(kind="dog", onset=0, duration=1),), seconds=1, noise_db=0), "noise_db"),
        (lambda: random_scene(0, num_events=0), "num_events"),
        (lambda: random_scene(0, num_events=2, kinds=("dog",)), "num_events"),
        (lambda: random_scene(0, num_events=1, seconds=0.5), "more seconds"),
    ],
)
def test_impossible_scenes_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_keys_of_a_stored_scene_are_refused() -> None:
    plain = random_scene(0).to_dict()
    with pytest.raises(TypeError, match="reverb"):
        Scene.from_dict({**plain, "reverb": 1})
