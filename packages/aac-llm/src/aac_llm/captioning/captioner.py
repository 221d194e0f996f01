"""Caption sounds from Python: files, waveforms, and long recordings window by window.

    >>> captioner = Captioner.from_pretrained("runs/clotho")  # doctest: +SKIP
    >>> captioner.caption("rain.wav").caption  # doctest: +SKIP
    'rain falls on leaves while birds sing'
    >>> [prediction.caption for prediction in captioner.caption(["rain.wav", samples])]  # doctest: +SKIP

One sound gives one prediction, a list of them a list. The caption of a sound depends on that sound alone. A
sound longer than the model was trained on is heard window by window, silence not at all (see
`aac_llm.models.long_sound` and `.silence`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, overload

import torch
from audio_common.audio import AudioError
from audio_common.prefetch import BadFile, BatchLimits
from audio_common.waveform import as_waveform, one_or_many
from audio_common.workers import DecodeLimits
from torch import Tensor

from aac_llm.captioning.rerank import Similarity, consensus
from aac_llm.config.caption import GenerationConfig
from aac_llm.config.sound import Channel
from aac_llm.data.predictions import Candidate, Prediction
from aac_llm.models.captioner_model import SAMPLE_RATE, CaptionModel
from aac_llm.models.confidence import choose_calibration
from aac_llm.models.decoder import Quantization
from aac_llm.models.inference import (
    BATCH_SIZE,
    caption_files,
    caption_waveforms,
    caption_windows,
    listening_plan,
    load_for_inference,
    longest_seconds,
    too_long,
)
from aac_llm.models.long_sound import WindowPlan
from aac_llm.models.prediction import predict
from aac_llm.models.windows import Segment, cut_windows, read_windows

if TYPE_CHECKING:
    import numpy as np

Sound: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Tensor | np.ndarray"
"""A path, the bytes of a file, an open file, or samples (samples,) or (channels, samples)."""


class Captioner:
    """A captioning model with what it takes to run it over files.

    Args:
        model: put into evaluation mode.
        limits: how much sound is captioned at once.
        num_workers: threads, or with `decode_limits` processes, that decode files.
        decode_limits: of time and memory for each file; None: none, it is decoded in this process.
        similarity: chooses among candidates by consensus (see `rerank.py`); None: the most probable one.
        max_seconds: longer sounds are heard in overlapping windows of this length; None: of the length that
            the model was trained on.
    """

    def __init__(
        self,
        model: CaptionModel,
        *,
        limits: BatchLimits | None = None,
        num_workers: int = 1,
        decode_limits: DecodeLimits | None = None,
        similarity: Similarity | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self.model = model.eval()
        self.limits = limits or BatchLimits(size=BATCH_SIZE)
        self.num_workers = num_workers
        self.decode_limits = decode_limits
        self.similarity = similarity
        self.max_seconds = max_seconds

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: str | torch.dtype | None = None,
        decoder: str | None = None,
        quantization: Quantization | None = None,
        channel: Channel | None = None,
        **options: Any,
    ) -> Captioner:
        """Load a model.

        Args:
            source: folder of a model, the run folder of a training (its best model), or hub id.
            device: `auto` is the first GPU if there is one, else the CPU.
            dtype: of the model; None or `auto`: bfloat16 on a GPU, float32 elsewhere.
            decoder: folder or hub id of the language model, where it is not the one that the model names.
            quantization: `8bit`, `4bit` or `none`; None: as the model says.
            channel: what is heard of several channels; None: as the model was trained.
            options: of the captioner itself (`limits`, `num_workers`, `decode_limits`, `similarity`,
                `max_seconds`).

        Raises:
            CheckpointError: there is no captioner, or it is damaged.
            DecoderError: its language model cannot be loaded.
        """
        model = load_for_inference(
            source,
            device=device,
            dtype=dtype,
            decoder=decoder,
            quantization=quantization,
            channel=channel,
        )
        return cls(model, **options)

    @overload
    def caption(  # type: ignore[overload-overlap]  # a text and an array are iterable, too
        self,
        sounds: Sound,
        *,
        sample_rate: float = ...,
        bad_files: list[BadFile] | None = ...,
        **settings: Any,
    ) -> Prediction: ...

    @overload
    def caption(
        self,
        sounds: Iterable[Sound],
        *,
        sample_rate: float = ...,
        bad_files: list[BadFile] | None = ...,
        **settings: Any,
    ) -> list[Prediction]: ...

    def caption(
        self,
        sounds: Sound | Iterable[Sound],
        *,
        sample_rate: float = SAMPLE_RATE,
        bad_files: list[BadFile] | None = None,
        **settings: Any,
    ) -> Prediction | list[Prediction]:
        """Caption one sound or many.

        Args:
            sounds: a path, bytes, an open file, an array or tensor (samples,) or (channels, samples); or a
                list of such, of any kinds.
            sample_rate: rate of arrays and tensors, Hz; files say theirs.
            bad_files: for a list: gets what cannot be captioned, which then is left out of the result.
            settings: fields of `GenerationConfig`, such as `num_beams`.

        Returns:
            The prediction of one sound, or a list in the order of `sounds`, empty for an empty one. The id of
            a prediction is the path as given, or the number of the sound.

        Raises:
            AudioError: a sound that cannot be read or is no sound, unless `bad_files` gets it.
            ValueError: impossible settings.
        """
        config = GenerationConfig(**settings)
        given, are_many = one_or_many(sounds)
        bad = bad_files if are_many else None
        # Files of a list are decoded ahead while the model works; all else is here already.
        files = [index for index, sound in enumerate(given) if are_many and _may_be_file(sound)]
        found = self._caption_paths(given, files, config, bad)
        others = [index for index in range(len(given)) if index not in found.keys() | set(files)]
        found |= self._caption_samples(given, others, config, sample_rate, bad)
        predictions = [self._predict(given[index], found[index], config) for index in sorted(found)]
        return predictions if are_many else predictions[0]

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """Choose the caption of a sound: the first candidate, or the one on which they agree most."""
        return candidates[0] if self.similarity is None else consensus(candidates, self.similarity)

    def predict(
        self,
        segments: Sequence[Segment],
        config: GenerationConfig,
        *,
        id: str,
        audio: str | None,
        references: tuple[str, ...] = (),
    ) -> Prediction:
        """Make the prediction of a sound; see `aac_llm.models.prediction.predict`."""
        return predict(
            segments,
            id=id,
            audio=audio,
            timestamps=config.timestamps,
            choose=self.choose,
            calibration=choose_calibration(self.model.calibrations, config),
            references=references,
        )

    def caption_files(
        self,
        paths: str | Path | Iterable[str | Path],
        config: GenerationConfig,
        bad_files: list[BadFile] | None,
        complaints: list[BadFile] | None = None,
    ) -> Iterator[dict[int, tuple[Segment, ...]]]:
        """Yield what was heard in each file by its number; see `aac_llm.models.inference.caption_files`."""
        return caption_files(
            self.model,
            [Path(path) for path in one_or_many(paths)[0]],
            config,
            limits=self.limits,
            num_workers=self.num_workers,
            bad_files=bad_files,
            complaints=complaints,
            decode_limits=self.decode_limits,
            max_seconds=self.max_seconds,
        )

    def caption_segments(
        self,
        paths: str | Path | Iterable[str | Path],
        config: GenerationConfig,
        *,
        window_seconds: float = 10.0,
        hop_seconds: float = 10.0,
        bad_files: list[BadFile],
        complaints: list[BadFile] | None = None,
        done: Mapping[int, set[float]] | None = None,
    ) -> Iterator[list[Segment]]:
        """Yield candidates of each window of each file, in order, a batch at a time.

        Args:
            paths: sounds of any length; only some windows are held at a time.
            config: of generation.
            window_seconds: length of a window.
            hop_seconds: from the start of one to the next.
            bad_files: gets what could not be read, or not to its end.
            complaints: gets what is odd about files that are captioned nevertheless.
            done: starts of the windows of a file (by its number) that are not captioned.
        """
        window, hop = round(window_seconds * SAMPLE_RATE), round(hop_seconds * SAMPLE_RATE)
        files = [Path(path) for path in one_or_many(paths)[0]]
        longest = longest_seconds(self.model, config)
        windows = read_windows(
            files,
            partial(cut_windows, window=window, hop=hop),
            bad_files,
            complaints if complaints is not None else [],
            done or {},
            self.model.channel,
            longest,
            self.decode_limits,
        )
        return caption_windows(self.model, windows, window_seconds, config, self.limits)

    def _caption_paths(
        self, given: Sequence[Any], files: Sequence[int], config: GenerationConfig, bad: list[BadFile] | None
    ) -> dict[int, tuple[Segment, ...]]:
        """Caption those of the sounds that are paths."""
        noted: list[BadFile] | None = None if bad is None else []
        batches = self.caption_files([given[index] for index in files], config, noted)
        found = {
            files[place]: tuple(replace(segment, index=files[place]) for segment in segments)
            for batch in batches
            for place, segments in batch.items()
        }
        if bad is not None:
            bad += [replace(file, index=files[file.index]) for file in noted or ()]
        return found

    def _caption_samples(
        self,
        given: Sequence[Any],
        indices: Sequence[int],
        config: GenerationConfig,
        sample_rate: float,
        bad: list[BadFile] | None,
    ) -> dict[int, tuple[Segment, ...]]:
        """Caption those of the sounds that are in memory, after all of them were looked at."""
        if not indices:
            return {}
        plan = listening_plan(self.model, config, self.max_seconds)
        windows: list[tuple[int, float, Tensor]] = []  # number of the sound, start in seconds, waveform
        for index in indices:
            try:
                waveform = self._load(given[index], sample_rate, plan)
            except AudioError as e:
                if bad is None:
                    raise AudioError(f"sound {index}: {e}" if len(given) > 1 else str(e)) from e
                bad.append(BadFile(Path(str(index)), str(e), index))
                continue
            is_long = len(waveform) / SAMPLE_RATE > plan.whole_seconds
            cut = plan.cut([waveform]) if is_long else [(0, waveform)]
            windows += [(index, first / SAMPLE_RATE, part) for first, part in cut]
        waveforms = [waveform for _, _, waveform in windows]
        made = dict(caption_waveforms(self.model, waveforms, config, self.limits))
        found: dict[int, tuple[Segment, ...]] = {}
        for place, (index, start, waveform) in enumerate(windows):
            segment = Segment(index, start, start + len(waveform) / SAMPLE_RATE, made[place])
            found[index] = (*found.get(index, ()), segment)
        return found

    def _load(self, sound: Any, sample_rate: float, plan: WindowPlan) -> Tensor:
        waveform = as_waveform(
            sound, sample_rate=SAMPLE_RATE, array_rate=sample_rate, channel=self.model.channel
        )
        seconds = len(waveform) / SAMPLE_RATE
        if seconds > plan.whole_seconds and not plan.window_seconds:
            raise AudioError(too_long(seconds, plan.whole_seconds))
        return waveform

    def _predict(self, sound: Any, segments: Sequence[Segment], config: GenerationConfig) -> Prediction:
        id, audio = str(segments[0].index), None
        if _is_path(sound):
            id, audio = str(sound), str(Path(sound).absolute())
        return self.predict(segments, config, id=id, audio=audio)


def _is_path(sound: Any) -> bool:
    return isinstance(sound, str | os.PathLike)


def _may_be_file(sound: Any) -> bool:
    # A text with a zero is no name of a file anywhere; what refuses samples says so.
    return _is_path(sound) and "\0" not in str(sound)
