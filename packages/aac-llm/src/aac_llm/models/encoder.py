"""The audio encoder that a configuration names: CED or Whisper's, both from sounds to tokens with a mask."""

from __future__ import annotations

from dataclasses import replace

from audio_common.ced import CED
from audio_common.config import PATCH_FRAMES
from audio_common.mel import HOP_LENGTH, SAMPLE_RATE
from audio_common.patches import NUM_ROWS

from aac_llm.config.model import ModelConfig
from aac_llm.models import whisper
from aac_llm.models.bridge import encoder_tokens
from aac_llm.models.whisper import WhisperEncoder

Encoder = CED | WhisperEncoder


def create_encoder(config: ModelConfig) -> Encoder:
    """Make the encoder with random weights."""
    return WhisperEncoder(config.whisper) if config.encoder_kind == "whisper" else CED(config.encoder)


def build_encoder(config: ModelConfig) -> tuple[ModelConfig, Encoder]:
    """Make the encoder with the weights that the configuration names, which then say its architecture."""
    if config.encoder_weights is None:
        return config, create_encoder(config)
    if config.encoder_kind == "whisper":
        other = WhisperEncoder.from_pretrained(config.encoder_weights, pad_seconds=config.whisper.pad_seconds)
        return replace(config, whisper=other.config), other
    wanted = config.encoder
    encoder = CED.from_pretrained(
        config.encoder_weights,
        mode=wanted.mode,
        drop_path=wanted.drop_path,
        time_patch_out=wanted.time_patch_out,
        freq_patch_out=wanted.freq_patch_out,
    )
    return replace(config, encoder=encoder.config), encoder


def token_seconds(config: ModelConfig) -> float:
    """Return the seconds of sound for each of the encoder's tokens (CED: a column of patches has four)."""
    if config.encoder_kind == "whisper":
        return whisper.TOKEN_SAMPLES / SAMPLE_RATE
    return PATCH_FRAMES * HOP_LENGTH / SAMPLE_RATE / NUM_ROWS


def count_encoder_tokens(num_samples: int, config: ModelConfig) -> int:
    """Return the number of tokens that the encoder makes of `num_samples` at 16 kHz, alone."""
    if config.encoder_kind == "whisper":
        return whisper.count_tokens(num_samples)
    return encoder_tokens(num_samples, config.encoder)
