"""SpecAugment stays within each clip, and is the generator's to repeat."""

import pytest
import torch
from audio_common.augment import SpecAugment
from audio_common.ced import CED
from audio_common.config import CEDConfig
from hypothesis import given, settings
from hypothesis import strategies as st


def ones(*counts: int) -> torch.Tensor:
    return torch.ones(sum(counts), 64)


def seeded(seed: int, **settings) -> SpecAugment:
    return SpecAugment(generator=torch.Generator().manual_seed(seed), **settings)


@given(st.lists(st.integers(16, 400), min_size=1, max_size=4), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_each_clip_gets_one_stretch_and_one_band_within_the_limits(counts: list[int], seed: int) -> None:
    augment = seeded(seed, time_width=100, freq_width=20, max_time_fraction=0.5)
    for clip in augment(ones(*counts), counts).split(counts):
        hidden_frames = (clip == 0).all(1).nonzero().flatten()
        hidden_bands = (clip == 0).all(0).nonzero().flatten()
        for hidden, limit in ((hidden_frames, min(100, len(clip) // 2)), (hidden_bands, 20)):
            assert len(hidden) <= limit
            assert len(hidden) == 0 or len(hidden) == hidden[-1] - hidden[0] + 1
        expected = torch.ones_like(clip)
        expected[hidden_frames] = 0
        expected[:, hidden_bands] = 0
        assert torch.equal(clip, expected)


def test_every_frame_and_band_can_be_hidden() -> None:
    augment = seeded(0, time_width=10, freq_width=10)
    hidden = sum((augment(ones(40), [40]) == 0).float() for _ in range(400))
    assert (hidden > 0).all()
    assert hidden.max() < 400


def test_widths_are_uniform_from_nothing_to_the_greatest() -> None:
    augment = seeded(0, freq_masks=0, time_width=4)
    widths = [int((augment(ones(100), [100])[:, 0] == 0).sum()) for _ in range(2000)]
    shares = torch.bincount(torch.tensor(widths), minlength=5) / 2000
    torch.testing.assert_close(shares, torch.full((5,), 0.2), rtol=0, atol=0.05)


def test_the_generator_alone_decides_the_masks() -> None:
    first, second, other = (seeded(seed)(ones(300, 80), [300, 80]) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_input_is_left_as_it_was() -> None:
    frames = ones(100)
    seeded(0, time_masks=3)(frames, [100])
    assert (frames == 1).all()


def test_no_masks_change_nothing() -> None:
    frames = torch.randn(50, 64)
    assert torch.equal(SpecAugment(time_masks=0, freq_masks=0)(frames, [50]), frames)


@pytest.mark.parametrize("mode", ["masked", "reference"])
def test_the_encoder_sees_the_masked_frames(mode: str) -> None:
    ced = CED(CEDConfig(embed_dim=24, depth=1, num_heads=2, num_classes=4, mode=mode)).eval()
    sound = torch.randn(2, 32_000)
    plain, masked = ced(sound), ced(sound, spec_augment=seeded(3, time_masks=2))
    blank = ced(sound, spec_augment=SpecAugment(time_masks=0, freq_masks=0))
    assert torch.equal(plain.tokens, blank.tokens)
    assert not torch.allclose(plain.tokens, masked.tokens)


@pytest.mark.parametrize("wrong", [{"time_width": -1}, {"freq_width": 65}, {"max_time_fraction": 0.0}])
def test_impossible_settings_are_named(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpecAugment(**wrong)
