"""Where training starts: a model from scratch, from pretrained encoders, or from a trained model.

CED normalizes its spectrograms by a BatchNorm over mel bands. In training its statistics stay fixed here,
those of the pretrained weights or, from scratch, those measured once on the training clips: statistics of a
batch would make a clip's embedding depend on its neighbours and on how a batch is spread over processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from audio_common.ced import CED
from torch import Tensor

from ml_clap.config.model import ModelConfig
from ml_clap.models.licence import say_licence_of_weights
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import build_empty
from ml_clap.models.text_training import add_adapters, train_last_layers

_TRAINING_ONLY = ("drop_path", "time_patch_out", "freq_patch_out")


def make_model(config: ModelConfig, init_from: str | None, *, gradient_checkpointing: bool = False) -> MLCLAP:
    """Return the model that `TrainConfig.model` and `TrainConfig.init_from` describe, BatchNorm fixed."""
    model = MLCLAP(config) if init_from is None else _start_from(init_from, config)
    say_licence_of_weights(init_from or "the model", model.licence)
    model.audio_encoder.freeze_batch_norm()
    if config.text_layers is not None or config.text_lora_rank:
        _choose_text_weights(model, config)
        model.text_has_source = init_from is None
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return model


def is_from_scratch(config: ModelConfig, init_from: str | None) -> bool:
    """Tell whether the audio encoder starts with random weights, and so with no statistics of sounds."""
    return init_from is None and config.audio_weights is None


@torch.no_grad()
def measure_mel_statistics(encoder: CED, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
    """Set the mean and variance of the mel BatchNorm to those of all frames of some clips.

    Args:
        encoder: Its front end makes the frames.
        batches: Waveforms `(batch, samples)` with lengths `(batch,)`.

    Returns:
        Number of frames. Without any the encoder is left as it is.
    """
    bins = encoder.init_bn.num_features
    count, total, squares = 0, torch.zeros(bins, dtype=torch.float64), torch.zeros(bins, dtype=torch.float64)
    for waveforms, lengths in batches:
        frames = _mel_frames(encoder, waveforms, lengths).double()  # (frames, bins)
        count += len(frames)
        total += frames.sum(dim=0)
        squares += frames.square().sum(dim=0)
    mean_buffer, variance_buffer = encoder.init_bn.running_mean, encoder.init_bn.running_var
    if count and mean_buffer is not None and variance_buffer is not None:
        mean = total / count
        mean_buffer.copy_(mean)
        variance_buffer.copy_(squares / count - mean.square())
    return count


def _mel_frames(encoder: CED, waveforms: Tensor, lengths: Tensor) -> Tensor:
    if encoder.config.mode == "masked":
        frames, _ = encoder.front_end(waveforms, lengths.tolist())
        return frames
    return encoder.front_end(waveforms).flatten(0, 1)


def _choose_text_weights(model: MLCLAP, config: ModelConfig) -> None:
    encoder = model.text_encoder.encoder
    if config.text_layers is not None:
        train_last_layers(encoder, config.text_layers)
    else:
        add_adapters(encoder, config.text_lora_rank)


def _start_from(source: str, config: ModelConfig) -> MLCLAP:
    """Load a trained model, with those settings of `config` that concern training only."""
    trained = MLCLAP.from_pretrained(source)
    audio = replace(trained.config.audio, **{name: getattr(config.audio, name) for name in _TRAINING_ONLY})
    settings = replace(
        trained.config,
        audio=audio,
        freeze_audio=config.freeze_audio,
        freeze_text=config.freeze_text,
        text_layers=config.text_layers,
        text_lora_rank=config.text_lora_rank,
        similarity_bias=config.similarity_bias,
    )
    text_encoder = trained.text_encoder.requires_grad_(True)
    model = build_empty(lambda: MLCLAP(settings, audio_encoder=CED(audio), text_encoder=text_encoder))
    state = trained.export_state()
    if config.similarity_bias is None:
        state.pop("similarity_bias", None)
    else:
        state.setdefault("similarity_bias", torch.tensor(config.similarity_bias))
    model.load_state(state)
    return model
