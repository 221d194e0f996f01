"""The batches of an epoch, read by worker processes.

Everything drawn at random follows from (seed, epoch, place in the epoch), never from a process's history. So
an epoch's batches are the same with any number of workers, the same when a run resumes in its midst, and the
same when several processes share them: process r of n takes rows r, r + n, r + 2n, ... of each batch.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch
from audio_common.config import Channel
from torch.utils.data import DataLoader, Sampler

from ml_clap.data.batches import BadClip, Batch, Collator, Draw, Item, Tokenize, UniqueClips, plan_epoch
from ml_clap.data.dataset import CaptionDataset, Crop, clip_seconds
from ml_clap.data.enhancement import Sample
from ml_clap.data.manifest import Clip
from ml_clap.data.shards.reading import Place
from ml_clap.data.stream import StreamBatch, plan_stream, reading_order
from ml_clap.data.stream_dataset import StreamDataset

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60
"""How long a worker goes on after SIGTERM."""


Planned = TypeVar("Planned", list[Draw], StreamBatch)


class EpochBatches(Sampler[Planned], Generic[Planned]):
    """Gives the batches that are left of an epoch.

    Args:
        plan: Epoch -> this process's share of its batches.
    """

    def __init__(self, plan: Callable[[int], list[Planned]]) -> None:
        self.plan: Callable[[int], list[Planned]] = plan
        self.epoch = 0
        self.done = 0
        """Batches of the epoch that are skipped when iterating."""
        self._planned: list[Planned] | None = None

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Go to an epoch, after its first `done` batches."""
        if epoch != self.epoch:
            self._planned = None
        self.epoch, self.done = epoch, done

    def __len__(self) -> int:
        """Count the batches of the whole epoch, the same on every process."""
        return len(self._all())

    def __iter__(self) -> Iterator[Planned]:
        return iter(self._all()[self.done :])

    def _all(self) -> list[Planned]:
        if self._planned is None:
            self._planned = self.plan(self.epoch)
        return self._planned


class CaptionLoader:
    """The batches of one epoch after the other; made by `make_loader` or `make_stream_loader`.

        for epoch in range(10):
            loader.set_epoch(epoch)
            for batch in loader:
                ...

    `state_dict` counts the batches that were handed out: what workers have read ahead is not lost on resume.
    """

    def __init__(
        self,
        dataset: CaptionDataset | StreamDataset,
        batches: EpochBatches[list[Draw]] | EpochBatches[StreamBatch],
        tokenize: Tokenize,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.bad_files: dict[Path, str] = {}
        """Files that could not be read so far in this process's share, and why."""
        self._dataset = dataset
        self._batches = batches
        self._is_finished = False
        self._loader: DataLoader[Item] = DataLoader(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]  # a StreamBatch is for __getitems__
            collate_fn=Collator(tokenize),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,  # they keep their decoded clips from epoch to epoch
            worker_init_fn=_leave_signals_to_the_parent,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # or each epoch would draw from the generator of dropout
        )
        # Before multiprocessing's own clean-up, which would wait for workers that are still patient.
        atexit.register(_close, weakref.ref(self))

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Go to an epoch, after its first `skip` batches."""
        self._is_finished = False
        self._batches.set_epoch(epoch, skip)

    def __len__(self) -> int:
        """Count the batches of the current epoch, done ones included; the same on every process."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """Give the batches of the epoch that are left."""
        self._is_finished = False
        for batch in self._loader:
            self._batches.done += 1
            self._note(batch.bad)
            yield batch
        self._batches.done = 0
        self._is_finished = True

    def state_dict(self) -> dict[str, int]:
        """Return where it stands: the epoch, and how many of its batches were handed out."""
        return {"epoch": self._batches.epoch + self._is_finished, "batches": self._batches.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to where another loader of the same clips and settings stood."""
        self.set_epoch(state["epoch"], skip=state["batches"])

    def close(self) -> None:
        """End the workers; the next iteration starts new ones."""
        iterator = self._loader._iterator  # DataLoader has no public way to end persistent workers
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._loader._iterator = None

    def _note(self, bad: Sequence[BadClip]) -> None:
        for clip, reason in bad:
            audio = self._dataset.clips[clip].audio
            if audio not in self.bad_files:
                self.bad_files[audio] = reason
                logger.warning("skipped in training: %s", reason)


def _close(reference: weakref.ref[CaptionLoader]) -> None:
    loader = reference()
    if loader is not None:
        loader.close()


def make_loader(
    clips: Sequence[Clip],
    samples_of_epoch: Callable[[int], Sequence[Sample]],
    tokenize: Tokenize,
    *,
    batch_size: int | None = None,
    seconds_per_batch: float | None = None,
    max_seconds: float = 30.0,
    crop: Crop = "random",
    channel: Channel = "mean",
    shuffle: bool = True,
    drop_last: bool = False,
    unique_clips: UniqueClips = "no",
    seed: int = 0,
    cache_gigabytes: float = 2.0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> CaptionLoader:
    """Make the loader of the pairs that `samples_of_epoch` names.

    Args:
        clips: All clips; the headers of those without a duration are read now (`ml-clap prepare` stores it).
        samples_of_epoch: Epoch -> its pairs, such as `epoch_captions` with its settings bound.
        tokenize: (texts, languages) -> ids and mask.
        batch_size: Pairs in a batch, of all processes together; or
        seconds_per_batch: sound in a batch with its padding, of all processes together.
        max_seconds: Longer clips are cropped.
        crop: Where they are cropped.
        channel: What is made of several channels.
        shuffle: In another order every epoch.
        drop_last: Leave out batches that are not full.
        unique_clips: See `plan_epoch`.
        seed: Seed for the order and the crops.
        cache_gigabytes: Decoded audio kept in memory, by all workers of this process together.
        num_workers: Processes that read; each has one torch thread and its own part of the cache, so a clip
            may be decoded once in each. Where all clips fit, 0 decodes each only once.
        rank: Number of this process.
        world_size: Number of processes; each takes its rows of every batch.
        pin_memory: Page-lock batches, for copies to a GPU.

    Raises:
        ValueError: impossible settings, or (on `len` or iteration) an epoch without a batch.
    """
    dataset = CaptionDataset(
        clips,
        max_seconds=max_seconds,
        crop=crop,
        channel=channel,
        seed=seed,
        cache_gigabytes=cache_gigabytes / max(1, num_workers),
    )
    seconds = [min(length, max_seconds) for length in clip_seconds(clips, unknown=max_seconds)]

    def plan(epoch: int) -> list[list[Draw]]:
        whole = plan_epoch(
            samples_of_epoch(epoch),
            seconds,
            epoch=epoch,
            batch_size=batch_size,
            seconds_per_batch=seconds_per_batch,
            shuffle=shuffle,
            drop_last=drop_last,
            unique_clips=unique_clips,
            seed=seed,
            min_rows=max(2, world_size),
        )
        return [batch[rank::world_size] for batch in whole]

    return CaptionLoader(
        dataset, EpochBatches(plan), tokenize, num_workers=num_workers, pin_memory=pin_memory
    )


def make_stream_loader(
    clips: Sequence[Clip],
    places: Mapping[int, Place],
    samples_of_epoch: Callable[[int], Sequence[Sample]],
    tokenize: Tokenize,
    *,
    batch_size: int,
    streams: int = 4,
    buffer: int = 2560,
    max_seconds: float = 30.0,
    channel: Channel = "mean",
    drop_last: bool = False,
    unique_clips: UniqueClips = "no",
    seed: int = 0,
    cache_gigabytes: float = 2.0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> CaptionLoader:
    """Make the loader of pairs whose sounds are in shards, all or some.

    Args:
        clips: All clips.
        places: Place in `clips` -> where the sound is, of those in shards.
        samples_of_epoch: As of `make_loader`, as are the settings that are not named here.
        tokenize: (texts, languages) -> ids and mask.
        batch_size: Pairs in a batch, of all processes together.
        streams: Parts of an epoch that are read side by side; workers share them, so that there should be as
            many, or a multiple.
        buffer: Pairs held by this process, and as many that are being fetched.
        cache_gigabytes: For the clips that are files; nothing of a shard is kept.
        rank: Number of this process.
        world_size: Number of processes; each reads its part of the shards.

    Raises:
        ValueError: impossible settings, or (on `len` or iteration) an epoch without a batch.
    """
    files = CaptionDataset(
        clips,
        max_seconds=max_seconds,
        channel=channel,
        seed=seed,
        cache_gigabytes=cache_gigabytes / max(1, num_workers),
    )
    seconds = [min(length, max_seconds) for length in clip_seconds(clips, unknown=max_seconds)]
    shards: dict[str, list[int]] = {}
    for clip, place in places.items():
        shards.setdefault(place.shard, []).append(clip)
    loose = [clip for clip in range(len(clips)) if clip not in places]

    def plan(epoch: int) -> list[StreamBatch]:
        return plan_stream(
            samples_of_epoch(epoch),
            seconds,
            reading_order(list(shards.values()), loose, seed=seed, epoch=epoch),
            epoch=epoch,
            batch_size=batch_size,
            streams=streams,
            buffer=buffer,
            drop_last=drop_last,
            unique_clips=unique_clips,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    dataset = StreamDataset(clips, places, files)
    return CaptionLoader(
        dataset, EpochBatches(plan), tokenize, num_workers=num_workers, pin_memory=pin_memory
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Outlive Ctrl-C and SIGTERM, which reach all processes: the parent must be able to save first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(PATIENCE_SECONDS))
    # Status 0: to torch any other is a crash, which it would raise in the parent.
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
