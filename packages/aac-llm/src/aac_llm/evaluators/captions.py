"""Captions to evaluate: a model's of the clips of a manifest, or those of a file, with their references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audio_common.prefetch import BadFile, BatchLimits
from audio_common.workers import DecodeLimits

from aac_llm.config.caption import CaptionConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.data.journal import Journal, describe_settings, in_order
from aac_llm.data.predictions import Prediction, PredictionError
from aac_llm.data.sounds import find_sounds, name_bad
from aac_llm.data.systems import References, read_references, read_system
from aac_llm.models.run_folder import resolve_model
from aac_llm.output import Progress


@dataclass(frozen=True)
class Captions:
    """A system's captions, and those of a second one that it is compared with."""

    predictions: list[Prediction]
    references: References
    compare: list[Prediction] | None = None
    bad_files: tuple[str, ...] = ()
    """Sounds that the model could not read, and why."""
    bad_rows: list[str] = field(default_factory=list)
    """Rows of files that could not be read, and why."""
    complaints: tuple[str, ...] = ()
    """What is odd about sounds that the model captioned nevertheless."""


def load_captions(config: EvaluateConfig) -> Captions:
    """Caption the clips of a manifest with `config.model`, or read a file of captions.

    Raises:
        ValueError: a file that is wrong, or a manifest with several splits of which none is chosen.
    """
    bad_rows: list[str] = []
    # Before the model is loaded, so that a wrong split is told at once.
    references = _find_references(config, bad_rows)
    compare = None if config.compare is None else read_system(config.compare, bad_rows)
    bad_files: list[BadFile] = []
    complaints: list[BadFile] = []
    if config.model is not None:
        assert references is not None
        predictions, bad_files, complaints = _caption_manifest(config, references, bad_rows)
    else:
        predictions = _read_captions(config.data, bad_rows)
    if references is None:
        references = References()
        for one in predictions:
            references.add(one.id, one.references)
    references = references.first(config.limit)
    return Captions(
        _of_clips(references, predictions, config.limit, bad_rows),
        references,
        None if compare is None else _of_clips(references, compare, config.limit, bad_rows),
        tuple(map(name_bad, bad_files)),
        bad_rows,
        tuple(map(name_bad, complaints)),
    )


def _find_references(config: EvaluateConfig, bad_rows: list[str]) -> References | None:
    path = config.data if config.model is not None else config.references
    if path is None:
        return None
    references = read_references(path, bad_rows, split=config.split, language=config.language)
    if not any(references.texts.values()):
        raise ValueError(f"no clip of {path} has captions in {config.language} to score against")
    return references


def _read_captions(path: Path, bad_rows: list[str]) -> list[Prediction]:
    try:
        return read_system(path, bad_rows)
    except PredictionError as error:
        raise ValueError(f"{error} (is this a manifest? then --model says what captions it)") from error


def _of_clips(
    references: References, predictions: Sequence[Prediction], limit: int | None, bad_rows: list[str]
) -> list[Prediction]:
    named = references.name_alike(predictions, bad_rows)
    # With a limit the other clips are out on purpose, and not worth a line each.
    return named if limit is None else [one for one in named if one.id in references.texts]


def _caption_manifest(
    config: EvaluateConfig, references: References, bad_rows: Sequence[str]
) -> tuple[list[Prediction], list[BadFile], list[BadFile]]:
    assert config.model is not None
    settings = CaptionConfig(
        files=(config.data,),
        model=resolve_model(config.model),
        out=config.captions,
        split=config.split,
        language=config.language,
        channel=config.channel,
        num_beams=config.num_beams,
        max_seconds=config.max_seconds,
        max_new_tokens=config.max_new_tokens,
        timestamps=config.timestamps,
        min_new_tokens=min(CaptionConfig.min_new_tokens, config.max_new_tokens),
        batch_size=config.batch_size,
        decode_seconds=config.decode_seconds,
        decode_megabytes=config.decode_megabytes,
        device=config.device,
        dtype=config.dtype,
    )
    predictions, bad_files, complaints = caption_clips(settings, config.limit, bad_rows)
    # A file that is gone on with may hold captions of other splits.
    return [one for one in predictions if one.id in references.texts], bad_files, complaints


def caption_clips(
    config: CaptionConfig, limit: int | None = None, bad_rows: Sequence[str] = ()
) -> tuple[list[Prediction], list[BadFile], list[BadFile]]:
    """Caption clips of manifests; with `config.out`, go on where a killed run was.

    Args:
        config: settings; captions are the most probable ones, uncorrected and of whole clips.
        limit: caption the first clips only, this many.
        bad_rows: rows of the manifests that cannot be read, for the report beside `config.out`.

    Returns:
        Predictions in the order of the clips, sounds that could not be read, and what is odd about others.
    """
    # The rows that cannot be read were reported when the references were.
    sounds = find_sounds(config.files, config.split, language=config.language, problems=[])[:limit]
    journal = None
    if config.out is not None:
        # Before the model is loaded: other settings are refused at once.
        journal = Journal(config.out, describe_settings(config), sounds)
    from aac_llm.models.confidence import choose_calibration
    from aac_llm.models.inference import caption_files, load_for_inference
    from aac_llm.models.prediction import predict

    model = load_for_inference(config.model, device=config.device, dtype=config.dtype, channel=config.channel)
    lacking = journal.lacking(sounds) if journal else sounds
    predictions = list(journal.predictions) if journal else []
    bad_files: list[BadFile] = []
    complaints: list[BadFile] = []
    batches = caption_files(
        model,
        [sound.path for sound in lacking],
        config,
        limits=BatchLimits(config.seconds_per_batch, config.batch_size),
        num_workers=config.num_workers,
        bad_files=bad_files,
        complaints=complaints,
        decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
        max_seconds=config.max_seconds,
    )
    with Progress("Captioning", len(sounds), start=len(sounds) - len(lacking)) as progress:
        for batch in batches:
            found = [
                predict(
                    segments,
                    id=lacking[index].id,
                    audio=str(lacking[index].path),
                    timestamps=config.timestamps,
                    calibration=choose_calibration(model.calibrations, config),
                    references=lacking[index].references,
                )
                for index, segments in batch.items()
            ]
            predictions += found
            if journal:
                journal.append(found)
                if bad_files or complaints:
                    journal.note(bad_files, complaints)
            progress.advance(len(found))
    predictions = in_order(predictions, sounds)
    if journal:
        journal.finish(predictions, bad_files, complaints=complaints, bad_rows=bad_rows)
    return predictions, bad_files, complaints
