"""Run a captioner over many sounds: batches of like length, files decoded ahead while the model works.

The caption of a sound depends on that sound alone, so neither order nor batches matter: the encoder, the
bridge and the decoder see no padding (see `captioner_model.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from audio_common.batch import pad_waveforms
from audio_common.prefetch import BadFile, BatchLimits, batch_by_length, decode_ahead
from audio_common.workers import DecodeLimits
from peft.tuners.lora import LoraLayer
from torch import Tensor

from aac_llm.config.caption import GenerationConfig
from aac_llm.config.sound import Channel
from aac_llm.data.predictions import Candidate
from aac_llm.models.captioner_model import SAMPLE_RATE, CaptionModel
from aac_llm.models.decoder import DTYPES, Quantization

LONGEST_SECONDS = 10**6
"""Sounds of this length fit into the context of any decoder that names a limit."""


def load_for_inference(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    decoder: str | None = None,
    quantization: Quantization | None = None,
    channel: Channel | None = None,
) -> CaptionModel:
    """Load a captioner, its adapters merged into the weights where that loses nothing.

    Args:
        source: folder, run folder of a training, or hub id.
        device: `auto` is the first GPU if there is one, else the CPU.
        dtype: of the model; None or `auto`: bfloat16 on a GPU, float32 elsewhere.
        decoder: folder or hub id of the language model, where it is not the one that the model names.
        quantization: `8bit`, `4bit` or `none`; None: as the model says.
        channel: what is heard of several channels; None: as the model was trained.
    """
    device = choose_device(device)
    model = CaptionModel.from_pretrained(
        source, device=device, dtype=choose_dtype(dtype, device), decoder=decoder, quantization=quantization
    )
    model.channel = channel or model.channel
    merge_adapters(model)
    return model


def choose_device(device: str) -> str:
    """Return the device by its name; `auto` is the first GPU if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def choose_dtype(dtype: str | torch.dtype | None, device: str) -> torch.dtype:
    """Return the number format by its name; `auto` or None: bfloat16 on a GPU, float32 elsewhere."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None or dtype == "auto":
        return torch.float32 if device.startswith("cpu") else torch.bfloat16
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be auto or one of {', '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]


def merge_adapters(model: CaptionModel) -> None:
    """Add low-rank updates to the weights that they update, which saves their time in every layer.

    Float32 weights only: in bfloat16 most of a small update would be lost in rounding.
    """
    for layer in model.modules():
        # peft merges in place and keeps the adapters, which then are skipped.
        if isinstance(layer, LoraLayer) and layer.get_base_layer().weight.dtype == torch.float32:
            layer.merge()


def longest_seconds(model: CaptionModel, config: GenerationConfig) -> float:
    """Return the longest sound, in whole seconds, whose caption fits into the decoder's context."""
    context = getattr(model.decoder.config, "max_position_embeddings", None)
    if context is None:
        return math.inf
    # Prompt, sound and caption share the decoder's positions.
    room = context - config.token_limit - len(model.prompt)
    # How many tokens a sound takes depends on windows and chunks, so search instead of inverting.
    low, high = 0, 1
    while high < LONGEST_SECONDS and model.token_budget(high, timestamps=config.timestamps) <= room:
        low, high = high, high * 2
    while high - low > 1:  # low fits and high does not
        middle = (low + high) // 2
        fits = model.token_budget(middle, timestamps=config.timestamps) <= room
        low, high = (middle, high) if fits else (low, middle)
    return math.inf if high >= LONGEST_SECONDS else float(low)


def caption_batch(
    model: CaptionModel, waveforms: Sequence[Tensor], config: GenerationConfig
) -> list[tuple[Candidate, ...]]:
    """Caption waveforms (samples,) at 16 kHz at once; candidates of each, best first."""
    padded, lengths = pad_waveforms(waveforms)
    with torch.inference_mode():
        # Encoded once, also where sampling draws many captions of it.
        acoustic = model.encode_audio(padded.to(model.device), lengths.to(model.device))
        return model.generate(acoustic=acoustic, config=config)


def caption_waveforms(
    model: CaptionModel, waveforms: Sequence[Tensor], config: GenerationConfig, limits: BatchLimits
) -> Iterator[tuple[int, tuple[Candidate, ...]]]:
    """Yield the number of each waveform and its candidates, longest first."""
    lengths = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
    for batch in batch_by_length(lengths, limits):
        found = caption_batch(model, [waveforms[number] for number in batch], config)
        yield from zip(batch, found, strict=True)


def caption_files(
    model: CaptionModel,
    paths: Sequence[Path],
    config: GenerationConfig,
    *,
    limits: BatchLimits,
    num_workers: int = 1,
    bad_files: list[BadFile] | None,
    complaints: list[BadFile] | None = None,
    decode_limits: DecodeLimits | None = None,
) -> Iterator[dict[int, tuple[Candidate, ...]]]:
    """Yield the candidates of each file, best first, by its number: a batch at a time, longest first.

    Args:
        model: in evaluation mode.
        paths: sound files.
        config: of generation.
        limits: how much sound is captioned at once.
        num_workers: threads, or with `decode_limits` processes, that decode files.
        bad_files: gets those that could not be read or are too long; all others are captioned. None: the
            first such file is an error.
        complaints: gets what is odd about files that are captioned nevertheless.
        decode_limits: of time and memory, for each file.

    Raises:
        AudioError: a file cannot be captioned, and `bad_files` is None.
    """
    model.check_timestamps(config)
    longest = longest_seconds(model, config)
    batches = decode_ahead(
        paths,
        limits,
        num_workers=num_workers,
        channel=model.channel,
        bad_files=bad_files,
        refuse=lambda seconds: too_long(seconds, longest) if seconds > longest else None,
        # So that a sound whose header does not tell is not decoded whole before it is refused.
        max_seconds=None if math.isinf(longest) else longest,
        complaints=complaints,
        decode_limits=decode_limits,
    )
    for indices, waveforms in batches:
        yield dict(zip(indices, caption_batch(model, waveforms, config), strict=True))


def too_long(seconds: float, max_seconds: float) -> str:
    """Say why a sound is not captioned in one go."""
    return (
        f"{seconds:.1f} s are more than the {max_seconds:.1f} s that fit into the decoder's context; "
        "caption it window by window (--segments)"
    )
