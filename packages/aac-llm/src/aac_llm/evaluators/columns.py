"""One score of a system, as tables and comparisons take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aac_llm.metrics.statistics import Statistic, mean_of_sums

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One score of a system."""

    corpus: float
    """Score of all clips together."""
    clips: Floats | None = None
    """Score of each clip, (clips,); None: it is a score of the whole only."""
    table: Floats | None = None
    """(clips,) scores or (clips, columns) counts, whose sums `statistic` scores; None: no interval."""
    statistic: Statistic = mean_of_sums
    """From sums of the table to scores; see `aac_llm.metrics.statistics`."""
    made_by: str = ""
    """Models or programs that made it, with their versions; empty: this package alone."""
