"""Load the questions of a benchmark, and tell which version of them they are.

By name they come from the hub (`r1_aqa.data.hub`), from a folder as a data set there has
(`r1_aqa.data.layout`), or from a file of any kind that `r1_aqa.data.readers` knows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from audio_common.files import AudioFolder

from r1_aqa.bulk.places import is_url, join, written
from r1_aqa.config.evaluate import BadRows
from r1_aqa.data.hub import HUB
from r1_aqa.data.layout import find_layout
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import faults_of, read_questions
from r1_aqa.data.shard_names import needs_fetching
from r1_aqa.data.versions import describe_version
from r1_aqa.files import is_stream, read_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Benchmark:
    """Questions to ask, and where they come from."""

    name: str
    file: Path
    version: str
    """The version's name if it has one, and the fingerprint of its questions."""
    questions: tuple[Question, ...]
    num_in_file: int = 0
    """How many there are without the limit."""
    bad_rows: tuple[str, ...] = ()
    """Rows that cannot be used, and why: `file:line: ...`."""


def load_benchmark(
    source: str,
    audio: Path | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
    bad_rows: BadRows = "wrong",
    url: str | None = None,
) -> Benchmark:
    """Load a benchmark by its name (downloaded once) or from a file of questions.

    Args:
        source: a key of `HUB`, maybe with `@revision`, a folder laid out as its data set is, or a file.
        audio: folder or URL of the audio, by file names; None: where the file of questions says, or unpacked.
        split: only the questions of this split; None: all.
        limit: only this many questions, the first ones; None: all.
        bad_rows: rows that cannot be used are questions with a `fault` (`wrong`), or left out (`skip`).
        url: folder that the file was fetched from, in which its audio is.

    Raises:
        FileNotFoundError: there is no such file, or no audio where it is expected.
        ValueError: there are no questions.
    """
    layout = find_layout(source, with_sounds=audio is None)
    file, audio = layout.questions, audio or layout.audio
    if not file.is_file() and not is_stream(file):
        raise FileNotFoundError(f"there is no file {file}; known benchmarks: {', '.join(HUB)}")
    found = read_rows(file, split=split, bad_rows=bad_rows, commit=layout.commit)
    questions = found.questions[:limit]
    if not questions:
        raise ValueError(f"{file} has no questions" + (f" of split {split}" if split else ""))
    usable = [question for question in questions if not question.fault]
    if not usable:
        raise ValueError(f"no question of {file} can be used; the first: {questions[0].fault}")
    if audio is not None and is_url(audio):
        url = written(audio)
        audio = None
    if url is not None:
        usable = name_from_url(usable, file.parent, url)
    elif audio is not None:
        usable = move_sounds(usable, audio)
    if not any(_is_there(question.audio) for question in usable):
        raise FileNotFoundError(f"no audio of {file} is there, not even {usable[0].audio}; give --audio")
    moved = iter(usable)
    questions = [question if question.fault else next(moved) for question in questions]
    return Benchmark(
        source, file, found.version, tuple(questions), len(found.questions), tuple(found.bad_rows)
    )


def _is_there(audio: Path) -> bool:
    return os.path.isfile(audio) or needs_fetching(audio)


@dataclass(frozen=True)
class Rows:
    """The questions of a file, and its rows that cannot be used."""

    questions: list[Question]
    """In the file's order; with `bad_rows: wrong` those with a fault are among them."""
    bad_rows: list[str]
    """Rows that cannot be used: `file:line: why`."""
    version: str
    """Of all questions of the file: `r1_aqa.data.versions`."""


def read_rows(
    file: Path, *, split: str | None = None, bad_rows: BadRows = "wrong", commit: str | None = None
) -> Rows:
    """Read a file of questions, and say in one line which of its rows cannot be used.

    Args:
        file: of questions.
        split: only the questions of this split; None: all.
        bad_rows: rows that cannot be used are questions with a `fault` (`wrong`), or left out (`skip`).
        commit: of the hub's data set that the file came with.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: it is no text.
    """
    everything = read_questions(file, keep_faults=True)
    version = describe_version(everything, read_bytes(file), commit)
    questions = [question for question in everything if split is None or question.split == split]
    advice = "are left out" if bad_rows == "skip" else "count as wrong (--bad_rows skip leaves them out)"
    if line := faults_of(questions, file, advice):
        logger.warning("%s", line)
    bad = [question.fault for question in questions if question.fault]
    kept = questions if bad_rows == "wrong" else [question for question in questions if not question.fault]
    return Rows(kept, bad, version)


def move_sounds(questions: Sequence[Question], folder: Path) -> list[Question]:
    """Return questions with their sounds as they are below another folder.

    A sound is found by the end of its path, or else by its name anywhere below (archives have folders of
    their own making); one that is not there is expected in the folder itself.
    """
    below = cache(lambda: AudioFolder(folder) if folder.is_dir() else None)

    def find(audio: Path) -> Path:
        nested = [folder.joinpath(*audio.parts[start:]) for start in range(1, len(audio.parts))]
        if found := next((path for path in nested if _is_there(path)), None):
            return found
        with suppress(LookupError):
            if index := below():
                return index.find(audio.name)
        return folder / audio.name

    moved = []
    for question in questions:
        first, *further = map(find, question.audios)
        moved.append(replace(question, audio=first, further_audio=tuple(further)))
    return moved


def name_from_url(questions: Sequence[Question], folder: Path, url: str) -> list[Question]:
    """Return questions with their sounds below a URL as they were below a folder; other URLs stay."""

    def find(audio: Path) -> Path:
        if is_url(audio):
            return audio
        below = audio.relative_to(folder) if audio.is_relative_to(folder) else audio.name
        return Path(join(url, str(below)))

    return [
        replace(question, audio=find(question.audio), further_audio=tuple(map(find, question.further_audio)))
        for question in questions
    ]
