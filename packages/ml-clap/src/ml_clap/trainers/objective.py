"""What an update minimizes: the loss of a batch that all processes share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from audio_common.augment import SpecAugment
from torch import Tensor, nn

from ml_clap.config.train import AugmentConfig, TrainConfig
from ml_clap.data.batches import Batch
from ml_clap.data.training_data import TrainingData
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.augmentation import augment_waveforms
from ml_clap.trainers.loss import contrastive_loss, embedding_regularizer, gather_with_gradients
from ml_clap.trainers.processes import TrainingError, random_seed
from ml_clap.trainers.text_table import TextTable


class Towers(nn.Module):
    """The model as one forward pass, which is what DistributedDataParallel needs."""

    def __init__(self, model: MLCLAP, augment: AugmentConfig) -> None:
        super().__init__()
        self.model = model
        self.spec_augment = SpecAugment(
            time_masks=augment.time_masks,
            time_width=augment.time_mask_frames,
            freq_masks=augment.freq_masks,
            freq_width=augment.freq_mask_bins,
        )

    def forward(
        self, waveforms: Tensor, lengths: Tensor, ids: Tensor, mask: Tensor, text_features: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return audio and text embeddings `(batch, embed_dim)`, and the temperature.

        Args:
            waveforms: `(batch, samples)` at 16 kHz.
            lengths: `(batch,)` samples of each clip.
            ids: `(batch, length)` token ids.
            mask: `(batch, length)` bool.
            text_features: `(batch, text dim)` of a text encoder that ran before; None: run it on the tokens.
        """
        audio = self.model.embed_audio(waveforms, lengths, self.spec_augment)
        if text_features is None:
            return audio, self.model.embed_tokens(ids, mask), self.model.temperature
        return audio, self.model.project_text(text_features), self.model.temperature


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
        waveforms = self._augment(batch, step)
        ids, mask = batch.text_ids, batch.text_mask
        features = None if self.text_table is None else self.text_table(ids, mask)
        audio, text, temperature = self.towers(waveforms, batch.lengths, ids, mask, features)
        clips = self.data.positives(batch.clip_ids).to(audio.device)
        # Every process computes the loss of the whole batch: its rows alone would have fewer negatives.
        all_audio, all_text, all_clips = (gather_with_gradients(rows) for rows in (audio, text, clips))
        matching = None if self.config.positives == "none" else all_clips
        loss = contrastive_loss(all_audio, all_text, temperature, matching)
        if self.config.embedding_regularization:
            loss = loss + embedding_regularizer(all_audio, all_text)
        if not math.isfinite(loss.item()):
            is_bad = ~(audio.isfinite().all(dim=1) & text.isfinite().all(dim=1)).cpu()
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
