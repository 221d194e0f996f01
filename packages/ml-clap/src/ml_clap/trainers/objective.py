"""What an update minimizes: the loss of a batch that all processes share."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from audio_common.augment import SpecAugment
from torch import Tensor, nn

from ml_clap.config.train import AugmentConfig, TrainConfig
from ml_clap.data.batches import Batch
from ml_clap.data.training_data import TrainingData
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.augmentation import augment_waveforms, replace_tokens
from ml_clap.trainers.combined_loss import Compare, co_anchor_loss, nested, one_to_k_loss
from ml_clap.trainers.gradient_caching import backward_in_chunks
from ml_clap.trainers.loss import (
    contrastive_loss,
    embedding_regularizer,
    gather_with_gradients,
    sigmoid_loss,
)
from ml_clap.trainers.processes import TrainingError, is_shared_out, random_seed
from ml_clap.trainers.text_table import TextTable


class Inputs(NamedTuple):
    """What the towers take of a batch; it has `texts a clip` rows of text for each of audio."""

    waveforms: Tensor
    """`(batch, samples)` at 16 kHz."""
    lengths: Tensor
    """`(batch,)` samples of each clip."""
    ids: Tensor
    """`(texts, length)` token ids, those of a clip one after another."""
    mask: Tensor
    """`(texts, length)` bool."""
    text_features: Tensor | None
    """`(texts, text dim)` of a text encoder that ran before; None: it runs on the tokens."""

    def split(self, size: int) -> list[Inputs]:
        """Return parts of `size` clips, with their texts."""
        texts = size * (len(self.ids) // len(self.waveforms))
        features = self.text_features
        parts = -(-len(self.waveforms) // size)
        return [
            Inputs(*each)
            for each in zip(
                self.waveforms.split(size),
                self.lengths.split(size),
                self.ids.split(texts),
                self.mask.split(texts),
                [None] * parts if features is None else features.split(texts),
                strict=True,
            )
        ]


class Towers(nn.Module):
    """The model as one forward pass, which is what DistributedDataParallel and FSDP need.

    Args:
        model: To train.
        augment: What is masked or replaced at random.
        dtype: What to compute in by autocast; None: as accelerate wraps it, or in float32.
    """

    def __init__(self, model: MLCLAP, augment: AugmentConfig, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self._no_split_modules = find_layers(model)  # accelerate gives each of these to FSDP by itself
        self.spec_augment = SpecAugment(
            time_masks=augment.time_masks,
            time_width=augment.time_mask_frames,
            freq_masks=augment.freq_masks,
            freq_width=augment.freq_mask_bins,
        )
        self.token_noise = augment.token_noise
        self.pieces = torch.tensor(model.text_encoder.tokenizer.piece_ids()) if augment.token_noise else None

    def forward(
        self, waveforms: Tensor, lengths: Tensor, ids: Tensor, mask: Tensor, text_features: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embed what `Inputs` describes.

        Returns:
            Audio `(batch, embed_dim)`, texts `(batch, texts a clip, embed_dim)`, and `(2,)`: temperature and
            bias of the similarities.
        """
        # The weights stay in float32, and so do samples, of which bfloat16 would make another spectrogram.
        # Without a cache, or bfloat16 copies would outlive the layers that are gathered.
        with self._autocast(waveforms.device.type):
            audio = self.model.embed_audio(waveforms, lengths, self.spec_augment)
            if text_features is None:
                texts = self.model.embed_tokens(self._with_noise(ids, mask), mask)
            else:
                texts = self.model.project_text(text_features)
        scales = torch.stack([self.model.temperature, self.model.bias])
        return audio, texts.unflatten(0, (len(audio), -1)), scales

    def _autocast(self, device: str) -> AbstractContextManager[None]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device, dtype=self.dtype, cache_enabled=False)

    def _with_noise(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self.pieces is None:
            return ids
        return replace_tokens(ids, mask, share=self.token_noise, pieces=self.pieces)


def find_layers(model: MLCLAP) -> list[str]:
    """Return the names of the classes of both encoders' layers: each layer is gathered by itself."""
    stacks = (
        max((each for each in encoder.modules() if isinstance(each, nn.ModuleList)), key=len, default=())
        for encoder in (model.audio_encoder, model.text_encoder)
    )
    return sorted({type(layer).__name__ for layers in stacks for layer in layers})


def batch_loss(config: TrainConfig, audio: Tensor, texts: Tensor, scales: Tensor, ids: Tensor) -> Tensor:
    """Return the loss that `config` describes, of a whole batch.

    Args:
        config: The run's settings.
        audio: `(batch, dim)`.
        texts: `(batch, texts a clip, dim)`.
        scales: `(2,)`: temperature and bias.
        ids: `(batch,)`, the same number where rows match.
    """
    temperature, bias = scales.unbind()
    compare: Compare = partial(_compare, config, temperature, bias)
    if config.matryoshka_dims:
        compare = nested(compare, config.matryoshka_dims)
    is_anchored = config.multilingual == "co_anchor"
    loss = (co_anchor_loss if is_anchored else one_to_k_loss)(compare, audio, texts, ids)
    if config.embedding_regularization:
        parts = [embedding_regularizer(audio, text) for text in texts.unbind(dim=1)]
        loss = loss + torch.stack(parts).mean()
    return loss


def _compare(
    config: TrainConfig,
    temperature: Tensor,
    bias: Tensor,
    one: Tensor,
    other: Tensor,
    ids: Tensor,
    other_ids: Tensor,
) -> Tensor:
    if config.loss == "sigmoid":
        return sigmoid_loss(one, other, temperature, bias, ids, other_ids)
    return contrastive_loss(one, other, temperature, ids, other_ids)


@dataclass(frozen=True)
class Objective:
    """The loss of a batch, the same number on every process."""

    towers: nn.Module
    """`Towers`, as accelerate wraps them."""
    config: TrainConfig
    data: TrainingData
    accelerator: Accelerator
    text_table: TextTable | None = None

    def __call__(self, batch: Batch, step: int) -> Tensor:
        """Return the loss, a scalar with gradients; `step` is the number of the update.

        Raises:
            TrainingError: The loss is not finite; names the clips.
        """
        return self._loss(batch, step, *self.towers(*self._inputs(batch, step)))

    def backward(
        self,
        batch: Batch,
        step: int,
        backward: Callable[[Tensor], None],
        synced: Callable[[bool], AbstractContextManager[None]],
    ) -> float:
        """Add the gradients of a batch to the weights', and return its loss.

        Args:
            batch: Of this process.
            step: Number of the update.
            backward: Goes back through the graph of a scalar.
            synced: See `backward_in_chunks`.

        Raises:
            TrainingError: The loss is not finite; names the clips.
        """
        if self.config.gradient_cache is None:
            with synced(True):
                loss = self(batch, step)
                backward(loss)
            return loss.item()
        chunks = self._inputs(batch, step).split(self.config.gradient_cache)
        loss_of = partial(self._loss, batch, step)
        idle = self._most_chunks(len(chunks)) - len(chunks)
        return backward_in_chunks(
            lambda chunk: self.towers(*chunk), chunks, loss_of, backward, synced, idle=idle
        ).item()

    def _most_chunks(self, count: int) -> int:
        """Return how many chunks the process with the most has, where all must run equally many."""
        if not is_shared_out(self.accelerator):
            return count
        return max(gather_object([count]))

    def _inputs(self, batch: Batch, step: int) -> Inputs:
        ids, mask = batch.text_ids, batch.text_mask
        features = None if self.text_table is None else self.text_table(ids, mask)
        return Inputs(self._augment(batch, step), batch.lengths, ids, mask, features)

    def _loss(self, batch: Batch, step: int, audio: Tensor, texts: Tensor, scales: Tensor) -> Tensor:
        clips = self.data.positives(batch.clip_ids).to(audio.device)
        # Every process computes the loss of the whole batch: its rows alone would have fewer negatives.
        all_audio, all_texts, all_clips = (gather_with_gradients(rows) for rows in (audio, texts, clips))
        if self.config.positives == "none":
            all_clips = torch.arange(len(all_clips), device=all_clips.device)
        loss = batch_loss(self.config, all_audio, all_texts, scales, all_clips)
        if not math.isfinite(loss.item()):
            is_bad = ~(audio.isfinite().all(dim=1) & texts.isfinite().flatten(1).all(dim=1)).cpu()
            clip_ids = batch.clip_ids[is_bad] if is_bad.any() else batch.clip_ids
            raise self.not_finite("the loss", loss.item(), clip_ids, step)
        return loss

    def not_finite(self, what: str, value: float, clip_ids: Tensor, step: int) -> TrainingError:
        """Return the error that names the clips to blame, of all processes."""
        names = gather_object([self.data.clips[clip].id for clip in clip_ids.tolist()])
        listed = ", ".join(sorted(set(names))[:8]) + (", ..." if len(set(names)) > 8 else "")
        return TrainingError(
            f"{what} is {value} at step {step}, with clips {listed}; the weights have not taken this update. "
            "Look at these clips, lower learning_rate or max_grad_norm, or use bf16 or fp32 instead of fp16; "
            "the same command continues from the last checkpoint"
        )

    def _augment(self, batch: Batch, step: int) -> Tensor:
        augment = self.config.augment
        if not augment.gain_db and not augment.time_shift:
            return batch.waveforms
        # Seeded by clip, so that it does not matter which process has a row.
        seeds = [
            random_seed(self.config.seed, step, clip, repeat)
            for clip, repeat in zip(batch.clip_ids.tolist(), batch.repeats.tolist(), strict=True)
        ]
        return augment_waveforms(
            batch.waveforms,
            batch.lengths,
            gain_db=augment.gain_db,
            time_shift=augment.time_shift,
            generators=[torch.Generator().manual_seed(seed) for seed in seeds],
        )
