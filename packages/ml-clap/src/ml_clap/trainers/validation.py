"""How good a model is during training, in each language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ml_clap.data.manifest import Clip
from ml_clap.evaluators.evaluate import evaluate_retrieval
from ml_clap.evaluators.zero_shot import classify_clips
from ml_clap.models.ml_clap import MLCLAP


@dataclass(frozen=True)
class Validation:
    """Percentages by language."""

    metric: str
    scores: dict[str, float]

    @property
    def score(self) -> float:
        """Their mean: what the best model has most of."""
        return sum(self.scores.values()) / len(self.scores)


def validate(
    model: MLCLAP, clips: Sequence[Clip], languages: Sequence[str], by: Literal["retrieval", "accuracy"]
) -> Validation:
    """Score a model on validation clips; without `languages` in all of their captions."""
    if by == "accuracy":
        report = classify_clips(model, clips, prompts_of(clips), languages or None)
        return Validation("accuracy", {code: each.accuracy for code, each in report.languages.items()})
    results = evaluate_retrieval(model, clips, languages or None).languages
    scores = {
        code: (each.text_to_audio.map10 + each.audio_to_text.map10) / 2 for code, each in results.items()
    }
    return Validation("mAP@10", scores)


def prompts_of(clips: Sequence[Clip]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Label -> language -> the different captions of that label's clips, for zero-shot classification.

    Raises:
        ValueError: A clip has no label.
    """
    prompts: dict[str, dict[str, dict[str, None]]] = {}
    for clip in clips:
        if clip.label is None:
            raise ValueError(f"validate_by: accuracy needs a label of every clip, and {clip.id} has none")
        for language, texts in clip.captions.items():
            prompts.setdefault(clip.label, {}).setdefault(language, {}).update(dict.fromkeys(texts))
    return {
        label: {language: tuple(texts) for language, texts in languages.items()}
        for label, languages in prompts.items()
    }
