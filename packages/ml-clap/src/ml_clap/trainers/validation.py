"""Scores of a model during training, in each language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_clap.config.train import ValidationConfig
from ml_clap.data.manifest import Clip
from ml_clap.evaluators.evaluate import evaluate_retrieval
from ml_clap.evaluators.results import Figure, figures_of
from ml_clap.evaluators.zero_shot import classify_clips
from ml_clap.models.ml_clap import MLCLAP

DRAWS = 200
"""Bootstrap draws of an interval on the model card; `ml-clap evaluate` takes more."""


@dataclass(frozen=True)
class Validation:
    """Percentages by language."""

    metric: str
    scores: dict[str, float]
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
        labelled = classify_clips(model, clips, prompts_of(clips), languages)
        accuracies = {code: result.accuracy for code, result in labelled.languages.items()}
        figures = [
            Figure(metric="accuracy", value=result.accuracy, interval=result.interval, language=code)
            for code, result in labelled.languages.items()
        ]
        bad_files = {bad.path: bad.reason for bad in labelled.bad_files}
        return Validation("accuracy", accuracies, bad_files, tuple(figures))
    found = evaluate_retrieval(model, clips, languages, num_samples=DRAWS)
    scores = {
        code: (r.text_to_audio.map10 + r.audio_to_text.map10) / 2 for code, r in found.languages.items()
    }
    bad_files = {bad.path: bad.reason for bad in found.bad_files}
    return Validation("mAP@10", scores, bad_files, tuple(figures_of(found)))


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
