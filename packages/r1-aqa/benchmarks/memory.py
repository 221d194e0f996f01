"""Whether r1-aqa's bulk verbs hold memory in proportion to the clips: the same commands on 1,000 and 10,000.

    python packages/r1-aqa/benchmarks/memory.py

Clips are half a second of noise with one question; the model is random and tiny, so that what grows is not
hidden behind weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from commands import add_flags, compare, make_sounds, write_rows

CHOICES = ["a dog", "rain", "a bell", "a door"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_flags(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(options.folder or Path(name), jobs, options)


def jobs(folder: Path, count: int) -> dict[str, list[str]]:
    """Make the clips, the questions and the model, and return the commands."""
    from r1_aqa.models.prompt import format_prompt
    from r1_aqa.models.tiny import create_tiny_audio_llm

    sounds = make_sounds(folder / "sounds", count)
    rows = (
        {
            "id": path.stem,
            "audio": str(path),
            "question": "What is heard?",
            "choices": CHOICES,
            "answer": CHOICES[number % 4],
        }
        for number, path in enumerate(sounds)
    )
    questions = str(write_rows(folder / "questions.jsonl", rows))
    texts = [format_prompt("What is heard?", CHOICES)]
    model = str(create_tiny_audio_llm(folder / "model", texts, width=16, num_layers=1, encoder_layers=1))
    prepared = str(folder / "prepared.jsonl")
    evaluate = ["r1_aqa", "evaluate", questions, "--model", model, "--out", str(folder / "scores")]
    return {
        "prepare": ["r1_aqa", "prepare", "questions", questions, "--out", prepared],
        "evaluate": [*evaluate, "--max_new_tokens", "2"],
    }


if __name__ == "__main__":
    main()
