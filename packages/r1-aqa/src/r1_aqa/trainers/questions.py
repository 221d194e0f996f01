"""The questions of a training: which can be used, and OUT/skipped.jsonl of those that cannot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from audio_common import AudioError
from audio_common.strict_json import read_records

from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import TrainConfig
from r1_aqa.data.lengths import measure
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.data.sounds import known_until, refuse_long
from r1_aqa.files import append_line

logger = logging.getLogger(__name__)


def read_all(paths: Sequence[Path]) -> list[Question]:
    """Return the rows of several files; those that cannot be used are questions with a fault."""
    return [question for path in paths for question in read_questions(path, keep_faults=True)]


def usable_questions(config: TrainConfig) -> list[Question]:
    """Return questions with an answer and with audio that is there; the others go to OUT/skipped.jsonl.

    Of an audio file its header is read; all of it only where that does not say how long it is.

    Raises:
        ValueError: nothing is left.
    """
    good, bad, faults = [], [], dict[Path, str | None]()
    for question in read_all(config.data.train):
        audios = () if question.fault else question.audios
        faults |= {audio: audio_fault(audio, config.sound) for audio in audios if audio not in faults}
        no_answer = "no answer" if question.answer is None else None
        why = question.fault or next(filter(None, map(faults.get, audios)), no_answer)
        if why:
            bad.append((question, why))
        else:
            good.append(question)
    say_unusable(config.out, bad, len(good), "questions")
    if not good:
        first = f"{bad[0][0].id} ({bad[0][1]})" if bad else "the files are empty"
        files = ", ".join(map(str, config.data.train))
        raise ValueError(f"no question of {files} can be used; first: {first}")
    return good


def validation_questions(config: TrainConfig) -> list[Question]:
    """Return the validation questions that will be asked; what cannot be goes to OUT/skipped.jsonl."""
    found = read_all(config.data.validation)
    bad = [(question, question.fault) for question in found if question.fault]
    good = [question for question in found if not question.fault]
    say_unusable(config.out, bad, len(good), "validation questions")
    most = config.validation.max_questions
    if most is not None and len(good) > most:
        logger.info("%d of %d validation questions are asked (validation.max_questions)", most, len(good))
    return good[:most]


def say_unusable(out: Path, bad: Sequence[tuple[Question, str]], num_good: int, name: str) -> None:
    """Record questions that cannot be used in OUT/skipped.jsonl, and say how many they are, and the first."""
    if not bad or not PartialState().is_main_process:
        return
    record_skipped(out, bad)
    logger.warning(
        "%d of %d %s cannot be used, the first: %s (%s); all: %s",
        len(bad),
        len(bad) + num_good,
        name,
        bad[0][0].id,
        bad[0][1],
        out / "skipped.jsonl",
    )


def audio_fault(audio: Path, sound: SoundConfig) -> str | None:
    """Return why an audio file cannot be used, as far as its header tells; None if it can."""
    try:
        seconds = measure(audio, at_most=known_until(sound))
        refuse_long(str(audio), seconds, sound)
    except (AudioError, OSError) as error:
        return str(error)
    return None


def record_skipped(out: Path, skipped: Sequence[tuple[Question, str]]) -> None:
    """Append questions and why they are skipped to OUT/skipped.jsonl, unless they are there."""
    # Resumed trainings and several epochs meet the same files again.
    known = {tuple(row.values()) for row in read_skipped(out)}
    for question, why in skipped:
        row = {"id": question.id, "audio": str(question.audio), "why": why}
        if tuple(row.values()) not in known:
            append_line(out / "skipped.jsonl", row)


def read_skipped(out: Path) -> list[dict[str, Any]]:
    """Return the rows of OUT/skipped.jsonl."""
    return read_records(out / "skipped.jsonl")
