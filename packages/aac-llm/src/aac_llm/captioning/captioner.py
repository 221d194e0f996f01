"""Caption sounds from Python: files, waveforms, and long recordings window by window.

    >>> captioner = Captioner.from_pretrained("runs/clotho")  # doctest: +SKIP
    >>> captioner.caption("rain.wav")[0].caption  # doctest: +SKIP
    'rain falls on leaves while birds sing'

What cannot be read is reported and left out. The caption of a sound depends on that sound alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from audio_common.audio import AudioError, stream_audio
from audio_common.prefetch import BadFile, BatchLimits, batch_ahead
from torch import Tensor

from aac_llm.captioning.rerank import Similarity, consensus
from aac_llm.captioning.segments import cut_windows
from aac_llm.config.caption import GenerationConfig
from aac_llm.data.predictions import Candidate, Prediction
from aac_llm.models.captioner_model import SAMPLE_RATE, CaptionModel
from aac_llm.models.decoder import Quantization
from aac_llm.models.inference import caption_files, caption_waveforms, load_for_inference

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

BATCH_SIZE = 32
"""Sounds captioned at once."""
BLOCK_SECONDS = 1.0
"""Long sound decoded at a time; damage costs the block that it is in."""

Sound: TypeAlias = "str | Path | Tensor | np.ndarray"
"""A path, or a waveform (samples,) at 16 kHz."""


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
        similarity: chooses among candidates by consensus (see `rerank.py`); None: the most probable one.
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
            source: folder of a model, the run folder of a training (its best model), or hub id.
            device: `auto` is the first GPU if there is one, else the CPU.
            dtype: of the model; None or `auto`: bfloat16 on a GPU, float32 elsewhere.
            decoder: folder or hub id of the language model, where it is not the one that the model names.
            quantization: `8bit`, `4bit` or `none`; None: as the model says.
            options: of the captioner itself (`limits`, `num_workers`, `similarity`).

        Raises:
            CheckpointError: there is no captioner, or it is damaged.
            DecoderError: its language model cannot be loaded.
        """
        model = load_for_inference(
            source, device=device, dtype=dtype, decoder=decoder, quantization=quantization
        )
        return cls(model, **options)

    def caption(
        self,
        sounds: Sound | Sequence[Sound],
        *,
        bad_files: list[BadFile] | None = None,
        **settings: Any,
    ) -> list[Prediction]:
        """Caption files or waveforms.

        Args:
            sounds: one or many; paths, or waveforms (samples,) at 16 kHz, not both.
            bad_files: gets what could not be read, which otherwise is logged.
            settings: fields of `GenerationConfig`, such as `num_beams`.

        Returns:
            Predictions in the order of `sounds`; those that could not be read are left out. The id of a
            prediction is the path as given, or the number of the waveform.

        Raises:
            ValueError: a waveform of another shape or with values that are not finite; impossible settings.
        """
        config = GenerationConfig(**settings)
        bad: list[BadFile] = [] if bad_files is None else bad_files
        given = _as_list(sounds)
        paths = [sound for sound in given if isinstance(sound, str | Path)]
        if paths and len(paths) < len(given):
            raise ValueError("expected paths or waveforms, got some of each: caption them one kind at a time")
        if paths:
            batches = self.caption_files([Path(path) for path in paths], config, bad)
            found = {index: candidates for batch in batches for index, candidates in batch.items()}
        else:
            waveforms = [_as_waveform(sound) for sound in given]
            found = dict(caption_waveforms(self.model, waveforms, config, self.limits))
        for file in bad if bad_files is None else []:
            logger.warning("left out %s: %s", file.path, file.reason)
        return [
            self._predict(str(given[index]) if paths else str(index), found[index], is_file=bool(paths))
            for index in sorted(found)
        ]

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """Choose the caption of a sound: the first candidate, or the one on which they agree most."""
        return candidates[0] if self.similarity is None else consensus(candidates, self.similarity)

    def caption_files(
        self, paths: Sequence[Path], config: GenerationConfig, bad_files: list[BadFile]
    ) -> Iterator[dict[int, tuple[Candidate, ...]]]:
        """Yield candidates of each file by its number; see `aac_llm.models.inference.caption_files`."""
        return caption_files(
            self.model,
            paths,
            config,
            limits=self.limits,
            num_workers=self.num_workers,
            bad_files=bad_files,
        )

    def caption_segments(
        self,
        paths: Sequence[Path],
        config: GenerationConfig,
        *,
        window_seconds: float = 10.0,
        hop_seconds: float = 10.0,
        bad_files: list[BadFile],
        done: Mapping[int, set[float]] | None = None,
    ) -> Iterator[list[Segment]]:
        """Yield candidates of each window of each file, in order, a batch at a time.

        Args:
            paths: sounds of any length; only some windows are held at a time.
            config: of generation.
            window_seconds: length of a window.
            hop_seconds: from the start of one to the next.
            bad_files: gets what could not be read, or not to its end.
            done: starts of the windows of a file (by its number) that are not captioned.
        """
        window, hop = round(window_seconds * SAMPLE_RATE), round(hop_seconds * SAMPLE_RATE)
        sounds = _windows(paths, window, hop, bad_files, done or {})
        # Windows come in order, not by length, so a batch is what fits if all are whole windows.
        size = max(1, min(self.limits.size or BATCH_SIZE, int(self.limits.seconds / window_seconds)))
        for windows in batch_ahead(sounds, size):
            waveforms = [waveform for _, _, waveform in windows]
            found = dict(caption_waveforms(self.model, waveforms, config, self.limits))
            yield [
                Segment(index, start, start + len(waveform) / SAMPLE_RATE, found[place])
                for place, (index, start, waveform) in enumerate(windows)
            ]

    def _predict(self, id: str, candidates: Sequence[Candidate], *, is_file: bool) -> Prediction:
        several = tuple(candidates) if len(candidates) > 1 else ()
        audio = str(Path(id).absolute()) if is_file else None
        return Prediction(id, audio, self.choose(candidates).text, several)


def _windows(
    paths: Sequence[Path], window: int, hop: int, bad_files: list[BadFile], done: Mapping[int, set[float]]
) -> Iterator[tuple[int, float, Tensor]]:
    """Yield, file after file: number of the file, start of the window in seconds, waveform."""
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


def _as_list(sounds: Any) -> list[Any]:
    """Tell one sound from several: a path, or an array of numbers."""
    is_one = isinstance(sounds, str | Path) or hasattr(sounds, "ndim")
    return [sounds] if is_one else list(sounds)


def _as_waveform(sound: Any) -> Tensor:
    waveform = torch.as_tensor(sound, dtype=torch.float32)
    if waveform.ndim != 1 or not len(waveform) or not waveform.isfinite().all():
        raise ValueError(
            f"expected a waveform (samples,) of finite values at 16 kHz, got shape {tuple(waveform.shape)}"
        )
    return waveform
