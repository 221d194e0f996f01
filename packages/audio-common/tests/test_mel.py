"""The front end: equal to torchaudio's on one clip, and blind to everything but the clip."""

import sys

import pytest
import torch
from audio_common import mel
from audio_common.mel import MIN_SAMPLES, LogMel, ReferenceLogMel, mel_filterbank, num_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

LIMIT = 1e-5  # dB


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel()


@pytest.fixture(scope="module")
def oracle() -> ReferenceLogMel:
    pytest.importorskip("torchaudio", exc_type=(ImportError, OSError, RuntimeError))
    return ReferenceLogMel()


def noise(samples: int, scale: float = 0.1, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * scale


def tone(samples: int, frequency: float = 1000.0) -> Tensor:
    return torch.sin(2 * torch.pi * frequency * torch.arange(samples) / 16_000)


def quiet_after_loud(samples: int) -> Tensor:
    return torch.cat([tone(samples // 2), noise(samples - samples // 2, 1e-5)])


SOUNDS = {
    "noise": noise(16_000),
    "quiet noise": noise(16_000, 1e-4),
    "full-scale tone": tone(16_000),
    "tone between bins, with a quiet end": quiet_after_loud(24_321),
    "silence": torch.zeros(8_000),
    "click": torch.nn.functional.one_hot(torch.tensor(2_500), 5_000).float(),
    "silent end": torch.cat([noise(8_000), torch.zeros(8_000)]),
    "one patch": noise(MIN_SAMPLES),
    "one frame short of two hops": noise(4_799),
    "long": noise(200_003),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_one_clip_equals_torchaudio(log_mel: LogMel, oracle: ReferenceLogMel, name: str) -> None:
    clip = SOUNDS[name][None]
    frames, counts = log_mel(clip, [clip.shape[1]])
    expected = oracle(clip)[0]
    assert counts == [len(expected)]
    torch.testing.assert_close(frames, expected, rtol=0, atol=LIMIT)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=5), st.integers(0, 5_000), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_neighbours_and_padding_change_nothing(lengths: list[int], extra: int, seed: int) -> None:
    log_mel = LogMel()
    clips = [noise(n, 10.0 ** -(i % 5), seed + i) for i, n in enumerate(lengths)]
    batch = torch.full((len(clips), max(lengths) + extra), torch.nan)  # padding is never read
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    frames, counts = log_mel(batch, lengths)
    alone = [log_mel(clip[None], [len(clip)])[0] for clip in clips]
    assert counts == [len(one) for one in alone] == [num_frames(n) for n in lengths]
    torch.testing.assert_close(frames, torch.cat(alone), rtol=0, atol=LIMIT)


@pytest.mark.parametrize("length", [1, 256, 257, 2399])
def test_a_clip_under_one_patch_is_followed_by_silence(log_mel: LogMel, length: int) -> None:
    clip = noise(length)[None]
    followed = torch.nn.functional.pad(clip, (0, MIN_SAMPLES - length))
    frames, counts = log_mel(clip, [length])
    assert counts == [16]
    assert torch.equal(frames, log_mel(followed, [MIN_SAMPLES])[0])


def test_silence_is_minus_100_db(log_mel: LogMel) -> None:
    frames, _ = log_mel(torch.zeros(1, 16_000), [16_000])
    assert torch.equal(frames, torch.full((101, 64), -100.0))


def test_the_floor_is_120_db_below_each_clips_own_maximum(log_mel: LogMel) -> None:
    loud = torch.cat([tone(8_000), torch.zeros(8_000)])
    quiet = loud * 1e-3
    frames, counts = log_mel(torch.stack([loud, quiet]), [16_000, 16_000])
    loud_frames, quiet_frames = frames.split(counts)
    assert loud_frames.min() == loud_frames.max() - 120.0
    assert quiet_frames.min() == -100.0


def test_filterbank_equals_torchaudios_exactly(oracle: ReferenceLogMel) -> None:
    assert torch.equal(mel_filterbank(), oracle.transform[0].mel_scale.fb)


def test_blocks_do_not_change_the_frames(log_mel: LogMel, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = torch.stack([noise(30_000, seed=i) for i in range(3)])
    whole, _ = log_mel(clips, [30_000, 17, 12_345])
    monkeypatch.setattr(mel, "_CPU_BLOCK", 50)
    blocked, _ = log_mel(clips, [30_000, 17, 12_345])
    torch.testing.assert_close(blocked, whole, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("make", [LogMel, ReferenceLogMel])
def test_the_front_end_stays_float32(make: type, request: pytest.FixtureRequest) -> None:
    if make is ReferenceLogMel:
        request.getfixturevalue("oracle")
    front_end = make().to(torch.bfloat16)
    clip = noise(16_000)[None]
    lengths = ([16_000],) if make is LogMel else ()
    expected = make()(clip, *lengths)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        frames = front_end(clip, *lengths)[0]
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames, expected, rtol=0, atol=0)
    assert front_end.state_dict() == {}  # constants, not weights


def test_gradients_reach_every_sample_of_each_clip(log_mel: LogMel) -> None:
    clips = torch.stack([noise(8_000), noise(8_000, seed=1)]).requires_grad_()
    log_mel(clips, [8_000, 5_000])[0].sum().backward()
    assert clips.grad is not None
    assert torch.isfinite(clips.grad).all()
    assert (clips.grad[0] != 0).float().mean() > 0.99
    assert (clips.grad[1, :5_000] != 0).float().mean() > 0.99
    assert (clips.grad[1, 5_000:] == 0).all()


def test_a_broken_torchaudio_costs_only_the_reference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # importing it now fails
    monkeypatch.delitem(sys.modules, "torchaudio.transforms", raising=False)
    LogMel()
    with pytest.raises(ImportError, match=r"mode='masked' does without"):
        ReferenceLogMel()


def test_importing_the_encoder_does_not_import_torchaudio() -> None:
    import subprocess

    code = "import sys, audio_common.ced, audio_common.augment; sys.exit('torchaudio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reference_front_end_says_how_short_is_too_short(oracle: ReferenceLogMel) -> None:
    with pytest.raises(ValueError, match=r"2400 samples .* got 2399"):
        oracle(torch.zeros(1, 2399))
