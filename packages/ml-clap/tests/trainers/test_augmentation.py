"""Changes of training waveforms: each clip by its own draws, padding untouched."""

import torch
from ml_clap.trainers.augmentation import augment_waveforms
from torch import Generator


def draws(*seeds: int) -> list[Generator]:
    return [Generator().manual_seed(seed) for seed in seeds]


def test_rotation_keeps_every_sample_and_the_padding() -> None:
    waveforms, lengths = torch.zeros(2, 100), torch.tensor([100, 60])
    waveforms[0], waveforms[1, :60] = torch.arange(100.0), torch.arange(60.0)
    changed = augment_waveforms(waveforms, lengths, gain_db=0.0, time_shift=True, generators=draws(1, 2))
    assert torch.equal(changed[1, 60:], torch.zeros(40))
    for row, length in enumerate(lengths.tolist()):
        clip = changed[row, :length]
        assert not torch.equal(clip, waveforms[row, :length])
        assert torch.equal(clip.roll(-int(clip.argmin())), waveforms[row, :length])


def test_gain_stays_within_its_limit_and_differs_by_clip() -> None:
    waveforms, lengths = torch.ones(50, 10), torch.full((50,), 10)
    changed = augment_waveforms(
        waveforms, lengths, gain_db=6.0, time_shift=False, generators=draws(*range(50))
    )
    decibels = 20 * changed[:, 0].log10()
    assert decibels.abs().max() <= 6.0 + 1e-4
    assert decibels.max() > 3.0
    assert decibels.min() < -3.0


def test_a_clip_is_changed_the_same_whatever_its_neighbours() -> None:
    clip = torch.randn(80)
    alone = augment_waveforms(
        clip[None], torch.tensor([80]), gain_db=6.0, time_shift=True, generators=draws(5)
    )
    both = torch.stack([torch.randn(120), torch.cat([clip, torch.zeros(40)])])
    beside = augment_waveforms(
        both, torch.tensor([120, 80]), gain_db=6.0, time_shift=True, generators=draws(3, 5)
    )
    assert torch.equal(alone[0], beside[1, :80])
