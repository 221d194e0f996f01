"""Batches of clips that differ in length: padding, and a sampler that puts clips of like length together."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

POOL_BATCHES = 16
"""Batches whose clips are sorted together: more pads less, fewer mixes lengths more."""


def pad_waveforms(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack waveforms, filled with zeros to the longest.

    Args:
        waveforms: each (samples,), one dtype and device, at least one sample long.

    Returns:
        Waveforms (batch, samples) and their lengths in samples, (batch,) int64, on the same device.

    Raises:
        ValueError: no waveform, or one of another shape.
    """
    if not waveforms:
        raise ValueError("expected at least one waveform, got none")
    for index, waveform in enumerate(waveforms):
        if waveform.ndim != 1 or not len(waveform):
            shape = tuple(waveform.shape)
            raise ValueError(f"expected waveforms of shape (samples,), not empty; number {index} has {shape}")
    lengths = torch.tensor([len(waveform) for waveform in waveforms], device=waveforms[0].device)
    return pad_sequence(list(waveforms), batch_first=True), lengths


class LengthBucketSampler(Sampler[list[int]]):
    """Batches of item numbers of like length, for `DataLoader(batch_sampler=...)`.

    Each epoch the items are shuffled, sorted by length (longest first) in pools of `POOL_BATCHES` batches,
    cut into batches, and the batches are shuffled. Without `shuffle` all items form one pool and the longest
    batch comes first, so that a lack of memory shows at once.

    Every item comes once per epoch. With several ranks a batch is cut for all of them and dealt out, so that
    the ranks get equally many items of like length at each step, and a run with `batch_size` b on n ranks
    sees the same items per step as one with b * n on one rank. Only one batch of an epoch can be incomplete:
    `drop_last` drops it; otherwise it is filled up to a multiple of `world_size` by repeating its own items,
    at most `world_size - 1` times. Each rank needs its own sampler: leave sharding to nothing else.

    Args:
        lengths: length of each item, seconds (any unit, the same as `seconds_per_batch`).
        batch_size: items per batch and rank; give either this or `seconds_per_batch`.
        seconds_per_batch: most seconds of a batch on one rank including its padding, that is the longest item
            times the number of items. An item longer than that is a batch by itself.
        shuffle: another order in each epoch.
        seed: of the order; the same on all ranks.
        drop_last: drop the incomplete batch.
        rank: which share to give.
        world_size: number of shares.

    Raises:
        ValueError: an argument is impossible, or `drop_last` leaves no batch.
    """

    def __init__(
        self,
        lengths: Sequence[float],
        *,
        batch_size: int | None = None,
        seconds_per_batch: float | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.float64)
        self.batch_size = batch_size
        self.seconds_per_batch = seconds_per_batch
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self._check()
        self.epoch = 0
        self._start = 0  # where the next iteration begins, in batches
        self._given = 0  # batches of this epoch given so far
        self._batches = self._make_batches()

    def _check(self) -> None:
        if (self.batch_size is None) == (self.seconds_per_batch is None):
            raise ValueError("give either batch_size or seconds_per_batch, and not both")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.seconds_per_batch is not None and not self.seconds_per_batch > 0:
            raise ValueError(f"seconds_per_batch must be positive, got {self.seconds_per_batch}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be from 0 to world_size - 1, got {self.rank} of {self.world_size}")
        if self.lengths.ndim != 1 or not len(self.lengths):
            raise ValueError(f"expected one length per item, got an array of shape {self.lengths.shape}")
        wrong = np.flatnonzero(~(np.isfinite(self.lengths) & (self.lengths > 0)))
        if len(wrong):
            value = self.lengths[wrong[0]]
            raise ValueError(f"lengths must be positive and finite, item {wrong[0]} has {value}")

    def __iter__(self) -> Iterator[list[int]]:
        start, self._start = self._start, 0
        self._given = start
        return self._iterate(start)

    def _iterate(self, start: int) -> Iterator[list[int]]:
        for items in self._batches[start:]:
            self._given += 1
            yield items[self.rank :: self.world_size].tolist()

    def __len__(self) -> int:
        """Count the batches of this epoch, the same on every rank; epochs may differ in their number."""
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of `epoch` from its first batch; in the current epoch a loaded place stays."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._start = self._given = 0
            self._batches = self._make_batches()

    def state_dict(self, num_batches: int | None = None) -> dict[str, Any]:
        """Return where this epoch stands; the same on every rank.

        Args:
            num_batches: batches of this epoch that training has used. Give it with a DataLoader that has
                workers, because they fetch batches ahead; by default all that were given count as used.
        """
        given = self._given if num_batches is None else num_batches
        return {"epoch": self.epoch, "num_batches": given, "settings": self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on after the batches that `state` counts; `set_epoch` keeps that.

        Raises:
            ValueError: the state is of a sampler with other items or settings, whose order would not go on.
        """
        theirs, ours = state["settings"], self._settings()
        changed = [
            f"{name} {theirs.get(name)} -> {ours[name]}" for name in ours if theirs.get(name) != ours[name]
        ]
        if changed:
            raise ValueError(f"cannot resume, the data or its batches changed: {', '.join(changed)}")
        self.set_epoch(state["epoch"])
        self._start = self._given = state["num_batches"]

    def _settings(self) -> dict[str, Any]:
        return {
            "num_items": len(self.lengths),
            "lengths_crc32": zlib.crc32(self.lengths.tobytes()),
            "batch_size": self.batch_size,
            "seconds_per_batch": self.seconds_per_batch,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "drop_last": self.drop_last,
            "world_size": self.world_size,
        }

    def _make_batches(self) -> list[np.ndarray]:
        """Make this epoch's batches of all ranks together, each a multiple of `world_size` items."""
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths)) if self.shuffle else np.arange(len(self.lengths))
        batches: list[np.ndarray] = []
        rest = order[:0]
        for pool in self._pools(order):
            cut, rest = self._cut(np.concatenate([rest, pool]))
            batches += cut
        if len(rest) and not self.drop_last:
            batches.append(np.resize(rest, -(-len(rest) // self.world_size) * self.world_size))
        if not batches:
            ranks = f" on {self.world_size} ranks"
            raise ValueError(
                f"drop_last leaves no batch of {len(self.lengths)} items{ranks}; use a smaller batch"
            )
        if self.shuffle:
            batches = [batches[index] for index in generator.permutation(len(batches))]
        return batches

    def _pools(self, order: np.ndarray) -> list[np.ndarray]:
        if not self.shuffle:
            return [order]
        size = self.batch_size or max(1.0, self.seconds_per_batch / self.lengths.mean())  # type: ignore[operator]
        length = int(size * POOL_BATCHES) * self.world_size
        return [order[start : start + length] for start in range(0, len(order), length)]

    def _cut(self, items: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Cut complete batches of the items, longest first, and the items that are left."""
        items = items[np.argsort(-self.lengths[items], kind="stable")]
        batches = []
        start = 0
        while start < len(items):
            stop = start + self._num_items(self.lengths[items[start]]) * self.world_size
            if stop > len(items):
                break
            batches.append(items[start:stop])
            start = stop
        return batches, items[start:]

    def _num_items(self, longest: float) -> int:
        if self.batch_size is not None:
            return self.batch_size
        assert self.seconds_per_batch is not None
        return max(1, int(self.seconds_per_batch / longest))
