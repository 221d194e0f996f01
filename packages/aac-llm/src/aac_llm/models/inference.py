"""Run a captioner over many sounds: batches of like length, files decoded ahead while the model works.

The caption of a sound depends on that sound alone, so neither order nor batches matter: the encoder, the
bridge and the decoder see no padding (see `captioner_model.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from audio_common.audio import AudioError
from audio_common.batch import pad_waveforms
from audio_common.prefetch import BadFile, BatchLimits, batch_ahead, batch_by_length, decode_ahead
from audio_common.workers import DecodeLimits
from peft.tuners.lora import LoraLayer
from torch import Tensor

from aac_llm.config.caption import GenerationConfig
from aac_llm.config.sound import Channel
from aac_llm.data.predictions import NO_SOUND, Candidate
from aac_llm.models.captioner_model import SAMPLE_RATE, CaptionModel
from aac_llm.models.decoder import DTYPES, Quantization
from aac_llm.models.int8 import to_int8
from aac_llm.models.long_sound import WindowPlan, plan_listening
from aac_llm.models.silence import is_silent
from aac_llm.models.windows import Segment, read_windows

BATCH_SIZE = 32
"""Sounds captioned at once."""
LONGEST_SECONDS = 10**6
"""Sounds of this length fit into the context of any decoder that names a limit."""
LONGER = "longer than the model was trained on"
MORE_THAN_ALLOWED = "that are allowed; cut it, or allow longer sounds"
"""How `audio_common` ends its message of a sound whose header did not tell that it is too long."""


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
        quantization: `8bit`, `4bit` or `none`; None: as the model says. `8bit` on a CPU is `int8.py`'s, of
            float32 weights; all else is bitsandbytes', on a GPU.
        channel: what is heard of several channels; None: as the model was trained.

    Raises:
        ValueError: 8 bits on a CPU of weights that are not float32.
    """
    device = choose_device(device)
    in_int8 = quantization == "8bit" and device.startswith("cpu")
    chosen = choose_dtype(dtype, device)
    if in_int8 and chosen != torch.float32:
        raise ValueError(f"quantization 8bit on a CPU is made of float32 weights: leave dtype {dtype} out")
    model = CaptionModel.from_pretrained(
        source,
        device=device,
        dtype=chosen,
        decoder=decoder,
        quantization="none" if in_int8 else quantization,
    )
    model.channel = channel or model.channel
    merge_adapters(model)
    if in_int8:
        to_int8(model.decoder)
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


def listening_plan(model: CaptionModel, config: GenerationConfig, max_seconds: float | None) -> WindowPlan:
    """Choose how sound is heard: in one go, or window by window where it is long.

    Args:
        model: it may know what it was trained on.
        config: of generation.
        max_seconds: instead of what the model was trained on.
    """
    wanted = model.trained_seconds if max_seconds is None else max_seconds
    return plan_listening(longest_seconds(model, config), wanted)


def caption_batch(
    model: CaptionModel, waveforms: Sequence[Tensor], config: GenerationConfig
) -> list[tuple[Candidate, ...]]:
    """Caption waveforms (samples,) at 16 kHz at once; of each candidates, best first, or `NO_SOUND`."""
    found: list[tuple[Candidate, ...]] = [(Candidate(NO_SOUND, 0.0),)] * len(waveforms)
    heard = [number for number, waveform in enumerate(waveforms) if not is_silent(waveform)]
    if not heard:
        return found
    padded, lengths = pad_waveforms([waveforms[number] for number in heard])
    with torch.inference_mode():
        # Encoded once, also where sampling draws many captions of it.
        acoustic = model.encode_audio(padded.to(model.device), lengths.to(model.device))
        made = model.generate(acoustic=acoustic, config=config)
    for number, candidates in zip(heard, made, strict=True):
        found[number] = candidates
    return found


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
    max_seconds: float | None = None,
) -> Iterator[dict[int, tuple[Segment, ...]]]:
    """Yield the captions of each file by its number: a batch at a time, longest first.

    A file is one segment, or several overlapping ones where it is longer than the model was trained on; these
    come last.

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
        max_seconds: instead of the length that the model was trained on.

    Raises:
        AudioError: a file cannot be captioned, and `bad_files` is None.
    """
    model.check_timestamps(config)
    plan = listening_plan(model, config, max_seconds)
    sorting = _Sorting(plan, bad_files)
    batches = decode_ahead(
        paths,
        limits,
        num_workers=num_workers,
        channel=model.channel,
        bad_files=sorting.noted,
        refuse=sorting.refuse,
        # So that a sound whose header does not tell is not decoded whole before it is refused.
        max_seconds=None if math.isinf(plan.whole_seconds) else plan.whole_seconds,
        complaints=complaints,
        decode_limits=decode_limits,
    )
    for indices, waveforms in batches:
        sorting.sort()
        found = caption_batch(model, waveforms, config)
        yield {
            index: (Segment(index, 0.0, len(waveform) / SAMPLE_RATE, candidates),)
            for index, waveform, candidates in zip(indices, waveforms, found, strict=True)
        }
    sorting.sort()
    numbers, bad = sorted(sorting.long_ones), list[BadFile]()
    windows = read_windows(
        [paths[number] for number in numbers],
        plan.cut,
        bad,
        complaints if complaints is not None else [],
        {},
        model.channel,
        math.inf,
        decode_limits,
    )
    held: dict[int, list[Segment]] = {}
    for batch in caption_windows(model, windows, plan.window_seconds, config, limits) if numbers else ():
        sorting.take(bad, numbers)
        for segment in batch:
            number = numbers[segment.index]
            held.setdefault(number, []).append(replace(segment, index=number))
        # The batch's last file may have more windows.
        yield {number: tuple(held.pop(number)) for number in list(held)[:-1]}
    sorting.take(bad, numbers)
    if held:
        yield {number: tuple(segments) for number, segments in held.items()}


def caption_windows(
    model: CaptionModel,
    windows: Iterator[tuple[int, float, Tensor]],
    window_seconds: float,
    config: GenerationConfig,
    limits: BatchLimits,
) -> Iterator[list[Segment]]:
    """Yield the captions of windows, in order, a batch at a time; the next one is decoded meanwhile.

    Args:
        model: in evaluation mode.
        windows: number of the file, start in seconds and waveform (samples,) of each.
        window_seconds: their length.
        config: of generation.
        limits: of a batch.
    """
    # Windows come in order, not by length, so a batch is what fits if all are whole windows.
    size = max(1, min(limits.size or BATCH_SIZE, int(limits.seconds / window_seconds)))
    for batch in batch_ahead(windows, size):
        found = dict(caption_waveforms(model, [waveform for _, _, waveform in batch], config, limits))
        yield [
            Segment(index, start, start + len(waveform) / SAMPLE_RATE, found[place])
            for place, (index, start, waveform) in enumerate(batch)
        ]


class _Sorting:
    """Tells files that are too long for one go from those that cannot be read."""

    def __init__(self, plan: WindowPlan, bad_files: list[BadFile] | None) -> None:
        self.plan = plan
        self.bad_files = bad_files
        self.noted: list[BadFile] = []
        self.long_ones: list[int] = []

    def refuse(self, seconds: float) -> str | None:
        """Return why a sound of this length is not captioned in one go."""
        whole = self.plan.whole_seconds
        return None if seconds <= whole else LONGER if self.plan.window_seconds else too_long(seconds, whole)

    def sort(self) -> None:
        """Take what was noted."""
        for file in self.noted:
            if self.plan.window_seconds and (
                file.reason == LONGER or file.reason.endswith(MORE_THAN_ALLOWED)
            ):
                self.long_ones.append(file.index)
            else:
                self._report(file)
        self.noted.clear()

    def take(self, bad: list[BadFile], numbers: Sequence[int]) -> None:
        """Take those that could not be read when it was their turn among the long ones."""
        for file in bad:
            self._report(replace(file, index=numbers[file.index]))
        bad.clear()

    def _report(self, file: BadFile) -> None:
        if self.bad_files is None:
            raise AudioError(file.reason)
        self.bad_files.append(file)


def too_long(seconds: float, max_seconds: float) -> str:
    """Say why a sound is not captioned, nor windows of it."""
    return (
        f"{seconds:.1f} s are more than the {max_seconds:.1f} s that fit into the decoder's context, and "
        "those are too few for a window; choose fewer --max_new_tokens, or a decoder with a longer context"
    )
