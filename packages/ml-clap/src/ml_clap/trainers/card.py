"""The model card of a training: its clips, its validation scores and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence, Sized
from dataclasses import fields

from ml_clap.bulk.places import written
from ml_clap.config.distill import DistillConfig, ProjectConfig
from ml_clap.config.train import TrainConfig
from ml_clap.data.languages import resolve
from ml_clap.data.manifest import Clip
from ml_clap.files import to_plain
from ml_clap.models.card import make_card
from ml_clap.models.card_parts import DataSummary, Score, Training, summarize_data
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.validation import Validation


def training_card(
    config: TrainConfig,
    model: MLCLAP,
    clips: Sequence[Clip],
    validation_clips: Sequence[Clip],
    updates: int,
    found: Validation | None = None,
) -> str:
    """Return the text of the card of a model in training.

    Args:
        config: of the training.
        model: as it is saved.
        clips: of the training.
        validation_clips: of the validation; none without.
        updates: how many there were.
        found: by the validation of these weights; None: they were not validated.
    """
    data = config.data
    summaries = [_summary("training", [written(name) for name in data.train], clips)]
    if validation_clips:
        names = [written(name) for name in data.validation]
        summaries.append(_summary("validation", names, validation_clips))
    training = Training(
        command=f"ml-clap train --config {shlex.quote(str(config.out / 'config.json'))} --out AGAIN",
        updates=updates,
        seed=config.seed,
        data=tuple(summaries),
        settings=to_plain(config),
    )
    return make_card(
        model.config,
        is_sonar=model.is_sonar,
        languages=[resolve(code) for code in (data.source_language, *data.languages)],
        base=config.init_from,
        training=training,
        scores=_scores(found, summaries, data.validation_splits) if found is not None else (),
    )


def tower_training(
    config: DistillConfig | ProjectConfig, updates: int, texts: Sized, held: Sized
) -> Training:
    """Return how a text tower was made, for its card.

    Args:
        config: of `distill` or `project`.
        updates: 0 where a map is fitted at once.
        texts: that it learnt from.
        held: that it was scored on.
    """
    names = [written(name) for name in config.texts]
    validation = [written(name) for name in getattr(config, "validation_texts", ())]
    data = (
        summarize_data("training", names, [None] * len(texts), unit="texts"),
        summarize_data("validation", validation or names, [None] * len(held), unit="texts"),
    )
    if isinstance(config, DistillConfig):
        command = f"ml-clap distill --config {shlex.quote(str(config.out / 'config.json'))} --out AGAIN"
    else:  # it keeps no file of settings
        command = f"ml-clap project {shlex.join(_changed_flags(config))} --out AGAIN"
    return Training(command=command, updates=updates, seed=config.seed, data=data, settings=to_plain(config))


def _changed_flags(config: ProjectConfig) -> Iterator[str]:
    """Yield the flags of settings that are not their defaults."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name != "out" and value != field.default:
            yield f"--{field.name}"
            yield from map(str, value if isinstance(value, tuple) else (value,))


def _summary(use: str, names: Sequence[str], clips: Sequence[Clip]) -> DataSummary:
    seconds = [clip.duration for clip in clips]
    known = [length for length in seconds if length is not None]
    hours = sum(known) / 3600 if len(known) == len(seconds) else None
    return summarize_data(use, names, [clip.licence for clip in clips], hours=hours)


def _scores(found: Validation, summaries: Sequence[DataSummary], splits: Sequence[str]) -> list[Score]:
    data, split = ", ".join(summaries[-1].names), ", ".join(splits)
    return [
        Score(
            metric=figure.metric,
            value=figure.value,
            low=figure.interval[0] if figure.interval else None,
            high=figure.interval[1] if figure.interval else None,
            data=data,
            split=" ".join(filter(None, (split, figure.language))) or None,
            count=summaries[-1].count,
        )
        for figure in found.figures
    ]
