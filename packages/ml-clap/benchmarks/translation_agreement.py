"""How far captions agree by chrF that describe different things, or the same: what `min_agreement` can ask.

    python packages/ml-clap/benchmarks/translation_agreement.py data/esc10/manifest.jsonl

Captions of clips with the same label (or, without labels, of one clip) describe the same.
"""

import argparse
from collections import defaultdict
from itertools import combinations, product
from pathlib import Path

import numpy as np
from ml_clap.data.manifest import read_manifest
from ml_clap.translate.scores import chrf


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--language", default="eng_Latn")
    arguments = parser.parse_args()
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in read_manifest(arguments.manifest):
        groups[clip.label or clip.id].update(clip.captions.get(arguments.language, ()))
    unrelated = [
        chrf(one, other)
        for left, right in combinations(groups.values(), 2)
        for one, other in product(left, right)
        if one != other
    ]
    related = [chrf(one, other) for texts in groups.values() for one, other in combinations(sorted(texts), 2)]
    for name, values, quantiles in (
        ("different things", unrelated, (50, 90, 95, 99)),
        ("the same thing", related, (1, 5, 10, 50)),
    ):
        if values:
            shown = ", ".join(f"{q} % below {np.percentile(values, q):.1f}" for q in quantiles)
            print(f"{name}: {len(values):,} pairs, {shown}")


if __name__ == "__main__":
    main()
