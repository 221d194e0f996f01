"""A question about audio, and plain JSONL: an object a line with the field names of `Question`.

`audio` is relative to the file or absolute, a list for a question about several sounds. `r1_aqa.data.readers`
reads all other kinds of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from audio_common.strict_json import is_writable_text

from r1_aqa.bulk.places import is_url, written
from r1_aqa.files import to_json, write_bytes

SOUND_TOKEN = re.compile(r"<\|audio(?:_(?:bos|eos|start|end|pad))?\|>|<sound>|\[AUDIO\]", re.I)
"""What stands for a sound in the text of some model; a processor would look for its samples."""


class QuestionError(ValueError):
    """A question cannot be used; the message names file and line."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about an audio file."""

    id: str
    """Unique within its file, where its authors kept to that."""
    audio: Path
    """The audio file, of several the first."""
    question: str
    """Text of the question, without options."""
    choices: tuple[str, ...] = ()
    """Options in the order shown; empty for a free answer."""
    answer: str | None = None
    """Text of the right option; None where it is not known (a benchmark's hidden test)."""
    written_answer: str | None = None
    """The answer as its file has it, where it is a letter or lacks one: what official scripts compare."""
    alternatives: tuple[str, ...] = ()
    """Other annotators' answers to a question without options, each as right as `answer`."""
    dataset: str | None = None
    """Name of the data set that it comes from."""
    task: str | None = None
    """MMAU: sound, music or speech; of the quickstart's scenes what is asked for."""
    category: str | None = None
    """First level of a benchmark's categories."""
    sub_category: str | None = None
    """Second level of a benchmark's categories."""
    difficulty: str | None = None
    """MMAU: easy, medium or hard."""
    modality: str | None = None
    """MMAR: sound, music, speech and their mixtures."""
    relation: str | None = None
    """AVQA: View, Sound or Both."""
    split: str | None = None
    """train, validation or test."""
    about_video: bool = False
    """Whether it was asked about a video (AVQA): prompts say `audio` instead."""
    further_audio: tuple[Path, ...] = ()
    """The other sounds of a question about several, in their order."""
    extra: dict[str, Any] = field(default_factory=dict, hash=False)
    """Further columns of its row, as they are: for rewards, for tables of scores, and written back."""
    fault: str | None = None
    """Why it cannot be asked, with its place; such a row is counted as wrong, and never written."""

    def __post_init__(self) -> None:
        if self.fault is not None:
            return
        if not self.question.strip():
            raise ValueError("question is empty")
        for text in (self.id, self.question, *self.choices, self.answer or "", *self.alternatives):
            if not is_writable_text(text):
                raise ValueError(f"half a character is in the text {text!r:.60}")
        for text in (self.question, *self.choices):
            # A model's processor counts them as sounds, and that ends the whole job.
            if found := SOUND_TOKEN.search(text):
                raise ValueError(
                    f"{found[0]} stands for a sound in a model's text; take it out of {text!r:.60}"
                )
        if len(self.choices) == 1:
            raise ValueError("choices: expected none, or at least two options, got one")
        if self.choices and self.answer is not None and self.answer not in self.choices:
            raise ValueError(f"answer {self.answer!r} is not one of the choices {list(self.choices)}")

    @property
    def audios(self) -> tuple[Path, ...]:
        """Return all sounds that it is about, in their order."""
        return (self.audio, *self.further_audio)


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write plain JSONL, to standard output for `-`; audio below the file's folder by its relative path."""
    path = Path(path)
    write_bytes(path, b"".join(to_json(to_row(question, path.parent)) + b"\n" for question in questions))


def to_row(question: Question, folder: Path) -> dict[str, Any]:
    """Return a question as plain JSONL has it, without the fields that say nothing."""
    # A field that says nothing is left out, and read again as the same default.
    known = {name: getattr(question, name) for name in KNOWN}
    row = {name: value for name, value in known.items() if value not in (None, (), False)}
    names = [_name_from(audio, folder) for audio in question.audios]
    row["audio"] = names if question.further_audio else names[0]
    return row | {name: value for name, value in question.extra.items() if name not in KNOWN}


def _name_from(audio: Path, folder: Path) -> str:
    if is_url(audio):
        return written(audio)
    audio, base = audio.absolute(), folder.absolute()
    return str(audio.relative_to(base) if audio.is_relative_to(base) else audio)


_NO_KEYS = ("extra", "fault", "further_audio")
KNOWN = tuple(field.name for field in fields(Question) if field.name not in _NO_KEYS)
"""Keys of plain JSONL that mean something here; all others are `extra`."""


def extra_columns(row: dict[str, Any], used: Iterable[str]) -> dict[str, Any]:
    """Return the columns of a row that no field of `Question` was made of."""
    taken = {*used, *KNOWN}
    return {name: value for name, value in row.items() if name not in taken}


def column(question: Question, name: str) -> Any:
    """Return the value of a column: a field, or one of its own; None where it has none."""
    return getattr(question, name) if name in KNOWN else question.extra.get(name)
