"""The model card of a training: its clips, its validation scores and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from aac_llm.config.model import ModelConfig
from aac_llm.config.train import TrainConfig
from aac_llm.data.dataset import CaptionDataset
from aac_llm.files import to_plain
from aac_llm.models.card import make_card, summarize_data
from aac_llm.models.card_parts import DataSummary, Score, Training
from aac_llm.trainers.run_folder import CONFIG
from aac_llm.trainers.validation import INTERVALS


def training_card(
    settings: TrainConfig,
    model: ModelConfig,
    datasets: Sequence[CaptionDataset],
    updates: int,
    scores: Mapping[str, float] | None = None,
) -> str:
    """Return the text of the card of a model in training.

    Args:
        settings: of the training.
        model: configuration of the model.
        datasets: training clips and, if there are any, validation clips.
        updates: how many there were.
        scores: of validation; None: these weights were not validated.
    """
    data = settings.data
    named = [("training", data.train), ("validation", data.validation)]
    summaries = tuple(
        summarize_data(use, [str(path) for path in manifests], one.clips, sum(one.seconds))
        for (use, manifests), one in zip(named, datasets, strict=False)
    )
    # Not the words of the shell: a run may have been begun from Python, or gone on with by another command.
    command = f"aac-llm {settings.verb} --config {shlex.quote(str(settings.out / CONFIG))} --out AGAIN"
    training = Training(
        command=command, updates=updates, seed=settings.seed, data=summaries, settings=to_plain(settings)
    )
    found = _scores(summaries, scores or {}, settings)
    return make_card(model, training, found, base=settings.init_from)


def _scores(
    summaries: Sequence[DataSummary], scores: Mapping[str, float], settings: TrainConfig
) -> list[Score]:
    if len(summaries) < 2:
        return []
    clips = summaries[1].count
    captioned = min(clips, settings.validation.max_clips)
    splits = ", ".join(settings.data.validation_splits) or None
    return [
        Score(
            metric=name,
            value=value,
            low=scores.get(f"{name}_low"),
            high=scores.get(f"{name}_high"),
            data=", ".join(summaries[1].names),
            split=splits,
            count=clips if name == "loss" else captioned,
        )
        for name, value in scores.items()
        if name != "step" and not name.endswith(INTERVALS)
    ]
