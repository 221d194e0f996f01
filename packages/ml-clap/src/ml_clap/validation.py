"""How good a model is during training, in each language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from ml_clap.manifest import Clip
from ml_clap.model import MLCLAP

Metric = Literal["retrieval", "accuracy"]


@dataclass(frozen=True)
class Validation:
    """Percentages by language, and their mean."""

    metric: str
    scores: dict[str, float]

    @property
    def score(self) -> float:
        """The mean over languages: what the best model has most of."""
        return sum(self.scores.values()) / len(self.scores)
