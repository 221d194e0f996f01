"""What training reads: the clips, the batches of each epoch, and the texts of a frozen text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from audio_common.audio import AudioError, load_audio
from torch import Tensor

from ml_clap.config.train import TrainConfig
from ml_clap.data.batches import Batch
from ml_clap.data.dataset import make_loader
from ml_clap.data.enhancement import Sample, epoch_captions
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip, read_manifest
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.tokenizer import TextPreparer


class TrainingData:
    """The clips of a run, and this process's share of every batch.

    Args:
        config: The run's settings.
        clips: To train on.
        tokenize: Of the model.
        accelerator: Knows the processes.

    Raises:
        ValueError: The clips lack what the settings need.
    """

    def __init__(
        self, config: TrainConfig, clips: list[Clip], tokenize: TextPreparer, accelerator: Accelerator
    ) -> None:
        data = config.data
        self.clips = clips
        self._max_seconds = data.max_seconds
        self._source = resolve(data.source_language)
        self._further = tuple(resolve(language) for language in data.languages)
        self._groups = _positive_groups(self.clips) if config.positives == "label" else None
        self._samples = partial(
            _epoch_samples,
            self.clips,
            source_language=self._source,
            languages=self._further,
            rate=data.language_rate,
            rate_meaning=data.rate_meaning,
            seed=config.seed,
            max_caption_length=data.max_caption_length,
        )
        self.loader = make_loader(
            self.clips,
            self._samples,
            tokenize,
            batch_size=config.batch_size,
            max_seconds=data.max_seconds,
            # An incomplete batch has fewer negatives; but a set smaller than a batch is one.
            drop_last=len(self._samples(0)) >= config.batch_size,
            unique_clips=data.unique_clips,
            seed=config.seed,
            cache_gigabytes=data.cache_gigabytes,
            num_workers=data.num_workers,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            pin_memory=accelerator.device.type == "cuda",
        )

    def epoch(self, epoch: int, *, skip: int) -> tuple[Iterator[Batch], int]:
        """The batches of an epoch after the first `skip`, and the number of all its batches."""
        self.loader.set_epoch(epoch, skip=skip)
        return iter(self.loader), len(self.loader)

    def positives(self, clip_ids: Tensor) -> Tensor:
        """For each row `(batch,)` the number that rows which match it share: of its clip, or of its label."""
        return clip_ids if self._groups is None else self._groups[clip_ids]

    def some_sounds(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Up to `count` clips spread over all, each as a batch: waveforms `(1, samples)`, lengths `(1,)`."""
        for number in range(min(count, len(self.clips))):
            clip = self.clips[number * len(self.clips) // min(count, len(self.clips))]
            try:
                waveform = load_audio(clip.audio, duration=self._max_seconds)
            except (AudioError, OSError):
                continue  # it is reported when it is read for training
            yield waveform[None], torch.tensor([len(waveform)])

    def texts(self) -> list[tuple[str, str]]:
        """Every (caption, language) that training can meet, once, in a fixed order."""
        found = {
            (text, language)
            for clip in self.clips
            for language in (self._source, *self._further)
            for text in clip.captions.get(language, ())
        }
        return sorted(found)

    def summary(self) -> str:
        """How much there is, in a line."""
        languages = ", ".join((self._source, *self._further))
        return (
            f"training: {len(self.clips):,} clips, {len(self._samples(0)):,} captions in the first epoch "
            f"({languages}), {len(self.loader):,} batches"
        )


class TextTable:
    """The text encoder's vectors of all captions, computed once; for an encoder that does not change.

    Args:
        model: Its tokenizer and text encoder.
        texts: (caption, language), in an order that is the same in every start of a run: a vector's last bit
            depends on the batch that it was computed in.
    """

    def __init__(self, model: MLCLAP, texts: Sequence[tuple[str, str]], batch_size: int = 256) -> None:
        self._places: dict[tuple[int, ...], int] = {}
        parts = []
        for first in range(0, len(texts), batch_size):
            batch = texts[first : first + batch_size]
            ids, mask = model.tokenize([text for text, _ in batch], [language for _, language in batch])
            for row in range(len(batch)):
                self._places[_key(ids[row], mask[row])] = first + row
            with torch.no_grad():
                parts.append(model.text_encoder(ids.to(model.device), mask.to(model.device)))
        self._vectors = torch.cat(parts)

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors `(batch, dim)` of captions that were given, by their tokens `(batch, length)`."""
        places = [self._places[_key(ids[row], mask[row])] for row in range(len(ids))]
        return self._vectors[places]


def read_clips(manifests: Sequence[Path], splits: Sequence[str]) -> list[Clip]:
    """The clips of some splits of some manifests; of all splits where none is named.

    Raises:
        ManifestError: A manifest cannot be used.
        ValueError: No manifest has one of the splits.
    """
    clips = [clip for manifest in manifests for clip in read_manifest(manifest)]
    there = {clip.split for clip in clips}
    missing = [split for split in splits if split not in there] if clips else []
    if missing:
        named = ", ".join(sorted(split or "(none)" for split in there))
        raise ValueError(f"no clip of {', '.join(map(str, manifests))} is of {missing}; there are {named}")
    return [clip for clip in clips if not splits or clip.split in splits]


def _epoch_samples(clips: Sequence[Clip], epoch: int, **settings: object) -> list[Sample]:
    return epoch_captions(clips, epoch=epoch, **settings)  # type: ignore[arg-type]


def _positive_groups(clips: Sequence[Clip]) -> Tensor:
    """`(clips,)` number of each clip's label."""
    for clip in clips:
        if clip.label is None:
            raise ValueError(f"positives: label needs a label of every clip, and {clip.id} has none")
    numbers = {label: number for number, label in enumerate(sorted({str(clip.label) for clip in clips}))}
    return torch.tensor([numbers[str(clip.label)] for clip in clips])


def _key(ids: Tensor, mask: Tensor) -> tuple[int, ...]:
    return tuple(ids[mask].tolist())
