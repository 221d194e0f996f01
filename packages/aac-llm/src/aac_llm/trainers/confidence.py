"""Confidence calibrated at the end of a training: scores of validation captions, and which of them are right.

The captions are made as `aac-llm caption` makes them (three beams): a greedy caption's score is another
number, in the quickstart -0.62 on average where the search finds -0.34.
"""

from __future__ import annotations

from collections.abc import Sequence

from aac_llm.config.caption import GenerationConfig
from aac_llm.data.dataset import CaptionDataset
from aac_llm.data.languages import ENGLISH
from aac_llm.data.manifest import Clip
from aac_llm.data.predictions import NO_SOUND
from aac_llm.metrics import score_captions
from aac_llm.metrics.calibration import fit_sigmoid
from aac_llm.metrics.events import event_scores
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.confidence import CAPTIONS, TIMESTAMPS, Calibration
from aac_llm.models.inference import caption_batch
from aac_llm.models.prediction import predict
from aac_llm.models.windows import Segment

EVENT_F1 = 0.6
"""An English caption is right if its sound events reach this F1: one of two and no wrong one, say."""
CIDER_D = 1.0
"""A caption in another language is right from this CIDEr-D on, of 10; people reach 1 to 2 on each other's."""


def calibrate(
    model: CaptionModel, dataset: CaptionDataset, indices: Sequence[int], batch_size: int = 16
) -> dict[str, Calibration]:
    """Fit how likely captions are right by their scores, and captions with times if the model writes them.

    Args:
        model: of which captions are made; set to evaluation mode meanwhile.
        dataset: validation clips.
        indices: those that are captioned.
        batch_size: clips at once.

    Returns:
        By kind of caption; empty if no clip can be captioned.
    """
    kinds = {CAPTIONS: False, TIMESTAMPS: True} if model.config.timestamps else {CAPTIONS: False}
    found = {kind: _calibrate(model, dataset, indices, batch_size, timed) for kind, timed in kinds.items()}
    return {kind: one for kind, one in found.items() if one is not None}


def _calibrate(
    model: CaptionModel, dataset: CaptionDataset, indices: Sequence[int], batch_size: int, timestamps: bool
) -> Calibration | None:
    config = GenerationConfig(timestamps=timestamps)
    lengths = dataset.durations
    order = [index for index in sorted(indices, key=lambda index: -lengths[index]) if dataset.can_read(index)]
    captions: list[tuple[int, str, float]] = []  # clip, caption, score
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        waveforms = [dataset[index].waveform for index in batch]
        for index, candidates in zip(batch, caption_batch(model, waveforms, config), strict=True):
            segment = Segment(index, 0.0, lengths[index], candidates)
            made = predict([segment], id="", audio=None, timestamps=timestamps)
            # Of silence no model was asked.
            if made.score is not None and candidates[0].text != NO_SOUND:
                captions.append((index, made.caption, made.score))
    return _fit(captions, dataset.clips)


def _fit(captions: Sequence[tuple[int, str, float]], clips: Sequence[Clip]) -> Calibration | None:
    if not captions:
        return None
    references = [clips[index].captions for index, _, _ in captions]
    language = clips[captions[0][0]].language
    right, criterion = judge([text for _, text, _ in captions], references, language)
    slope, intercept = fit_sigmoid([score for _, _, score in captions], right)
    return Calibration(
        slope=slope,
        intercept=intercept,
        criterion=criterion,
        num_clips=len(captions),
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
