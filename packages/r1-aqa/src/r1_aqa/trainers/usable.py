"""Which questions a training can use; OUT/skipped.jsonl lists the others, and why."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from audio_common import AudioError, audio_info

from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import TrainConfig
from r1_aqa.data.questions import Question, read_questions

logger = logging.getLogger(__name__)


def read_all(paths: Sequence[Path]) -> list[Question]:
    """Questions of all files."""
    return [question for path in paths for question in read_questions(path)]


def usable_questions(config: TrainConfig) -> list[Question]:
    """Questions with an answer, and a sound that is there; of a sound no more than its header is read.

    Raises:
        ValueError: nothing is left.
    """
    good, bad, seen = [], [], dict[Path, str | None]()
    for question in read_all(config.questions):
        if question.audio not in seen:
            seen[question.audio] = fault_of(question.audio, config.sound)
        why = seen[question.audio] or ("no answer" if question.answer is None else None)
        if why:
            bad.append((question, why))
        else:
            good.append(question)
    if bad and PartialState().is_main_process:
        note_skipped(config.out, bad)
        logger.warning(
            "%d of %d questions cannot be used: %s",
            len(bad),
            len(bad) + len(good),
            config.out / "skipped.jsonl",
        )
    if not good:
        first = f"{bad[0][0].id} ({bad[0][1]})" if bad else "the files are empty"
        raise ValueError(
            f"no question of {', '.join(map(str, config.questions))} can be used; first: {first}"
        )
    return good


def fault_of(audio: Path, sound: SoundConfig) -> str | None:
    """Why a sound cannot be used, as far as its header tells; None if it can."""
    try:
        seconds = audio_info(audio).duration or 0.0
    except (AudioError, OSError) as error:
        return str(error)
    return f"{seconds:.1f} s long" if sound.too_long == "skip" and seconds > sound.max_seconds else None


def note_skipped(out: Path, found: Sequence[tuple[Question, str]]) -> None:
    """Add questions to `out`/skipped.jsonl, unless they are there."""
    path = out / "skipped.jsonl"
    known = set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set[str]()
    rows = ({"id": each.id, "audio": str(each.audio), "why": why} for each, why in found)
    lines = [json.dumps(row) for row in rows]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines if line not in known))
