"""Training examples: a clip's sound, cropped, one of its captions, its events in time if they are learned.

What is drawn (crop, caption) depends on seed, epoch and clip alone, not on workers, ranks or what was drawn
before, so that training which resumes goes on with what it would have seen. Each clip is decoded once while
the cache has room. A clip that cannot be decoded is replaced by another and reported once, also from worker
processes: batches carry the news to `CaptionDataset.note_bad`.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from audio_common import (
    AudioError,
    LengthBucketSampler,
    audio_info,
    load_audio,
    measure_audio,
    pad_waveforms,
)
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from aac_llm.config.sound import Channel
from aac_llm.data.manifest import Clip
from aac_llm.data.timestamps import TimedEvent, cut_events

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
LONG_SECONDS = 120.0
"""Seconds; of longer files only the crop is decoded, and it is not kept."""
MAX_REPLACEMENTS = 20
"""This many clips in a row that cannot be decoded end the training: the folder is gone, not a file broken."""


@dataclass(frozen=True)
class Example:
    """A clip's sound and one of its captions."""

    waveform: Tensor
    """`(samples,)` float, 16 kHz."""
    caption: str
    """One of the clip's captions, as the manifest has it."""
    number: int
    """Of the clip."""
    is_cropped: bool = False
    """Whether only a part of the sound is in the waveform."""
    bad: dict[int, str] = field(default_factory=dict)
    """Clips (numbers) that this one replaces, and why they could not be decoded."""
    timestamps: tuple[TimedEvent, ...] | None = None
    """Events of the waveform, with their times in it, perhaps none; None: not to be learned."""


@dataclass(frozen=True)
class News:
    """What a worker process found out about clips, by their numbers."""

    bad: dict[int, str] = field(default_factory=dict)
    cropped: set[int] = field(default_factory=set)
    clips: tuple[int, ...] = ()
    """Of the batch."""


class CaptionDataset(Dataset[Example]):
    """Clips with captions; items are asked for as (index, epoch).

    Args:
        clips: of a manifest.
        max_seconds: longer sound is cropped.
        captions: `one` of each clip an epoch, or `all`, each an example.
        random: crops and captions at random; False: the beginning, and the first caption.
        seed: of what is random.
        cache_gigabytes: decoded sound kept in memory.
        channel: what is heard of several channels.
        timestamps: share of the examples, of clips with events in time, that have them.

    Attributes:
        bad: number of each clip that could not be decoded, and why.
        cropped: numbers of the clips of which only a part was heard.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        max_seconds: float,
        captions: str = "one",
        random: bool = True,
        seed: int = 0,
        cache_gigabytes: float = 0.0,
        channel: Channel = "mean",
        timestamps: float = 0.0,
    ) -> None:
        self.timestamps = timestamps
        self.clips = list(clips)
        self.channel = channel
        self.max_samples = int(max_seconds * SAMPLE_RATE)
        self.random = random
        self.seed = seed
        self.pairs = [
            (number, caption)
            for number, clip in enumerate(self.clips)
            for caption in (range(len(clip.captions)) if captions == "all" else [None])
        ]
        self.bad: dict[int, str] = {}
        self.cropped: set[int] = set()
        self._bad_before: dict[int, str] = {}
        self._noted: set[int] = set()
        self._cache: dict[int, Tensor] = {}
        self._lengths: dict[int, float] = {}
        # Of each worker process: they do not share memory.
        self._room = int(cache_gigabytes * 2**30)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int] | int) -> Example:
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        # Not from a generator that goes on: what an example draws must not depend on what came before it.
        draw = np.random.default_rng((self.seed, epoch, index))
        number, caption = self.pairs[index]
        bad: dict[int, str] = {}
        for _ in range(MAX_REPLACEMENTS):
            # Drawn also where no crop is needed, so that the draws after it do not depend on max_seconds.
            share = float(draw.random()) if self.random else 0.0
            found = self._read(number, share)
            if found is not None:
                waveform, start = found
                texts = self.clips[number].captions
                if caption is None or caption >= len(texts):
                    caption = int(draw.integers(len(texts))) if self.random else 0
                events = self._draw_events(number, start, len(waveform) / SAMPLE_RATE, draw)
                return Example(waveform, texts[caption], number, number in self.cropped, bad, events)
            bad[number] = self.bad[number]
            # Another clip in its place: a batch must have its size on every rank.
            number = int(draw.integers(len(self.clips)))
        raise AudioError(
            f"{MAX_REPLACEMENTS} clips in a row cannot be decoded, the last being "
            f"{self.clips[number].audio}: {self.bad[number]}. Check the manifest: aac-llm prepare jsonl"
        )

    def can_read(self, index: int) -> bool:
        """Tell whether the example's own clip can be decoded; a validation clip must not be replaced."""
        number = self.pairs[index][0]
        readable = self._read(number, 0.0) is not None
        if not readable:
            self.note_bad({number: self.bad[number]})
        return readable

    def found_out(self) -> News:
        """Return what is known of all clips, also from before training was resumed."""
        bad = self._bad_before | self.bad
        return News({number: bad[number] for number in sorted(bad)}, set(self.cropped))

    def take_over(self, before: News) -> None:
        """Keep for the report what was known before training was resumed; bad clips are tried again."""
        self._bad_before |= before.bad
        self.cropped |= before.cropped

    def note(self, news: News) -> None:
        """Record what was found out about clips here or in a worker process."""
        self.note_bad(news.bad)
        self.cropped |= news.cropped

    def note_bad(self, bad: dict[int, str]) -> None:
        """Record clips (number: reason) that could not be decoded, here or in a worker; log new ones."""
        for number, reason in bad.items():
            if number not in self._noted:
                self._noted.add(number)
                self.bad[number] = reason
                logger.warning("left out: %s: %s", self.clips[number].audio, reason)

    @cached_property
    def durations(self) -> list[float]:
        """Seconds of each example after cropping, for batches of like length."""
        longest = self.max_samples / SAMPLE_RATE
        return [min(max(self.seconds[number], 0.01), longest) for number, _ in self.pairs]

    @cached_property
    def seconds(self) -> list[float]:
        """Length of each clip, by the manifest or the header: good enough to batch and to announce."""
        # Only headers are read, and only where the manifest does not say.
        longest = self.max_samples / SAMPLE_RATE
        return [clip.duration or _read_duration(clip, longest) for clip in self.clips]

    @property
    def num_cropped(self) -> int:
        """Clips of which only a part is heard, by their announced length or as it turned out."""
        longest = self.max_samples / SAMPLE_RATE
        announced = {number for number, seconds in enumerate(self.seconds) if seconds > longest}
        return len(announced | self.cropped)

    def _draw_events(
        self, number: int, start: float, seconds: float, draw: np.random.Generator
    ) -> tuple[TimedEvent, ...] | None:
        """Return the events of a part of a clip, if they are to be learned this time."""
        events = self.clips[number].timestamps
        if not self.timestamps or events is None:
            return None
        # Drawn last, so that crop and caption are those of a training without times.
        if self.random and draw.random() >= self.timestamps:
            return None
        return cut_events(events, start, start + seconds)

    def _read(self, number: int, share: float) -> tuple[Tensor, float] | None:
        """Read a clip, cropped so that `share` of what is left out is before, and return its start (s), too.

        Of a clip that cannot be decoded None.
        """
        if number in self.bad:
            return None
        try:
            waveform, start = self._crop(number, share)
            if not len(waveform):
                raise AudioError("it is empty")
        except (AudioError, OSError) as error:
            self.bad[number] = str(error)
            return None
        return waveform, start

    def _crop(self, number: int, share: float) -> tuple[Tensor, float]:
        longest, seconds = self.max_samples / SAMPLE_RATE, self._measured(number)
        # A podcast of an hour would fill the cache and take seconds to decode for one crop.
        if seconds > max(LONG_SECONDS, longest):
            self.cropped.add(number)
            offset = share * (seconds - longest)
            part = load_audio(self.clips[number].audio, offset=offset, duration=longest, channel=self.channel)
            return part, offset
        waveform = self._whole(number)
        if len(waveform) > self.max_samples:
            self.cropped.add(number)
        # Plus one, so that the last possible start is drawn as often as the others.
        start = int(share * (max(0, len(waveform) - self.max_samples) + 1))
        return waveform[start : start + self.max_samples], start / SAMPLE_RATE

    def _measured(self, number: int) -> float:
        # Neither manifests nor estimates are believed: a crop beyond the end would be no sound at all. What
        # seems to be short is decoded whole, which measures it.
        if number not in self._lengths:
            info = audio_info(self.clips[number].audio)
            if not info.is_exact and (info.duration or math.inf) > LONG_SECONDS:
                info = measure_audio(self.clips[number].audio)
            self._lengths[number] = info.duration or 0.0
        return self._lengths[number]

    def _whole(self, number: int) -> Tensor:
        if number in self._cache:
            return self._cache[number]
        # A header that says too little must not fill the memory: a FLAC of 89 kB may hold an hour. Of a file
        # that turns out to be longer only this beginning is known.
        most = max(LONG_SECONDS, self.max_samples / SAMPLE_RATE) + 1.0
        waveform = load_audio(self.clips[number].audio, duration=most, channel=self.channel)
        # First come, first kept: the order is new each epoch, so evicting the oldest would gain nothing.
        if waveform.nbytes <= self._room:
            self._room -= waveform.nbytes
            self._cache[number] = waveform
        return waveform


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of like length that give each item its epoch, so that worker processes draw the right one."""

    def __init__(self, sampler: LengthBucketSampler) -> None:
        self.sampler = sampler
        self.epoch = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        # Bound now: a prefetching loader goes on drawing after the epoch was set anew.
        return ([(index, epoch) for index in batch] for batch in self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides order, crops and captions."""
        self.epoch = epoch
        self.sampler.set_epoch(epoch)


class EpochLoader(DataLoader):
    """A DataLoader that transformers' Trainer can tell the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the batches."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


@dataclass(frozen=True)
class Collate:
    """Examples to the tensors of `CaptionModel.forward`, and news of the clips for the data set."""

    tokenize: Callable[[list[str]], Tensor]
    """Captions to labels: `CaptionModel.tokenize_captions`."""
    tokenize_timed: Callable[[list[tuple[TimedEvent, ...] | None]], Tensor] | None = None
    """Events with their times to labels: `CaptionModel.tokenize_timed`; None: they are not learned."""

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Return `waveforms (batch, samples)`, `lengths`, `labels (batch, tokens)`; `news` for `note`.

        Where times are learned `timed_labels (batch, tokens)`, too.
        """
        waveforms, lengths = pad_waveforms([example.waveform for example in examples])
        labels = self.tokenize([example.caption for example in examples])
        bad = {number: reason for example in examples for number, reason in example.bad.items()}
        cropped = {example.number for example in examples if example.is_cropped}
        news = News(bad, cropped, tuple(example.number for example in examples))
        batch = {"waveforms": waveforms, "lengths": lengths, "labels": labels, "news": news}
        if self.tokenize_timed is not None:
            batch["timed_labels"] = self.tokenize_timed([example.timestamps for example in examples])
        return batch


def make_loader(
    dataset: CaptionDataset,
    tokenize: Callable[[list[str]], Tensor],
    *,
    batch_size: int,
    shuffle: bool,
    seed: int = 0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    tokenize_timed: Callable[[list[tuple[TimedEvent, ...] | None]], Tensor] | None = None,
) -> EpochLoader:
    """Make a loader of batches of like length, of each this rank's share; see `Collate`."""
    sampler = LengthBucketSampler(
        dataset.durations,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    # New workers each epoch would lose their caches.
    context: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if num_workers else {}
    return EpochLoader(
        dataset,
        batch_sampler=EpochBatches(sampler),
        collate_fn=Collate(tokenize, tokenize_timed),
        num_workers=num_workers,
        worker_init_fn=_leave_signals_to_the_parent,
        generator=torch.Generator(),  # or each epoch would draw from the generator of dropout
        pin_memory=torch.cuda.is_available(),
        **context,
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Ignore Ctrl-C, which reaches a whole group of processes; the parent must save before all end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _read_duration(clip: Clip, otherwise: float) -> float:
    try:
        return audio_info(clip.audio).duration or otherwise
    except (AudioError, OSError):
        return otherwise
