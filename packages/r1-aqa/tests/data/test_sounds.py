"""Sounds are mono, 16 kHz, and cut by the rule that the settings name."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common import AudioError
from hypothesis import given, settings
from hypothesis import strategies as st
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.lengths import measure
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import (
    QuestionSounds,
    SoundTooLongError,
    describe_cuts,
    load_sound,
    window_starts,
)


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds: left counts seconds in tenths, right is silent."""
    left = np.repeat(np.arange(5) / 10 + 0.1, 16_000)
    path = tmp_path_factory.mktemp("s") / "stereo.wav"
    soundfile.write(path, np.stack([left, 0 * left], 1), 16_000, subtype="FLOAT")
    return path


def test_channels_are_averaged_or_the_first_is_taken(stereo: Path) -> None:
    assert load_sound(stereo, SoundConfig())[100] == pytest.approx(0.05)
    assert load_sound(stereo, SoundConfig(channel="first"))[100] == pytest.approx(0.1)


@given(st.floats(0.5, 8))
@settings(max_examples=20, deadline=None)
def test_no_sound_is_longer_than_allowed(stereo: Path, seconds: float) -> None:
    for rule in ("truncate", "center"):
        found = load_sound(stereo, SoundConfig(max_seconds=seconds, too_long=rule))
        assert len(found) == pytest.approx(min(5.0, seconds) * 16_000, abs=2)
        assert found.dtype == np.float32


def test_the_rule_says_which_part_is_kept(stereo: Path) -> None:
    first = load_sound(stereo, SoundConfig(max_seconds=1, too_long="truncate"))
    middle = load_sound(stereo, SoundConfig(max_seconds=1, too_long="center"))
    assert first[8_000] == pytest.approx(0.05)
    assert middle[8_000] == pytest.approx(0.15)
    with pytest.raises(SoundTooLongError, match=r"5\.0 s, longer than 1 s"):
        load_sound(stereo, SoundConfig(max_seconds=1, too_long="skip"))


def test_what_is_no_sound_is_an_error_in_either_way(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound")
    for channel in ("mean", "first", "loudest"):
        with pytest.raises(AudioError, match=r"x\.wav"):
            load_sound(tmp_path / "x.wav", SoundConfig(channel=channel))


def test_windows_cover_all_of_a_long_sound() -> None:
    for seconds in (0.0, 1.0, 30.0, 30.01, 59.9, 60.0, 106.0):
        starts = window_starts(seconds, 30.0)
        assert starts[0] == 0.0
        assert all(later - start <= 30.0 for start, later in pairwise(starts))
        assert max(seconds, 30.0) == pytest.approx(starts[-1] + 30.0)


def test_cuts_are_counted_by_what_streams(tmp_path: Path) -> None:
    for seconds in (1, 5):
        soundfile.write(tmp_path / f"{seconds}.wav", np.full(16_000 * seconds, 0.1), 16_000)
    asked = [Question(id=str(n), audio=tmp_path / f"{n}.wav", question="?") for n in (1, 5)]
    sounds = QuestionSounds(asked, SoundConfig(max_seconds=4))
    count, line = describe_cuts(sounds, [0, 1], "--flag")
    assert (count, line) == (
        1,
        "the sounds of 1 of 2 questions are cut: only their first 4 s are heard, of up to 5.0 s (--flag)",
    )
    assert describe_cuts(QuestionSounds(asked, SoundConfig()), [0, 1], "") == (0, None)


def test_an_mp3_without_a_length_header_is_as_long_as_it_streams(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # Quiet, then loud: an estimate by the first frames' rate is far off.
    samples = np.concatenate([np.zeros(16_000 * 4), rng.normal(0, 0.3, 16_000 * 8)])
    soundfile.write(tmp_path / "x.mp3", samples, 16_000, bitrate_mode="VARIABLE")
    content = (tmp_path / "x.mp3").read_bytes()
    # The first frame holds the Xing header alone: without it the rest is a plain stream.
    second = content.find(content[:2], 100)
    (tmp_path / "bare.mp3").write_bytes(content[second:])
    assert measure(tmp_path / "bare.mp3") == pytest.approx(12.0, abs=0.3)
    middle = load_sound(tmp_path / "bare.mp3", SoundConfig(max_seconds=6, too_long="center"))
    assert len(middle) == 96_000
    # From 3 s to 9 s: one second of silence first.
    assert np.abs(middle[:12_000]).max() < 0.05 < np.abs(middle[20_000:]).max()
