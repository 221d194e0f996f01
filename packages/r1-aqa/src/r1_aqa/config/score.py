"""Settings of `r1-aqa score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r1_aqa.config.evaluate import BadRows


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Score existing answers: ours, or a file in the benchmarks' own form."""

    predictions: Path
    """predictions.jsonl of `r1-aqa evaluate`, or JSON with model_output, model_prediction or
    answer_prediction; `-`: standard input."""
    data: Path
    """The benchmark's name or folder, or a file of questions; `-`: standard input."""
    versus: Path | None = None
    """Another model's answers to the same questions, to test whether the two models differ."""
    bad_rows: BadRows = "wrong"
    """Rows that cannot be used (no JSON, an answer that is no option) count as `wrong`, or are left out."""
    by: tuple[str, ...] = ()
    """Further columns of the questions to break accuracies down by, beside task, category, difficulty, ..."""
    out: Path | None = None
    """Folder for scores.json, scores.png and, for MMAU, a submission file."""
    json: Path | None = None
    """Write the scores to this JSON file; `-`: print them."""
    bootstrap: int = 2000
    """Bootstrap draws of an interval."""
    seed: int = 0
    """Seed for bootstrap sampling."""

    def __post_init__(self) -> None:
        if self.bootstrap < 1:
            raise ValueError(f"bootstrap must be at least 1, got {self.bootstrap}")
