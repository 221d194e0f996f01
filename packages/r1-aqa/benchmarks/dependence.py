"""What a probe answers without sound, by two rules for the log-probability of an option: sum and mean.

    python benchmarks/dependence.py data/aqa --probe runs/models/smollm2 --limit 64 \\
        --only leaked tuxpaint-named

`data/aqa` holds train.jsonl, validation.jsonl and test.jsonl in AVQA's keys. From each of its data sets 40
questions are drawn; `leaked` are those of tuxpaint-effects with the answer in their text. `--out` writes the
questions for `r1-aqa prepare questions OUT --audio_dependence PROBE...`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from audio_common.strict_json import read_records
from r1_aqa.data.dependence import is_answered, option_probabilities, options_of
from r1_aqa.data.readers import read_questions
from r1_aqa.files import to_json, write_atomically
from r1_aqa.models.option_scores import TextProbe, load_probe, score_options

DATA_SETS = ("esc10", "tuxpaint-effects", "tuxpaint-named")
COUNT = 40


def draw(folder: Path, limit: int, only: Sequence[str]) -> list[dict[str, Any]]:
    """Return questions of each data set in turn, those with the answer in their text among them."""
    rows = [row for name in ("train", "validation", "test") for row in read_records(folder / f"{name}.jsonl")]
    rng, drawn = random.Random(0), {}
    # In this order, for the draws depend on it.
    for name in ("tuxpaint-effects", "esc10", "tuxpaint-named"):
        drawn[name] = [row for row in rows if row["dataset_name"] == name]
        rng.shuffle(drawn[name])
    leaked = [leak(row) for row in drawn["tuxpaint-effects"]]
    groups = [*(drawn[name][:COUNT] for name in DATA_SETS), leaked[:COUNT]]
    found = [row for turn in zip(*groups, strict=True) for row in turn][:limit]
    return [row for row in found if not only or row["dataset_name"] in only]


def leak(row: dict[str, Any]) -> dict[str, Any]:
    """Return a question that says its answer."""
    text = f"This is the sound of a {row['multi_choice'][row['answer']]}. {row['question_text']}"
    return row | {"id": f"{row['id']}-leaked", "dataset_name": "leaked", "question_text": text}


def compare(probe: TextProbe, file: Path) -> None:
    """Print what the probe answers by each rule, and how often it takes the shortest or longest option."""
    counts: dict[tuple[str, str], list[int]] = {}
    for question in read_questions(file):
        options, right = options_of(question)
        scores = np.array(score_options(probe, question))
        lengths = np.array([len(probe.answer_ids(option)) for option in options])
        for rule, values in (("sum", scores), ("mean", scores / lengths)):
            found = option_probabilities(values.tolist())
            taken = lengths[int(found.argmax())]
            differ = lengths.min() < lengths.max()
            told = [1, is_answered(found.tolist(), right)]
            told += [differ and taken == lengths.min(), differ and taken == lengths.max()]
            key = (question.dataset or "", rule)
            counts[key] = [a + int(b) for a, b in zip(counts.get(key, [0] * 4), told, strict=True)]
    for (dataset, rule), (asked, answered, shortest, longest) in sorted(counts.items()):
        print(f"{dataset} {rule}: {answered} of {asked} answered; shortest {shortest}, longest {longest}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--probe", help="a causal language model")
    parser.add_argument("--out", type=Path, default=Path("runs/dependence.jsonl"))
    parser.add_argument("--limit", type=int, default=160)
    parser.add_argument("--only", nargs="*", default=[])
    words = parser.parse_args()
    rows = draw(words.data, words.limit, words.only)
    write_atomically(words.out, b"".join(to_json(row) + b"\n" for row in rows))
    if words.probe:
        probe = load_probe(words.probe)
        if not isinstance(probe, TextProbe):
            raise SystemExit(f"{words.probe} is no language model")
        compare(probe, words.out)


if __name__ == "__main__":
    main()
