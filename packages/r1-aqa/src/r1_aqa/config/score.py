"""Settings of `r1-aqa score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Score answers that are there already: ours, or a file in the benchmarks' own form."""

    predictions: Path
    """predictions.jsonl of `r1-aqa evaluate`, or JSON with model_output, model_prediction or
    answer_prediction."""
    questions: Path
    """The benchmark's file."""
    versus: Path | None = None
    """Another model's answers to the same questions: are the two unlike?"""
    out: Path | None = None
    """Folder for scores.json, scores.png and, for MMAU, a submission file."""
    seed: int = 0
    """Of the draws of intervals."""
