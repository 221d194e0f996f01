"""How close spice_like comes to the published SPICE of 500 captions of a system, and how long it takes.

python packages/aac-llm/benchmarks/spice_like.py ../shared/golden/captioning/clotho_eval_0_499.jsonl

Rules and costs were chosen on the rows of even numbers; the others were kept aside.
"""

import random
import sys
import time
from pathlib import Path

import numpy as np
from aac_llm.metrics.combined import spider
from aac_llm.metrics.spice_like import spice_like
from audio_common.strict_json import read_records
from numpy.typing import NDArray
from scipy.stats import spearmanr

DRAWS = 1000
TEXT = "a the dog man birds car barks is speaking and while in on with loud wind water falls rings by"
WORDS = TEXT.split()


def show(name: str, found: NDArray, published: NDArray) -> None:
    """Print correlations over clips and the corpus values, with 95 % intervals over clips."""
    drawn = np.random.default_rng(0).integers(len(found), size=(DRAWS, len(found)))
    pearson = [np.corrcoef(found[rows], published[rows])[0, 1] for rows in drawn]
    gap = [np.mean(found[rows] - published[rows]) for rows in drawn]
    print(
        f"{name}: {len(found)} clips, Pearson {np.corrcoef(found, published)[0, 1]:.3f} "
        f"({np.quantile(pearson, 0.025):.3f} to {np.quantile(pearson, 0.975):.3f}), "
        f"Spearman {spearmanr(found, published).statistic:.3f}, corpus {found.mean():.4f} for "
        f"{published.mean():.4f} ({np.quantile(gap, 0.025):+.4f} to {np.quantile(gap, 0.975):+.4f}), "
        f"equal {np.isclose(found, published, rtol=0, atol=1e-6).mean():.0%}"
    )


def show_time() -> None:
    """Print the seconds of 1,000 candidates with five references each, none of which is alike."""
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=generator.randint(6, 16))) for _ in range(6000)]
    start = time.perf_counter()
    spice_like(texts[:1000], [texts[1000 + 5 * clip : 1005 + 5 * clip] for clip in range(1000)])
    print(f"1,000 x 5 captions: {time.perf_counter() - start:.1f} s")


def main() -> None:
    """Compare the columns of the file named on the command line."""
    rows = read_records(Path(sys.argv[1]))
    found = spice_like([row["candidate"] for row in rows], [row["references"] for row in rows])
    published, cider_d = (np.array([row[name] for row in rows]) for name in ("spice", "cider_d"))
    show("chosen on (even rows)", found[::2], published[::2])
    show("kept aside (odd rows)", found[1::2], published[1::2])
    show("all", found, published)
    show("all, spider_like for SPIDEr", spider(cider_d, found), spider(cider_d, published))
    show_time()


if __name__ == "__main__":
    main()
