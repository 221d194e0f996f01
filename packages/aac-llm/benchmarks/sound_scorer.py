"""What a sound scorer can tell: repairs of captions of known sounds, right ones and ones that lie.

    python packages/aac-llm/benchmarks/sound_scorer.py runs/quickstart-ml-clap/data/manifest.jsonl \\
        --sound_scorer "PYTHON packages/aac-llm/examples/sound_scorer.py runs/quickstart-ml-clap/model"

For each clip of the split its caption is broken and mended, rightly or with a changed meaning, and the
program says how well both fit. Printed is the share of repairs that each margin would hold back.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
from aac_llm.correction.sound_scorer import ScorerError, SoundScorer
from aac_llm.data.manifest import read_manifest
from aac_llm.metrics.events import sound_events

MARGINS = (0.0, 0.02, 0.05, 0.1, 0.2)
Rule = Callable[[str, str, Random], "tuple[str, str] | None"]
"""From a caption and another clip's to a broken caption and its repair, if the rule applies."""


def doubled(caption: str, other: str, random: Random) -> tuple[str, str]:
    words = caption.split()
    place = random.randrange(len(words))
    return " ".join([*words[: place + 1], *words[place:]]), caption


def tail(caption: str, other: str, random: Random) -> tuple[str, str]:
    return caption.rstrip(".") + random.choice((" and", " while a", " in the")), caption


def swapped(caption: str, other: str, random: Random) -> tuple[str, str] | None:
    parts = re.split(r",? (?:then|while|and) ", caption.rstrip("."))
    if len(parts) != 2:
        return None
    return doubled(caption, other, random)[0], f"{parts[1].capitalize()}, then {parts[0].lower()}."


def dropped(caption: str, other: str, random: Random) -> tuple[str, str] | None:
    parts = re.split(r",? (?:then|while|and) ", caption.rstrip("."))
    return None if len(parts) != 2 else (doubled(caption, other, random)[0], f"{random.choice(parts)}.")


def added(caption: str, other: str, random: Random) -> tuple[str, str]:
    return doubled(caption, other, random)[0], f"{caption.rstrip('.')} and {other.lower()}"


def replaced(caption: str, other: str, random: Random) -> tuple[str, str]:
    return doubled(caption, other, random)[0], other


def loudness(caption: str, other: str, random: Random) -> tuple[str, str] | None:
    words = {"loudly": "quietly", "quietly": "loudly", "noisily": "softly", "softly": "noisily"}
    found = [word for word in words if word in caption]
    if not found:
        return None
    return doubled(caption, other, random)[0], caption.replace(found[0], words[found[0]])


RULES: dict[str, Rule] = {
    "right: doubled word": doubled,
    "right: incomplete tail": tail,
    "lie: order": swapped,
    "lie: loudness": loudness,
    "lie: event dropped": dropped,
    "lie: event added": added,
    "lie: other events": replaced,
}


def main() -> None:
    """Make repairs, ask the program about all of them at once, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--sound_scorer", required=True)
    parser.add_argument("--num_clips", type=int, default=200)
    arguments = parser.parse_args()
    clips = [clip for clip in read_manifest(arguments.manifest) if clip.split == arguments.split]
    random = Random(0)
    repairs: list[tuple[str, str, str, str]] = []
    for clip in clips[: arguments.num_clips]:
        caption = clip.captions[0]
        other = random.choice(
            [one for one in clips if not sound_events(one.captions[0]) & sound_events(caption)]
        ).captions[0]
        for kind, rule in RULES.items():
            if pair := rule(caption, other, random):
                repairs.append((kind, str(clip.audio), *pair))
    pairs = [(audio, text) for _, audio, before, after in repairs for text in (before, after)]
    found = SoundScorer(arguments.sound_scorer)(pairs)
    failed = [value for value in found if isinstance(value, ScorerError)]
    if failed:
        raise SystemExit(f"the program gave no number {len(failed)} times, first: {failed[0]}")
    changes = np.diff(np.array(found, dtype=float).reshape(-1, 2), axis=1)[:, 0]
    print_table([kind for kind, *_ in repairs], changes)


def print_table(kinds: Sequence[str], changes: np.ndarray) -> None:
    """Print for each kind the change of similarity, and the share held back by each margin."""
    print(f"{'repair':<24}{'n':>5}{'median':>9}" + "".join(f"{f'margin {m:g}':>13}" for m in MARGINS))
    for kind in dict.fromkeys(kinds):
        values = changes[[name == kind for name in kinds]]
        shares = "".join(f"{(values < -margin).mean():>13.1%}" for margin in MARGINS)
        print(f"{kind:<24}{len(values):>5}{np.median(values):>+9.3f}{shares}")


if __name__ == "__main__":
    main()
