"""Lengths of clips against what a training takes: refused, or cropped and counted, never cut silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aac_llm.config.caption import GenerationConfig
from aac_llm.config.train import TrainConfig
from aac_llm.data.dataset import SAMPLE_RATE, CaptionDataset
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.inference import longest_seconds


def check_lengths(config: TrainConfig, model: CaptionModel, dataset: CaptionDataset) -> None:
    """Refuse sounds that do not fit into the decoder's context together with a caption.

    Raises:
        ValueError: with the longest that fit.
    """
    longest, fits = max(dataset.durations), longest_seconds(model, GenerationConfig())
    if longest > fits:
        raise ValueError(
            f"data.max_seconds: there are sounds of {longest:.1f} s, and {fits:g} s fit into the decoder's "
            f"context with a caption; set --data.max_seconds {fits:g}"
        )


def crop_note(dataset: CaptionDataset, seconds: float) -> str:
    """Say how many clips are cropped, where, and what to do."""
    kind, part = ("training", "a random part") if dataset.random else ("validation", "the beginning")
    return (
        f"{dataset.num_cropped:,} of {len(dataset.clips):,} {kind} clips are longer than {seconds:g} s, of "
        f"which only {part} is heard at a time; --data.max_seconds takes more"
    )


def make_report(datasets: Sequence[CaptionDataset]) -> dict[str, Any]:
    """Return what became of the clips: how many there were, were cropped, and could not be decoded."""
    return {
        "training" if data.random else "validation": {
            "clips": len(data.clips),
            "cropped": data.num_cropped,
            "max_seconds": data.max_samples / SAMPLE_RATE,
            "bad_clips": {str(data.clips[number].audio): reason for number, reason in data.bad.items()},
        }
        for data in datasets
    }
