"""What a training run draws from: its clips, and this process's share of each epoch's batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from audio_common.audio import AudioError, load_audio
from torch import Tensor

from ml_clap.config.train import TrainConfig
from ml_clap.data.batches import Batch, Tokenize
from ml_clap.data.enhancement import Sample, caption_length, epoch_captions, parallel_captions
from ml_clap.data.languages import resolve
from ml_clap.data.loader import CaptionLoader, make_loader, make_stream_loader
from ml_clap.data.manifest import Clip
from ml_clap.data.shards.reading import Place, ShardReader
from ml_clap.tables import count_of


class TrainingData:
    """The clips of a run, and this process's share of every batch.

    Args:
        config: The run's settings; `config.batch_size` pairs go to each process.
        clips: The training clips.
        tokenize: See `Collator`.
        places: Place in `clips` -> where the sound is, of clips in shards.
        rank: Number of this process.
        world_size: Number of processes.
        pin_memory: Page-lock batches, for copies to a GPU.

    Raises:
        ValueError: The clips lack what the settings need.
    """

    def __init__(
        self,
        config: TrainConfig,
        clips: list[Clip],
        tokenize: Tokenize,
        *,
        places: Mapping[int, Place] | None = None,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        data = config.data
        self.clips = clips
        self.batch_size = config.batch_size * world_size
        """Pairs that are compared with one another: of all processes together."""
        self._max_seconds = data.max_seconds
        self._channel = data.channel
        self._max_caption_length = data.max_caption_length
        self._source = resolve(data.source_language)
        self._further = tuple(resolve(language) for language in data.languages)
        self._groups = _label_groups(clips) if config.positives == "label" else None
        self._samples = self._samples_of_epochs(config)
        self._places = places or {}
        settings: dict[str, Any] = {
            "batch_size": self.batch_size,
            "max_seconds": data.max_seconds,
            "channel": data.channel,
            # An incomplete batch has fewer negatives; but a set smaller than a batch is one.
            "drop_last": len(self._samples(0)) >= self.batch_size,
            "unique_clips": data.unique_clips,
            "seed": config.seed,
            "cache_gigabytes": data.cache_gigabytes,
            "num_workers": data.num_workers,
            "rank": rank,
            "world_size": world_size,
            "pin_memory": pin_memory,
        }
        self.loader: CaptionLoader
        if self._places:
            settings |= {"streams": data.shard_streams, "buffer": data.shard_buffer}
            self.loader = make_stream_loader(clips, self._places, self._samples, tokenize, **settings)
        else:
            self.loader = make_loader(clips, self._samples, tokenize, **settings)

    def _samples_of_epochs(self, config: TrainConfig) -> Callable[[int], list[Sample]]:
        """Return epoch -> its samples."""
        data, languages = config.data, (self._source, *self._further)
        if config.multilingual == "pairs":
            return partial(
                _epoch_samples,
                self.clips,
                source_language=self._source,
                languages=self._further,
                rate=data.language_rate,
                rate_meaning=data.rate_meaning,
                seed=config.seed,
                max_caption_length=data.max_caption_length,
            )
        count = 1 if config.multilingual == "co_anchor" else None
        return partial(_parallel_samples, self.clips, languages, count=count, seed=config.seed)

    def epoch(self, epoch: int, *, skip: int) -> tuple[Iterator[Batch], int]:
        """Return the batches of an epoch after the first `skip`, and the number of all its batches."""
        self.loader.set_epoch(epoch, skip=skip)
        return iter(self.loader), len(self.loader)

    def num_batches(self, epoch: int) -> int:
        """Return the number of all batches of an epoch."""
        self.loader.set_epoch(epoch)
        return len(self.loader)

    def positives(self, clip_ids: Tensor) -> Tensor:
        """Return for each row `(batch,)` a number that matching rows share: of its clip, or of its label."""
        return clip_ids if self._groups is None else self._groups[clip_ids]

    def some_audio(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Give up to `count` clips spread over all: waveforms `(1, samples)`, lengths `(1,)`."""
        for source in self._some_sounds(min(count, len(self.clips))):
            try:
                waveform = load_audio(source, duration=self._max_seconds, channel=self._channel)
            except (AudioError, OSError):
                continue  # reported when training reads it
            yield waveform[None], torch.tensor([len(waveform)])

    def _some_sounds(self, count: int) -> Iterator[Path | bytes]:
        """Give files; or, as bytes, the first sounds of each shard, which are read soon."""
        if not self._places:
            for number in range(count):
                yield self.clips[number * len(self.clips) // count].audio
            return
        shards: dict[str, list[int]] = {}
        for clip, place in self._places.items():
            shards.setdefault(place.shard, []).append(clip)
        reader = ShardReader()
        for members in shards.values():
            some = members[: -(-count // len(shards))]
            yield from reader.fetch([(clip, self._places[clip]) for clip in some]).sounds.values()
        reader.close()

    def texts(self) -> list[tuple[str, str]]:
        """Return every (caption, language) that training can meet, once, in a fixed order."""
        found = {
            (text, language)
            for clip in self.clips
            for language in (self._source, *self._further)
            for text in clip.captions.get(language, ())
        }
        return sorted(found)

    def notices(self) -> list[str]:
        """Say what of the data is cut or not used, each with the setting that changes it."""
        clips, languages = self.clips, (self._source, *self._further)
        long = sum((clip.duration or 0.0) > self._max_seconds for clip in clips)
        unused: Counter[str] = Counter()
        for clip in clips:
            unused.update({code: len(t) for code, t in clip.captions.items() if code not in languages})
        bare = sum(not any(clip.captions.get(code) for code in languages) for clip in clips)
        words = self._max_caption_length
        wordy = sum(
            words is not None and caption_length(text, code) > words
            for clip in clips
            for code in self._further
            for text in clip.captions.get(code, ())
        )
        found = {
            f"{long:,} of {count_of(len(clips), 'clip')} are longer than {self._max_seconds:g} s: a part of "
            "each is used, another one in each epoch (--data.max_seconds)": long,
            f"{count_of(unused.total(), 'caption')} in {', '.join(sorted(unused)[:5])} not used "
            "(--data.languages)": unused.total(),
            f"{count_of(bare, 'clip')} without a caption in {', '.join(languages)} not used "
            "(--data.languages)": bare,
            f"{count_of(wordy, 'caption')} of more than {words} words not used "
            "(--data.max_caption_length)": wordy,
        }
        return [notice for notice, number in found.items() if number]

    def summary(self) -> str:
        """Say in a line how much there is."""
        languages = ", ".join((self._source, *self._further))
        return (
            f"training: {len(self.clips):,} clips, {len(self._samples(0)):,} captions in the first epoch "
            f"({languages}), {len(self.loader):,} batches"
        )


def _epoch_samples(clips: Sequence[Clip], epoch: int, **settings: object) -> list[Sample]:
    return epoch_captions(clips, epoch=epoch, **settings)  # type: ignore[arg-type]


def _parallel_samples(
    clips: Sequence[Clip], languages: Sequence[str], epoch: int, *, count: int | None, seed: int
) -> list[Sample]:
    return parallel_captions(
        clips, source_language=languages[0], languages=languages[1:], count=count, seed=seed, epoch=epoch
    )


def _label_groups(clips: Sequence[Clip]) -> Tensor:
    """Return `(clips,)` the number of each clip's label."""
    for clip in clips:
        if clip.label is None:
            raise ValueError(f"positives: label needs a label of every clip, and {clip.id} has none")
    numbers = {label: number for number, label in enumerate(sorted({str(clip.label) for clip in clips}))}
    return torch.tensor([numbers[str(clip.label)] for clip in clips])
