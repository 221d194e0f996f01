"""Questions of the documented run: what a starting model learns, what post-training may use, what is tested.

    python packages/r1-aqa/benchmarks/esc10_splits.py ROWS --out runs/aqa

ROWS is a folder with train.jsonl and test.jsonl in the keys of AVQA (id, dataset_name, audio_path,
question_text, multi_choice, answer). ESC-10's training recordings are split in three; a recording is in one
part only, and wrong options are drawn anew for every question:

    start.jsonl       a bit more than half of the recordings, five questions on each clip
    post.jsonl        two questions on each of 96 other clips; what SFT and GRPO learn from
    validation.jsonl  three questions on each clip that is left
    test_in.jsonl     ESC-10's test fold, as it is
    test_out.jsonl    Tux Paint's effects, of all splits, as they are: other sounds, other questions
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

START_SHARE = 0.55
POST_CLIPS = 96


def read_rows(path: Path, dataset: str) -> list[Row]:
    """The rows of a dataset."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["dataset_name"] == dataset]


def recordings(rows: Sequence[Row], rng: random.Random) -> list[list[Row]]:
    """Clips by the recording that they are cut from, in random order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(Path(row["audio_path"]).stem.split("-")[1], []).append(row)
    return rng.sample(list(groups.values()), len(groups))


def fill(groups: list[list[Row]], clips: int) -> list[Row]:
    """Whole recordings, taken from `groups`, with at least so many clips."""
    part: list[Row] = []
    while groups and len(part) < clips:
        part += groups.pop()
    return part


def draw(rows: Sequence[Row], times: int, answers: Sequence[str], rng: random.Random) -> Iterator[Row]:
    """`times` questions on each clip with other wrong options; the right one is as often at each place."""
    questions = [row | {"id": f"{row['id']}#{turn}"} for row in rows for turn in range(times)]
    rng.shuffle(questions)
    for number, row in enumerate(questions):
        right = row["multi_choice"][row["answer"]]
        options = rng.sample([answer for answer in answers if answer != right], 3)
        place = number % 4
        options.insert(place, right)
        yield row | {"multi_choice": options, "answer": place}


def splits(folder: Path, seed: int) -> dict[str, list[Row]]:
    """Every part by name."""
    rng = random.Random(seed)
    train = read_rows(folder / "train.jsonl", "esc10")
    answers = sorted({row["multi_choice"][row["answer"]] for row in train})
    groups = recordings(train, rng)
    start = fill(groups, round(len(train) * START_SHARE))
    post = fill(groups, POST_CLIPS)[:POST_CLIPS]
    left = [row for group in groups for row in group]
    files = [folder / f"{split}.jsonl" for split in ("train", "validation", "test")]
    return {
        "start": list(draw(start, 5, answers, rng)),
        "post": list(draw(post, 2, answers, rng)),
        "validation": list(draw(left, 3, answers, rng)),
        "test_in": read_rows(folder / "test.jsonl", "esc10"),
        "test_out": [row for file in files if file.is_file() for row in read_rows(file, "tuxpaint-effects")],
    }


def main() -> None:
    """Write the files and count their questions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in splits(args.rows, args.seed).items():
        (args.out / f"{name}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
        print(f"{name}: {len(rows)} questions on {len({row['audio_path'] for row in rows})} clips")


if __name__ == "__main__":
    main()
