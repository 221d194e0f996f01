"""From clips and the captions of an epoch to batches: decoding, cropping, tokenising, in worker processes.

Everything drawn at random follows from (seed, epoch, place in the epoch), never from a process's history. So
an epoch's batches are the same with any number of workers, the same when a run resumes in its midst, and the
same when several processes share them: process r of n takes rows r, r + n, r + 2n, ... of each batch.

A file that cannot be read does not end a run. The next clip with a caption in the same language takes its
place, so that batches keep their size on every process, and `CaptionLoader.bad_files` names it.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from audio_common.audio import AudioError, audio_info, load_audio
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ml_clap.data.batches import BadClip, Batch, Collator, Draw, Item, Tokenize, UniqueClips, plan_epoch
from ml_clap.data.enhancement import Sample
from ml_clap.data.manifest import Clip

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hz, of every model here."""
LONG_SECONDS = 120.0
"""Of files longer than this only the crop is decoded, and it is not kept."""
MAX_BAD_IN_A_ROW = 20
"""So many unreadable files one after the other mean that the data is gone, not that a file is bad."""
PATIENCE_SECONDS = 60
"""So long a worker goes on after SIGTERM."""

Crop = Literal["random", "center", "start"]


class CaptionDataset(Dataset[Item]):
    """Reads the pair of a `Draw`; each clip is decoded once in a process while the cache's budget lasts.

    Args:
        clips: What `Sample.clip` counts.
        max_seconds: Longer clips are cropped.
        crop: Where: at random (training), in the middle, or at the start.
        seed: Of the random crops.
        cache_gigabytes: Decoded sound kept in this process. What is in stays in: every epoch asks for all
            clips, and dropping the oldest would drop each just before its next use.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        max_seconds: float = 30.0,
        crop: Crop = "random",
        seed: int = 0,
        cache_gigabytes: float = 2.0,
    ) -> None:
        self.clips = clips
        self.max_seconds = max_seconds
        self.crop = crop
        self.seed = seed
        self._room = int(cache_gigabytes * 1e9)  # bytes
        self._cache: dict[int, Tensor] = {}
        self._bad: dict[int, str] = {}

    def __getitem__(self, draw: Draw) -> Item:
        """The drawn pair, or the next that can be read.

        Raises:
            AudioError: many files in a row, or all that have a caption in this language, cannot be read.
        """
        first, language, caption = draw.sample
        bad: list[BadClip] = []
        for number in range(first, first + len(self.clips)):
            clip = number % len(self.clips)
            texts = self.clips[clip].captions.get(language)
            if not texts:
                continue
            try:
                waveform = self._read(clip, draw)
            except AudioError as e:
                bad.append(BadClip(clip, str(e)))
                if len(bad) == MAX_BAD_IN_A_ROW:
                    break
            else:
                text = texts[caption % len(texts)]
                return Item(waveform, text, language, clip, draw.repeat, tuple(bad))
        raise AudioError(
            f"none of {len(bad)} clips with captions in {language} can be read; is the folder of the audio "
            f"still there? The last: {bad[-1].reason}"
        )

    def _read(self, clip: int, draw: Draw) -> Tensor:
        """The clip, cropped, `(samples,)`; a clip that failed once is not tried again."""
        if clip in self._bad:
            raise AudioError(self._bad[clip])
        share = _crop_share(self.crop, (self.seed, draw.epoch, draw.place, 4))
        try:
            return self._crop_of_file(clip, share)
        except (AudioError, OSError) as e:
            self._bad[clip] = str(e)
            raise AudioError(str(e)) from e

    def _crop_of_file(self, clip: int, share: float) -> Tensor:
        audio, seconds = self.clips[clip].audio, self.clips[clip].duration or 0.0
        if seconds > max(LONG_SECONDS, self.max_seconds):
            offset = share * (seconds - self.max_seconds)
            return load_audio(audio, sample_rate=SAMPLE_RATE, offset=offset, duration=self.max_seconds)
        waveform = self._cache.get(clip)
        if waveform is None:
            waveform = load_audio(audio, sample_rate=SAMPLE_RATE)
            self._keep(clip, waveform)
        length = max(1, round(self.max_seconds * SAMPLE_RATE))
        start = int(share * (max(0, len(waveform) - length) + 1))
        return waveform[start : start + length]

    def _keep(self, clip: int, waveform: Tensor) -> None:
        size = waveform.nbytes
        if size <= self._room:
            self._cache[clip] = waveform
            self._room -= size


def _crop_share(crop: Crop, seed: tuple[int, ...]) -> float:
    """Where a crop begins, in [0, 1) of what is left over."""
    if crop == "random":
        return float(np.random.default_rng(seed).random())
    return 0.5 if crop == "center" else 0.0


class EpochBatches(Sampler[list[Draw]]):
    """This process's rows of the batches that are left of an epoch.

    Args:
        plan: Epoch -> its global batches.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, plan: Callable[[int], list[list[Draw]]], *, rank: int = 0, world_size: int = 1
    ) -> None:
        self.plan = plan
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.done = 0
        """Batches of the epoch that are left out when iterating."""
        self._planned: list[list[Draw]] | None = None

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Go to an epoch, after its first `done` batches."""
        if epoch != self.epoch:
            self._planned = None
        self.epoch, self.done = epoch, done

    def __len__(self) -> int:
        """Batches of the whole epoch, the same on every process."""
        return len(self._all())

    def __iter__(self) -> Iterator[list[Draw]]:
        return (batch[self.rank :: self.world_size] for batch in self._all()[self.done :])

    def _all(self) -> list[list[Draw]]:
        if self._planned is None:
            self._planned = self.plan(self.epoch)
        return self._planned


class CaptionLoader:
    """The batches of one epoch after the other; made by `make_loader`.

        for epoch in range(10):
            loader.set_epoch(epoch)
            for batch in loader:
                ...

    `state_dict` counts the batches that were handed out: what workers have read ahead is not lost on resume.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        batches: EpochBatches,
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
            batch_sampler=batches,
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
        """Batches of the current epoch, done ones included; the same on every process."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the epoch that are left."""
        self._is_finished = False
        for batch in self._loader:
            self._batches.done += 1
            self._note(batch.bad)
            yield batch
        self._batches.done = 0
        self._is_finished = True

    def state_dict(self) -> dict[str, int]:
        """Where it stands: the epoch, and how many of its batches were handed out."""
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
                logger.warning("left out of training: %s", reason)


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
    """Batches of the pairs that `samples_of_epoch` names.

    Args:
        clips: All clips; those without a duration are asked for it now (`ml-clap prepare` stores it).
        samples_of_epoch: Epoch -> its pairs, such as `epoch_captions` with its settings bound.
        tokenize: (texts, languages) -> ids and mask.
        batch_size: Pairs in a batch, of all processes together; or
        seconds_per_batch: sound in a batch with its padding, of all processes together.
        max_seconds: Longer clips are cropped.
        crop: Where they are cropped.
        shuffle: In another order every epoch.
        drop_last: Leave out batches that are not full.
        unique_clips: See `plan_epoch`.
        seed: Of order and crops.
        cache_gigabytes: Decoded sound kept in memory, of all workers of this process together.
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
        seed=seed,
        cache_gigabytes=cache_gigabytes / max(1, num_workers),
    )
    seconds = [min(each, max_seconds) for each in clip_seconds(clips, unknown=max_seconds)]

    def plan(epoch: int) -> list[list[Draw]]:
        return plan_epoch(
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

    batches = EpochBatches(plan, rank=rank, world_size=world_size)
    return CaptionLoader(dataset, batches, tokenize, num_workers=num_workers, pin_memory=pin_memory)


def clip_seconds(clips: Sequence[Clip], *, unknown: float) -> list[float]:
    """Length of each clip: the manifest's, else its file's header's, else `unknown`."""
    missing = sum(clip.duration is None for clip in clips)
    if missing:
        logger.warning("%d clips have no duration in the manifest; reading their headers", missing)
    return [max(_header_seconds(clip) or unknown, 1 / SAMPLE_RATE) for clip in clips]


def _header_seconds(clip: Clip) -> float | None:
    if clip.duration is not None:
        return clip.duration
    try:
        return audio_info(clip.audio).duration
    except (AudioError, OSError):
        return None  # it is reported when it is read


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C and SIGTERM reach a whole group of processes; the parent must be able to save before all end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(PATIENCE_SECONDS))
    # Status 0: to torch any other is a crash, which it would raise in the parent.
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
