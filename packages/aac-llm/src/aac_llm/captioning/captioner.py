"""Captions of many sounds: batches of like length, decoded by threads while the model generates.

A sound's caption depends on it alone, so neither order nor batches matter: the encoder, the bridge and the
decoder see no padding (see `aac_llm.models.captioner_model`). What cannot be read is reported and left out.

    >>> captioner = Captioner.from_pretrained("runs/clotho/best")  # doctest: +SKIP
    >>> captioner.caption(["rain.wav"])[0].caption  # doctest: +SKIP
    'rain falls on leaves while birds sing'
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from audio_common.audio import AudioError, stream_audio
from audio_common.batch import pad_waveforms
from audio_common.prefetch import BadFile, BatchLimits, batch_ahead, batch_by_length, decode_ahead
from torch import Tensor

from aac_llm.captioning.predictions import Candidate, Prediction
from aac_llm.captioning.rerank import Similarity, consensus
from aac_llm.captioning.segments import cut_windows
from aac_llm.config.caption import GenerationSettings
from aac_llm.models.beam_search import beam_search, supports

if TYPE_CHECKING:
    import numpy as np

    from aac_llm.models.captioner_model import CaptionModel, Sequences
    from aac_llm.models.decoder import Quantization

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  # Hz
BATCH_SIZE = 32
"""Sounds captioned at once."""
BLOCK_SECONDS = 1.0
"""Long sound decoded at a time; damage costs the block that it is in."""


@dataclass(frozen=True)
class Segment:
    """The captions of a window of a sound."""

    index: int
    """The sound's place among those that were given."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    candidates: tuple[Candidate, ...]
    """As generated, best first."""


class Captioner:
    """A captioning model with what it takes to run it over files.

    Args:
        model: put into evaluation mode.
        limits: how much sound is captioned at once.
        num_workers: threads that decode files.
        similarity: chooses among candidates by consensus (see `aac_llm.captioning.rerank`); None: the most
            probable one.
    """

    def __init__(
        self,
        model: CaptionModel,
        *,
        limits: BatchLimits | None = None,
        num_workers: int = 1,
        similarity: Similarity | None = None,
    ) -> None:
        self.model = model.eval()
        self.limits = limits or BatchLimits(size=BATCH_SIZE)
        self.num_workers = num_workers
        self.similarity = similarity

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: str | torch.dtype | None = None,
        decoder: str | None = None,
        quantization: Quantization | None = None,
        **options: Any,
    ) -> Captioner:
        """Load a model.

        Args:
            source: folder or hub id.
            device: `auto` is the first GPU if there is one, else the CPU.
            dtype: of the model; None or `auto`: bfloat16 on a GPU, float32 elsewhere.
            decoder: folder or hub id of the language model, where it is not the one that the model names.
            quantization: `8bit`, `4bit` or `none`; None: as the model says.
            options: of the captioner itself (`limits`, `num_workers`, `similarity`).
        """
        from aac_llm.models.captioner_model import CaptionModel

        device = choose_device(device)
        model = CaptionModel.from_pretrained(
            source,
            device=device,
            dtype=choose_dtype(dtype, device),
            decoder=decoder,
            quantization=quantization,
        )
        merge_adapters(model)
        return cls(model, **options)

    def caption(
        self,
        sounds: Sequence[str | Path | Tensor | np.ndarray],
        *,
        bad_files: list[BadFile] | None = None,
        **settings: Any,
    ) -> list[Prediction]:
        """Caption files or waveforms.

        Args:
            sounds: paths, or waveforms (samples,) at 16 kHz; not both.
            bad_files: gets what could not be read, which otherwise is logged.
            settings: fields of `GenerationSettings`.

        Returns:
            In the order of `sounds`; those that could not be read are left out. The id of a prediction is the
            path as given, or the number of the waveform.
        """
        chosen = GenerationSettings(**settings)
        bad: list[BadFile] = [] if bad_files is None else bad_files
        paths = [sound for sound in sounds if isinstance(sound, str | Path)]
        if paths and len(paths) < len(sounds):
            raise ValueError("expected paths or waveforms, got some of each: caption them one kind at a time")
        if paths:
            batches = self.caption_files([Path(path) for path in paths], chosen, bad)
        else:
            batches = self._caption_waveforms([_as_waveform(sound) for sound in sounds], chosen)
        found = {index: candidates for batch in batches for index, candidates in batch.items()}
        for file in bad if bad_files is None else []:
            logger.warning("left out %s: %s", file.path, file.reason)
        return [
            self.predict(str(sounds[index]) if paths else str(index), found[index], bool(paths))
            for index in sorted(found)
        ]

    def predict(self, id: str, candidates: Sequence[Candidate], is_file: bool = True) -> Prediction:
        """The prediction of a sound with these candidates."""
        several = tuple(candidates) if len(candidates) > 1 else ()
        audio = str(Path(id).absolute()) if is_file else None
        return Prediction(id, audio, self.choose(candidates).text, several)

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """The caption of a sound: the first candidate, or the one on which they agree most."""
        return candidates[0] if self.similarity is None else consensus(candidates, self.similarity)

    def caption_files(
        self, paths: Sequence[Path], settings: GenerationSettings, bad_files: list[BadFile]
    ) -> Iterator[dict[int, tuple[Candidate, ...]]]:
        """Candidates of each file, best first, by its number: a batch at a time, longest sounds first.

        Together all files but the bad ones, which come into `bad_files`.
        """
        longest = self.max_seconds(settings)
        batches = decode_ahead(
            paths,
            self.limits,
            num_workers=self.num_workers,
            bad_files=bad_files,
            refuse=lambda seconds: too_long(seconds, longest) if seconds > longest else None,
        )
        for indices, waveforms in batches:
            yield dict(zip(indices, self._generate(waveforms, settings), strict=True))

    def caption_segments(
        self,
        paths: Sequence[Path],
        settings: GenerationSettings,
        *,
        window_seconds: float = 10.0,
        hop_seconds: float = 10.0,
        bad_files: list[BadFile],
        done: Mapping[int, set[float]] | None = None,
    ) -> Iterator[list[Segment]]:
        """Candidates of each window of each file, in order, a batch at a time.

        Args:
            paths: sounds of any length; only some windows are held at a time.
            settings: of generation.
            window_seconds: length of a window.
            hop_seconds: from the start of one to the next.
            bad_files: gets what could not be read, or not to its end.
            done: starts of the windows of a file (by its number) that are not captioned.
        """
        window, hop = round(window_seconds * SAMPLE_RATE), round(hop_seconds * SAMPLE_RATE)
        sounds = _windows(paths, window, hop, bad_files, done or {})
        size = max(1, min(self.limits.size or BATCH_SIZE, int(self.limits.seconds / window_seconds)))
        for windows in batch_ahead(sounds, size):
            found = dict(self._by_length([waveform for _, _, waveform in windows], settings))
            yield [
                Segment(index, start, start + len(waveform) / SAMPLE_RATE, found[place])
                for place, (index, start, waveform) in enumerate(windows)
            ]

    def max_seconds(self, settings: GenerationSettings) -> float:
        """The longest sound, in whole seconds, whose caption fits into the decoder's context."""
        context = getattr(self.model.decoder.config, "max_position_embeddings", None)
        if context is None:
            return math.inf
        room = context - settings.max_new_tokens - sum(len(ids) for ids in self.model.prompt_ids())
        low, high = 0, 1
        while high < 10**6 and self.model.token_budget(high) <= room:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.model.token_budget(middle) <= room else (low, middle)
        return math.inf if high >= 10**6 else float(low)

    def _caption_waveforms(
        self, waveforms: Sequence[Tensor], settings: GenerationSettings
    ) -> Iterator[dict[int, tuple[Candidate, ...]]]:
        yield dict(self._by_length(waveforms, settings))

    def _by_length(
        self, waveforms: Sequence[Tensor], settings: GenerationSettings
    ) -> Iterator[tuple[int, tuple[Candidate, ...]]]:
        lengths = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
        for batch in batch_by_length(lengths, self.limits):
            yield from zip(batch, self._generate([waveforms[n] for n in batch], settings), strict=True)

    def _generate(
        self, waveforms: Sequence[Tensor], settings: GenerationSettings
    ) -> list[tuple[Candidate, ...]]:
        padded, lengths = pad_waveforms(waveforms)
        with torch.inference_mode():
            acoustic = self.model.encode_audio(padded.to(self.model.device), lengths.to(self.model.device))
            if not settings.do_sample and settings.num_beams > 1 and supports(self.model.decoder):
                return self._search(self.model.assemble(acoustic), settings)
            found = self.model.generate(
                acoustic=acoustic,
                num_beams=1 if settings.do_sample else settings.num_beams,
                max_new_tokens=settings.max_new_tokens,
                min_new_tokens=settings.min_new_tokens,
                do_sample=settings.do_sample,
                temperature=settings.temperature,
                top_p=settings.top_p,
                repetition_penalty=settings.repetition_penalty,
                num_return=settings.num_candidates,
            )
        return [tuple(candidates) for candidates in found]

    def _search(self, sequences: Sequences, settings: GenerationSettings) -> list[tuple[Candidate, ...]]:
        """What `CaptionModel.generate` finds with beams, in less time."""
        found = beam_search(
            self.model.decoder,
            sequences.embeddings,
            sequences.mask,
            num_beams=settings.num_beams,
            max_new_tokens=settings.max_new_tokens,
            min_new_tokens=settings.min_new_tokens,
            repetition_penalty=settings.repetition_penalty,
            num_return=settings.num_candidates,
        )
        tokens = [each.tokens for hypotheses in found for each in hypotheses]
        texts = iter(self.model.tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return [
            tuple(Candidate(next(texts).strip(), each.score) for each in hypotheses) for hypotheses in found
        ]


def merge_adapters(model: CaptionModel) -> None:
    """Add low-rank updates to the weights that they update, which saves their time in every layer.

    Float32 weights only: in bfloat16 most of a small update would be lost in rounding.
    """
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer) and layer.get_base_layer().weight.dtype == torch.float32:
            layer.merge()


def _windows(
    paths: Sequence[Path], window: int, hop: int, bad_files: list[BadFile], done: Mapping[int, set[float]]
) -> Iterator[tuple[int, float, Tensor]]:
    """Of the files one after another: number of the file, start of the window in seconds, waveform."""
    for index, path in enumerate(paths):
        given = False
        try:
            blocks = stream_audio(path, sample_rate=SAMPLE_RATE, block_seconds=BLOCK_SECONDS)
            for first, waveform in cut_windows(blocks, window, hop):
                given = True
                if first / SAMPLE_RATE not in done.get(index, ()):
                    yield index, first / SAMPLE_RATE, waveform
        except (AudioError, OSError) as e:
            bad_files.append(BadFile(path, str(e), index, partly=given))


def too_long(seconds: float, max_seconds: float) -> str:
    """Say why a sound is not captioned in one go."""
    return (
        f"{seconds:.1f} s are more than the {max_seconds:.1f} s that fit into the decoder's context; "
        "caption it window by window (--segments)"
    )


def choose_device(device: str) -> str:
    """`auto` is the first GPU if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def choose_dtype(dtype: str | torch.dtype | None, device: str) -> torch.dtype:
    """The number format by its name; `auto` or None: bfloat16 on a GPU, float32 elsewhere."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None or dtype == "auto":
        return torch.float32 if device.startswith("cpu") else torch.bfloat16
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in names:
        raise ValueError(f"dtype must be auto or one of {', '.join(names)}, got {dtype!r}")
    return names[dtype]


def _as_waveform(sound: Any) -> Tensor:
    waveform = torch.as_tensor(sound, dtype=torch.float32)
    if waveform.ndim != 1 or not len(waveform) or not waveform.isfinite().all():
        raise ValueError(
            f"expected a waveform (samples,) of finite values at 16 kHz, got shape {tuple(waveform.shape)}"
        )
    return waveform
