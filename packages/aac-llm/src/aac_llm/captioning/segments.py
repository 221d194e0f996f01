"""Captions of the windows of a sound (`--segments`) put together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from aac_llm.data.captions import plain_words
from aac_llm.data.predictions import Prediction
from aac_llm.models.long_sound import merge_events


def merge_equal(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Join neighbouring parts of one sound with the same caption; the first one's candidates are kept."""
    merged: list[Prediction] = []
    for prediction in predictions:
        last = merged[-1] if merged else None
        if last is not None and _continues(last, prediction):
            events = merge_events([last.timestamps, prediction.timestamps])
            merged[-1] = dataclasses.replace(last, end=prediction.end, timestamps=events)
        else:
            merged.append(prediction)
    return merged


def _continues(last: Prediction, following: Prediction) -> bool:
    if last.id != following.id or plain_words(last.caption) != plain_words(following.caption):
        return False
    # A microsecond of rounding is no gap.
    return last.end is not None and following.start is not None and following.start <= last.end + 1e-6


def group_by_sound(predictions: Iterable[Prediction]) -> list[list[Prediction]]:
    """Group the parts of each sound in order of their starts; sounds in the order in which they come."""
    parts: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        parts.setdefault(prediction.id, []).append(prediction)
    return [sorted(group, key=lambda part: part.start or 0.0) for group in parts.values()]
