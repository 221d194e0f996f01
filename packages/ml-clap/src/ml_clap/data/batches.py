"""Batches of pairs of audio and text: what a batch holds, and which pairs meet in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from audio_common.batch import LengthBucketSampler, pad_waveforms
from torch import Tensor

from ml_clap.data.enhancement import Sample, one_caption_per_clip

UniqueClips = Literal["no", "batch", "epoch"]
Tokenize = Callable[[Sequence[str], Sequence[str]], Any]
"""(texts, languages) -> a pair of ids `(batch, length)` and mask `(batch, length)`, such as a TextBatch."""


class Draw(NamedTuple):
    """A sample together with what its randomness depends on."""

    sample: Sample
    epoch: int
    place: int
    """Place of the sample in its epoch, before shuffling."""
    repeat: int = 0
    """Number of pairs of the same clip that come before it in its batch, which all processes share."""


class BadClip(NamedTuple):
    """A clip that could not be read, and why."""

    clip: int
    reason: str


class Item(NamedTuple):
    """One pair, read."""

    waveform: Tensor
    """`(samples,)`"""
    text: str
    language: str
    clip: int
    repeat: int
    """See `Draw.repeat`."""
    bad: tuple[BadClip, ...]
    """Clips in whose place this one came."""
    others: tuple[tuple[str, str], ...] = ()
    """(text, language) of captions in further languages that say the same."""

    def texts(self) -> list[tuple[str, str]]:
        """Return every (text, language)."""
        return [(self.text, self.language), *self.others]


@dataclass(frozen=True)
class Batch:
    """Pairs of audio and text, or clips each with equally many texts."""

    waveforms: Tensor
    """`(batch, samples)` float32 at 16 kHz, padded with zeros."""
    lengths: Tensor
    """`(batch,)` int64, samples of each clip."""
    text_ids: Tensor
    """`(texts, length)` int64; the texts of a clip stand one after another."""
    text_mask: Tensor
    """`(texts, length)` bool, True where there is a token."""
    clip_ids: Tensor
    """`(batch,)` int64, place of each clip in the list of clips: rows of one clip have the same number."""
    repeats: Tensor
    """`(batch,)` int64, how many pairs of the same clip come before each in the batch of all processes."""
    bad: tuple[BadClip, ...] = ()
    """Clips that could not be read and were replaced."""

    def __len__(self) -> int:
        return len(self.clip_ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the same batch on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the same batch in page-locked memory; DataLoader calls this."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            change(self.waveforms),
            change(self.lengths),
            change(self.text_ids),
            change(self.text_mask),
            change(self.clip_ids),
            change(self.repeats),
            self.bad,
        )


@dataclass(frozen=True)
class Collator:
    """Items to a batch; picklable if `tokenize` is (`MLCLAP.prepare_text` is: it holds no weights)."""

    tokenize: Tokenize

    def __call__(self, items: Sequence[Item]) -> Batch:
        """Pad the audio and tokenize the texts."""
        waveforms, lengths = pad_waveforms([item.waveform for item in items])
        texts, languages = zip(*(pair for item in items for pair in item.texts()), strict=True)
        ids, mask = self.tokenize(texts, languages)
        clips = torch.tensor([item.clip for item in items], dtype=torch.int64)
        repeats = torch.tensor([item.repeat for item in items], dtype=torch.int64)
        bad = dict.fromkeys(clip for item in items for clip in item.bad)
        return Batch(waveforms, lengths, ids, mask, clips, repeats, tuple(bad))


def plan_epoch(
    samples: Sequence[Sample],
    seconds: Sequence[float],
    *,
    epoch: int,
    batch_size: int | None = None,
    seconds_per_batch: float | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    unique_clips: UniqueClips = "no",
    seed: int = 0,
    min_rows: int = 2,
) -> list[list[Draw]]:
    """Return the global batches of an epoch; clips of a batch have about the same length.

    Args:
        samples: The epoch's pairs.
        seconds: Length of each clip (not of each sample).
        epoch: Number of the epoch.
        batch_size: Pairs in a batch; or
        seconds_per_batch: sound in a batch, padding included.
        shuffle: In another order every epoch.
        drop_last: Leave out batches that are not full.
        unique_clips: `batch`: no clip twice in a batch; `epoch`: no clip twice in an epoch, one of its
            captions being drawn; `no`: as it comes (the loss knows rows of one clip by their `clip_ids`).
        seed: With `epoch`, what all draws depend on.
        min_rows: Smaller batches are left out. A pair alone has nothing to be told from: its loss is 0.

    Raises:
        ValueError: no batch is left.
    """
    # The place in the epoch seeds a draw's crop, so it must not depend on the shuffling that follows.
    draws = [Draw(sample, epoch, place) for place, sample in enumerate(samples)]
    if unique_clips == "epoch":
        kept = set(one_caption_per_clip(samples, seed=seed, epoch=epoch))
        draws = [draw for draw in draws if draw.sample in kept]
    rounds = _rounds(draws, (seed, epoch, 0, 2)) if unique_clips == "batch" else [draws]
    batches = []
    for dealt in rounds:
        if not dealt or (drop_last and not _fills_a_batch(dealt, seconds, batch_size, seconds_per_batch)):
            continue
        sampler = LengthBucketSampler(
            [seconds[draw.sample.clip] for draw in dealt],
            batch_size=batch_size,
            seconds_per_batch=seconds_per_batch,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
        )
        sampler.set_epoch(epoch)
        batches += [count_repeats([dealt[place] for place in places]) for places in sampler]
    if shuffle and len(rounds) > 1:  # or a clip's captions would come far apart, round after round
        order = np.random.default_rng((seed, epoch, 0, 3)).permutation(len(batches))
        batches = [batches[place] for place in order]
    batches = [batch for batch in batches if len(batch) >= min_rows]
    if not batches:
        raise ValueError(
            f"epoch {epoch} has no batch: there are {len(draws)} pairs of sound and caption, and a batch "
            f"needs at least {min_rows}" + (" and all that it can hold (drop_last)" if drop_last else "")
        )
    return batches


def count_repeats(batch: Sequence[Draw]) -> list[Draw]:
    """Return the draws, each with the number of those of its clip before it."""
    seen = Counter[int]()
    counted = []
    for draw in batch:
        counted.append(draw._replace(repeat=seen[draw.sample.clip]))
        seen[draw.sample.clip] += 1
    return counted


def _fills_a_batch(
    draws: Sequence[Draw], seconds: Sequence[float], batch_size: int | None, seconds_per_batch: float | None
) -> bool:
    if batch_size is not None:
        return len(draws) >= batch_size
    return sum(seconds[draw.sample.clip] for draw in draws) >= (seconds_per_batch or 0.0)


def _rounds(draws: Sequence[Draw], seed: tuple[int, ...]) -> list[list[Draw]]:
    """Deal the samples into rounds, in each of which a clip occurs at most once."""
    order = np.random.default_rng(seed).permutation(len(draws))
    rounds: list[list[Draw]] = []
    seen: dict[int, int] = {}
    for place in order:
        clip = draws[place].sample.clip
        number = seen.get(clip, 0)
        seen[clip] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(draws[place])
    return rounds
