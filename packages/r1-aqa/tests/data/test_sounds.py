"""Sounds are mono, 16 kHz, and cut by the rule that the settings name."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common import AudioError
from hypothesis import given, settings
from hypothesis import strategies as st
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.sounds import SoundTooLongError, load_sound


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
