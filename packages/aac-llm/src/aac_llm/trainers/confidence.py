"""Confidence calibrated on validation clips: their captions' scores, and which of the captions are right."""

from __future__ import annotations

from collections.abc import Sequence

from aac_llm.data.languages import ENGLISH
from aac_llm.data.manifest import Clip
from aac_llm.metrics import score_captions
from aac_llm.metrics.calibration import fit_sigmoid
from aac_llm.metrics.events import event_scores
from aac_llm.models.confidence import Calibration
from aac_llm.trainers.validation import ValidationClip

EVENT_F1 = 0.6
"""An English caption is right if its sound events reach this F1: one of two and no wrong one, say."""
CIDER_D = 1.0
"""A caption in another language is right from this CIDEr-D on, of 10; people reach 1 to 2 on each other's."""


def calibrate(found: Sequence[ValidationClip], clips: Sequence[Clip]) -> Calibration | None:
    """Fit how likely a caption is right by its score; None: nothing was captioned.

    Args:
        found: results of a validation.
        clips: all clips of the data set.
    """
    unique = {one.index: one for one in found if one.caption is not None and one.score is not None}
    chosen = [unique[index] for index in sorted(unique)]
    if not chosen:
        return None
    references = [clips[one.index].captions for one in chosen]
    right, criterion = judge(
        [one.caption or "" for one in chosen], references, clips[chosen[0].index].language
    )
    slope, intercept = fit_sigmoid([one.score or 0.0 for one in chosen], right)
    return Calibration(
        slope=slope,
        intercept=intercept,
        criterion=criterion,
        num_clips=len(chosen),
        share_right=sum(right) / len(right),
    )


def judge(
    captions: Sequence[str], references: Sequence[Sequence[str]], language: str = ENGLISH
) -> tuple[list[bool], str]:
    """Tell which captions are right, and by what that is judged."""
    if language == ENGLISH:
        values, bound, name = event_scores(captions, references).clips["f1"], EVENT_F1, "event F1"
    else:
        values = score_captions(captions, references, metrics=("cider",)).clips["cider_d"]
        bound, name = CIDER_D, "CIDEr-D"
    return [bool(value >= bound) for value in values], f"{name} of at least {bound:g}"
