"""The front end: equal to torchaudio's on one clip, and blind to everything but the clip."""

import subprocess
import sys

import pytest
import torch
from audio_common import mel
from audio_common.mel import MIN_SAMPLES, LogMel, ReferenceLogMel, mel_filterbank, num_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

LIMIT = 1e-5  # dB


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel()


@pytest.fixture(scope="module")
def torchaudio_mel() -> nn.Sequential:
    """The authors' front end: `(batch, samples)` to `(batch, 64, frames)`."""
    pytest.importorskip("torchaudio", exc_type=(ImportError, OSError, RuntimeError))
    from torchaudio import transforms

    mel = transforms.MelSpectrogram(16_000, n_fft=512, hop_length=160, n_mels=64)
    return nn.Sequential(mel, transforms.AmplitudeToDB(stype="power", top_db=120.0))


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
def test_one_clip_equals_torchaudio(log_mel: LogMel, torchaudio_mel: nn.Sequential, name: str) -> None:
    clip = SOUNDS[name][None]
    frames, counts = log_mel(clip, [clip.shape[1]])
    expected = torchaudio_mel(clip)[0].T
    assert counts == [len(expected)]
    torch.testing.assert_close(frames, expected, rtol=0, atol=LIMIT)
    assert torch.equal(ReferenceLogMel()(clip)[0], frames)


def test_a_batch_has_one_floor_in_the_reference_front_end(torchaudio_mel: nn.Sequential) -> None:
    clips = nn.utils.rnn.pad_sequence([SOUNDS[name] for name in SOUNDS], batch_first=True)
    frames, expected = ReferenceLogMel()(clips), torchaudio_mel(clips).transpose(1, 2)
    torch.testing.assert_close(frames, expected, rtol=0, atol=LIMIT)
    assert frames.min() == frames.max() - 120.0  # silence alone would be at -100 dB


def test_gradients_of_the_reference_front_end_equal_torchaudios(torchaudio_mel: nn.Sequential) -> None:
    ours, theirs = (torch.stack([noise(8_000), tone(8_000)]).requires_grad_() for _ in range(2))
    directions = noise(51 * 64).view(51, 64)
    (ReferenceLogMel()(ours) * directions).sum().backward()
    (torchaudio_mel(theirs).transpose(1, 2) * directions).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


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


def test_filterbank_equals_torchaudios_exactly(torchaudio_mel: nn.Sequential) -> None:
    assert torch.equal(mel_filterbank(), torchaudio_mel[0].mel_scale.fb)


def test_blocks_do_not_change_the_frames(log_mel: LogMel, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = torch.stack([noise(30_000, seed=i) for i in range(3)])
    whole, _ = log_mel(clips, [30_000, 17, 12_345])
    monkeypatch.setattr(mel, "_CPU_BLOCK", 50)
    blocked, _ = log_mel(clips, [30_000, 17, 12_345])
    torch.testing.assert_close(blocked, whole, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("make", [LogMel, ReferenceLogMel])
def test_the_front_end_stays_float32(make: type) -> None:
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


WITHOUT_TORCHAUDIO = """
import importlib, pkgutil, sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchaudio":
            raise OSError(f"{name}: undefined symbol")  # as beside another build of torch

sys.meta_path.insert(0, Broken())
import audio_common, torch
for module in pkgutil.walk_packages(audio_common.__path__, "audio_common."):
    importlib.import_module(module.name)
from audio_common.ced import CED
from audio_common.config import CEDConfig
for mode in ("masked", "reference"):
    ced = CED(CEDConfig(embed_dim=24, depth=1, num_heads=2, num_classes=4, mode=mode)).eval()
    assert ced(torch.randn(2, 16_000), classify=True).probabilities.isfinite().all()
assert "torchaudio" not in sys.modules
"""


def test_everything_works_where_torchaudio_cannot_be_imported() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCHAUDIO], check=True)


def test_reference_front_end_says_how_short_is_too_short() -> None:
    with pytest.raises(ValueError, match=r"2400 samples .* got 2399"):
        ReferenceLogMel()(torch.zeros(1, 2399))
