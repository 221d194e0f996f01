"""How often intervals of 95 % hold the true accuracy of small groups: Wilson's, clustered, and a bootstrap.

    python packages/r1-aqa/benchmarks/intervals.py

Clips have chances of their own: beta-distributed, with the given correlation of two questions about one clip.
"""

from __future__ import annotations

import numpy as np
from r1_aqa.evaluators import statistics

CASES = (
    (10, 1, 0.6, 0.0),
    (20, 1, 0.9, 0.0),
    (30, 1, 0.6, 0.0),
    (10, 4, 0.6, 0.3),
    (20, 4, 0.8, 0.3),
    (30, 3, 0.6, 0.5),
)
"""Clips, questions a clip, true accuracy, correlation within a clip."""
DATA_SETS = 400


def draw(
    rng: np.random.Generator, clips: int, questions: int, right: float, correlation: float
) -> list[bool]:
    """Return verdicts, the questions of a clip side by side."""
    chances = np.full(clips, right)
    if correlation:
        total = (1 - correlation) / correlation
        chances = rng.beta(right * total, (1 - right) * total, clips)
    return (rng.random((clips, questions)) < chances[:, None]).ravel().tolist()


def main() -> None:
    """Print the share of data sets whose interval holds the truth, and the mean width in points."""
    rng = np.random.default_rng(0)
    statistics.FEW_CLUSTERS = 2  # so that `interval` is a bootstrap for small groups, too
    rules = {
        "bootstrap": lambda verdicts, clips: statistics.interval(verdicts, clips, draws=500),
        "Wilson": statistics.wilson_interval,
    }
    for clips, questions, right, correlation in CASES:
        names = np.repeat(np.arange(clips), questions).astype(str).tolist()
        held, width = dict.fromkeys(rules, 0), dict.fromkeys(rules, 0.0)
        for _ in range(DATA_SETS):
            verdicts = draw(rng, clips, questions, right, correlation)
            for name, rule in rules.items():
                found = rule(verdicts, names)
                held[name] += found.low <= right <= found.high
                width[name] += 100 * (found.high - found.low) / DATA_SETS
        shown = ", ".join(f"{name} {held[name] / DATA_SETS:.1%} (width {width[name]:.1f})" for name in rules)
        print(f"{clips} clips of {questions}, {right:.0%} right, correlation {correlation}: {shown}")


if __name__ == "__main__":
    main()
