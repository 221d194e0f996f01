"""What correlates with what: our scores of the golden rows against the published scores of the same rows.

python packages/aac-llm/benchmarks/metric_correlations.py \\
    ../shared/golden/captioning/clotho_eval_0_499.jsonl --sentence_model runs/models/e5-small

Takes whatever columns `score_texts` gives that score single clips. Of fitted scores the rows with even
numbers were seen in fitting: they are shown on the others alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from aac_llm.config.evaluate import METRICS, MetricsConfig
from aac_llm.evaluators.report import display_name
from aac_llm.evaluators.score_table import score_texts
from audio_common.strict_json import read_records
from scipy.stats import pearsonr, spearmanr

PUBLISHED = ("spice", "spider", "sbert_sim", "fense", "fer_error_prob")
"""Scores that were published for the rows, and that cannot be computed here without downloads."""
OTHERS = ("bleu_1", "bleu_4", "rouge_l", "cider_d", "meteor")
"""Scores of the file that are computed here as well."""
FITTED = ("sentence_sim", "fense_like", "spice_like", "spider_like")
"""Scores that were fitted to published ones on half of the rows."""


def halves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are seen in fitting (even numbers), and which are not."""
    even = np.arange(size) % 2 == 0
    return even, ~even


def correlation_table(
    ours: dict[str, np.ndarray], published: dict[str, np.ndarray]
) -> tuple[list[str], list[list[str]]]:
    """Return a table of Pearson / Spearman of each of our scores with each published one, (clips,) values."""
    _, unseen = halves(len(next(iter(published.values()))))
    rows = []
    for name, values in ours.items():
        chosen = unseen if name in FITTED else np.ones(len(values), dtype=bool)
        # A judge may not have answered for a clip.
        chosen = chosen & ~np.isnan(values)
        cells = [correlations(values[chosen], target[chosen]) for target in published.values()]
        rows.append([display_name(name), str(chosen.sum()), *cells])
    return ["score", "rows", *(f"published {display_name(name)}" for name in published)], rows


def correlations(values: np.ndarray, target: np.ndarray) -> str:
    """Return Pearson and Spearman of two columns."""
    if not values.std() or not target.std():
        return "-"
    return f"{pearsonr(values, target)[0]:.2f} / {spearmanr(values, target)[0]:.2f}"


def agreement_table(
    ours: dict[str, np.ndarray], published: dict[str, np.ndarray]
) -> tuple[list[str], list[list[str]]]:
    """Return how near fitted scores come to those they stand for, on both halves of the rows."""
    rows = []
    for name, target in (("sentence_sim", "sbert_sim"), ("fense_like", "fense"), ("spice_like", "spice")):
        if name not in ours:
            continue
        for half, chosen in zip(("seen", "not seen"), halves(len(ours[name])), strict=True):
            mine, theirs = ours[name][chosen], published[target][chosen]
            figures = (
                pearsonr(mine, theirs)[0],
                spearmanr(mine, theirs)[0],
                mine.mean(),
                theirs.mean(),
                np.abs(mine - theirs).mean(),
            )
            rows.append([display_name(name), display_name(target), half, *(f"{x:.3f}" for x in figures)])
    names = ["score", "published", "half", "Pearson", "Spearman", "mean", "published mean", "mean error"]
    return names, rows


def print_table(names: list[str], rows: list[list[str]]) -> None:
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", type=Path, help="clotho_eval_0_499.jsonl of shared/golden/captioning")
    parser.add_argument("--sentence_model", default=MetricsConfig.sentence_model)
    parser.add_argument("--fluency_model", default=MetricsConfig.fluency_model)
    parser.add_argument("--metrics", nargs="+", default=["available"], choices=[*METRICS, "available", "all"])
    options = parser.parse_args()
    rows = read_records(options.rows)
    settings = MetricsConfig(
        sentence_model=options.sentence_model, fluency_model=options.fluency_model, device="cpu"
    )
    table = score_texts(
        [row["candidate"] for row in rows], [row["references"] for row in rows], options.metrics, settings
    )
    ours = {name: column.clips for name, column in table.columns.items() if column.clips is not None}
    published = {name: np.array([row[name] for row in rows]) for name in (*PUBLISHED, *OTHERS)}
    print_table(*correlation_table(ours, {name: published[name] for name in PUBLISHED}))
    print("Published scores among each other:\n")
    print_table(*correlation_table({name: published[name] for name in PUBLISHED}, published))
    print_table(*agreement_table(ours, published))
    for name, column in table.columns.items():
        if column.made_by:
            print(f"{display_name(name)}: {column.made_by}")
    for name, why in table.unavailable.items():
        print(f"{display_name(name)} not computed: {why.reason}")


if __name__ == "__main__":
    main()
