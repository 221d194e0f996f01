"""Scores of a model during training, in each language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_clap.config.train import ValidationConfig
from ml_clap.data.manifest import Clip
from ml_clap.evaluators.chance import guess
from ml_clap.evaluators.results import Figure, Interval, RetrievalReport, figures_of
from ml_clap.evaluators.retrieval_evaluation import evaluate_retrieval
from ml_clap.evaluators.zero_shot import classify_clips
from ml_clap.models.ml_clap import MLCLAP

NUM_DRAWS = 200
"""Bootstrap draws of an interval: enough for a band in a picture and a model card; `evaluate` takes more."""


@dataclass(frozen=True)
class Validation:
    """Percentages by language."""

    metric: str
    scores: dict[str, float]
    interval: Interval | None
    """95 % interval of their mean; of mAP@10, a mean of two directions, the mean of both ends."""
    chance: float
    """What guessing has."""
    bad_files: dict[Path, str] = field(default_factory=dict)
    """Files that could not be read, and why."""
    figures: tuple[Figure, ...] = ()
    """With their intervals, for the model's card."""

    @property
    def score(self) -> float:
        """Their mean: what the best model has most of."""
        return sum(self.scores.values()) / len(self.scores)


def validate(model: MLCLAP, clips: Sequence[Clip], config: ValidationConfig) -> Validation:
    """Score a model on validation clips; leaves it in the mode it was in."""
    languages = config.languages or None
    if config.metric == "accuracy":
        labelled = classify_clips(model, clips, prompts_of(clips), languages, num_samples=NUM_DRAWS)
        accuracies = {code: result.accuracy for code, result in labelled.languages.items()}
        figures = [
            Figure(metric="accuracy", value=result.accuracy, interval=result.interval, language=code)
            for code, result in labelled.languages.items()
        ]
        bad_files = {bad.path: bad.reason for bad in labelled.bad_files}
        chance = 100.0 / len(labelled.labels)
        return Validation(
            "accuracy", accuracies, labelled.average_interval, chance, bad_files, tuple(figures)
        )
    found = evaluate_retrieval(model, clips, languages, num_samples=NUM_DRAWS)
    scores = {
        code: (r.text_to_audio.map10 + r.audio_to_text.map10) / 2 for code, r in found.languages.items()
    }
    bad_files = {bad.path: bad.reason for bad in found.bad_files}
    guesses = [one["map10"] for r in found.languages.values() for one in guess(r).values()]
    chance = sum(guesses) / len(guesses)
    return Validation("mAP@10", scores, _mean_interval(found), chance, bad_files, tuple(figures_of(found)))


def _mean_interval(report: RetrievalReport) -> Interval:
    both = (report.average.text_to_audio, report.average.audio_to_text)
    # The same clips are drawn in both: of the mean this is rather too wide than too narrow.
    low, high = zip(*(one.intervals["map10"] for one in both), strict=True)
    return sum(low) / 2, sum(high) / 2


def prompts_of(clips: Sequence[Clip]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return label -> language -> the different captions of that label's clips, for zero-shot classification.

    Raises:
        ValueError: A clip has no label.
    """
    prompts: dict[str, dict[str, dict[str, None]]] = {}
    for clip in clips:
        if clip.label is None:
            raise ValueError(
                f"validation.metric: accuracy needs a label of every clip, and {clip.id} has none"
            )
        for language, texts in clip.captions.items():
            prompts.setdefault(clip.label, {}).setdefault(language, {}).update(dict.fromkeys(texts))
    return {
        label: {language: tuple(texts) for language, texts in languages.items()}
        for label, languages in prompts.items()
    }
