"""Captions to evaluate: a model's of the clips of a manifest, or those of a file, with their references."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from audio_common.prefetch import BadFile, BatchLimits

from aac_llm.config.caption import CaptionConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.data.journal import Journal, describe_settings, in_order
from aac_llm.data.manifest import Clip, read_manifest
from aac_llm.data.predictions import Prediction, PredictionError, read_predictions
from aac_llm.data.sounds import find_sounds
from aac_llm.models.run_folder import resolve_model
from aac_llm.output import Progress


@dataclass(frozen=True)
class Captions:
    """A system's captions."""

    predictions: list[Prediction]
    references: dict[str, tuple[str, ...]]
    """By id, in the order of the clips."""
    bad_files: tuple[str, ...] = ()
    """Sounds that the model could not read, and why."""


def load_captions(config: EvaluateConfig) -> Captions:
    """Caption the clips of a manifest with `config.model`, or read a file of captions.

    Raises:
        ValueError: a file that is wrong, or a manifest with several splits of which none is chosen.
    """
    found = _caption_manifest(config) if config.model is not None else _read_captions(config)
    if config.limit is None:
        return found
    references = dict(list(found.references.items())[: config.limit])
    kept = [prediction for prediction in found.predictions if prediction.id in references]
    return Captions(kept, references, found.bad_files)


def _read_captions(config: EvaluateConfig) -> Captions:
    try:
        predictions = read_predictions(config.data)
    except PredictionError as error:
        raise ValueError(f"{error} (is this a manifest? then --model says what captions it)") from error
    if not predictions:
        raise ValueError(f"{config.data} has no captions")
    if config.references is None:
        return Captions(predictions, {one.id: one.references for one in predictions})
    clips = _read_clips(config.references, config.split)
    # Files of other systems name no sounds; the page plays those of the manifest.
    audio = {clip.id: clip.audio for clip in clips}
    known = [_with_audio(prediction, audio.get(prediction.id)) for prediction in predictions]
    return Captions(known, {clip.id: clip.captions for clip in clips})


def _with_audio(prediction: Prediction, audio: Path | None) -> Prediction:
    if prediction.audio is not None or audio is None:
        return prediction
    return dataclasses.replace(prediction, audio=str(audio))


def _caption_manifest(config: EvaluateConfig) -> Captions:
    # Before the model is loaded, so that a wrong split is told at once.
    clips = _read_clips(config.data, config.split)
    if not any(clip.captions for clip in clips):
        raise ValueError(f"no clip of {config.data} has captions to score against")
    assert config.model is not None
    settings = CaptionConfig(
        files=(config.data,),
        model=resolve_model(config.model),
        out=config.captions,
        split=config.split,
        num_beams=config.num_beams,
        batch_size=config.batch_size,
        device=config.device,
        dtype=config.dtype,
    )
    references = {clip.id: clip.captions for clip in clips}
    predictions, bad_files = caption_clips(settings, config.limit)
    # A file that is gone on with may hold captions of other splits.
    mine = [prediction for prediction in predictions if prediction.id in references]
    return Captions(mine, references, tuple(file.reason for file in bad_files))


def caption_clips(config: CaptionConfig, limit: int | None = None) -> tuple[list[Prediction], list[BadFile]]:
    """Caption clips of manifests; with `config.out`, go on where a killed run was.

    Args:
        config: settings; captions are the most probable ones, uncorrected and of whole clips.
        limit: caption the first clips only, this many.

    Returns:
        Predictions in the order of the clips, and the sounds that could not be read.
    """
    sounds = find_sounds(config.files, config.split)[:limit]
    journal = None
    if config.out is not None:
        # Before the model is loaded: other settings are refused at once.
        journal = Journal(config.out, describe_settings(config))
    from aac_llm.models.inference import caption_files, load_for_inference

    model = load_for_inference(config.model, device=config.device, dtype=config.dtype)
    lacking = journal.lacking(sounds) if journal else sounds
    predictions = list(journal.predictions) if journal else []
    bad_files: list[BadFile] = []
    batches = caption_files(
        model,
        [sound.path for sound in lacking],
        config,
        limits=BatchLimits(config.seconds_per_batch, config.batch_size),
        num_workers=config.num_workers,
        bad_files=bad_files,
    )
    with Progress("Captioning", len(sounds), start=len(sounds) - len(lacking)) as progress:
        for batch in batches:
            found = [
                Prediction(
                    id=lacking[index].id,
                    audio=str(lacking[index].path),
                    caption=candidates[0].text,
                    references=lacking[index].references,
                )
                for index, candidates in batch.items()
            ]
            predictions += found
            if journal:
                journal.append(found)
                if bad_files:
                    journal.note_bad(bad_files)
            progress.advance(len(found))
    predictions = in_order(predictions, sounds)
    if journal:
        journal.finish(predictions, bad_files)
    return predictions, bad_files


def _read_clips(path: Path, split: str | None) -> list[Clip]:
    clips = read_manifest(path, split=split)
    splits = sorted({clip.split or "(none)" for clip in clips})
    if split is None and len(splits) > 1:
        raise ValueError(f"{path} has the splits {', '.join(splits)}: choose one with --split")
    return clips
