"""Read files of questions: MMAU, MMAR, AVQA, the paper's JSONL and plain JSONL, recognized by their keys.

| kind | recognized by | answer |
|---|---|---|
| the paper's JSONL | `question_text`, `audio_path` | index |
| AVQA as published | `question_text`, `video_name` | index; its audio comes with `r1-aqa prepare avqa` |
| MMAU | `audio_id` | text |
| MMAR | `audio_path`, `modality` | text |
| plain | `audio` | text or index |

An AVQA row names a video as `-HG3Omg_89c_000030`: a YouTube id and the second at which the clip starts. The
files that people have are called that, or `-HG3Omg_89c_30` as in the paper's example, with or without the end
second, with `.wav` or any other ending; several folders hold videos instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audio_common.files import walk_files

from r1_aqa.data.questions import Question, QuestionError, from_row
from r1_aqa.files import is_stream, read_bytes

AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"}
VIDEO = {".mp4", ".mkv", ".webm", ".avi", ".mov"}
_AVQA_NAME = re.compile(r"(?P<id>.{11})_(?P<start>\d+)(?:_(?P<end>\d+))?")


def parse_reference(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of the paper's JSONL: AVQA's keys, `audio_path` and `dataset_name`."""
    choices = tuple(map(str, row["multi_choice"]))
    dataset = row.get("dataset_name")
    return Question(
        id=str(row["id"]),
        audio=folder / str(row["audio_path"]),
        question=_text(row, "question_text"),
        choices=choices,
        answer=option(row["answer"], choices),
        dataset=dataset,
        relation=row.get("question_relation"),
        category=row.get("question_type"),
        # The paper's code says `audio` in AVQA's questions alone.
        about_video=dataset == "AVQA",
    )


def parse_avqa(row: dict[str, Any], audio: Path) -> Question:
    """Return the question of a row of AVQA about its audio file."""
    reference = row | {"audio_path": str(audio.absolute()), "dataset_name": "AVQA"}
    return parse_reference(reference, Path())


def parse_mmau(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of MMAU (Sakshi113/MMAU), whose test set has no answers."""
    return Question(
        id=str(row["id"]),
        audio=folder / str(row["audio_id"]),
        question=_text(row, "question"),
        choices=tuple(map(str, row["choices"])),
        answer=row.get("answer") or None,
        dataset="MMAU",
        task=row.get("task"),
        category=_joined(row.get("category")),
        sub_category=_joined(row.get("sub-category")),
        difficulty=row.get("difficulty"),
        split=row.get("split"),
    )


def parse_mmar(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of MMAR (BoJack/MMAR)."""
    return Question(
        id=str(row["id"]),
        audio=folder / str(row["audio_path"]),
        question=_text(row, "question"),
        choices=tuple(map(str, row["choices"])),
        answer=row.get("answer"),
        dataset="MMAR",
        category=_joined(row.get("category")),
        sub_category=_joined(row.get("sub-category")),
        modality=row.get("modality"),
    )


def parse_row(row: dict[str, Any], path: Path) -> Question:
    """Return the question of a row of any kind.

    Raises:
        KeyError, ValueError: something is missing or wrong; the caller says where.
    """
    if "question_text" in row:
        if "audio_path" not in row:
            raise ValueError("a row of AVQA without audio; make a file with audio by `r1-aqa prepare avqa`")
        return parse_reference(row, path.parent)
    if "audio_id" in row:
        return parse_mmau(row, path.parent)
    if "audio_path" in row:
        return parse_mmar(row, path.parent)
    if "audio" not in row:
        raise ValueError(f"no known kind of question: it has the keys {', '.join(map(str, row))}")
    return from_row(row, path.parent)


def option(answer: Any, choices: tuple[str, ...]) -> str | None:
    """Return the option that an index names; AVQA's indices are numbers, None stays None."""
    if answer is None:
        return None
    index = int(answer)
    if not 0 <= index < len(choices):
        raise ValueError(f"answer {answer} is no index of {len(choices)} choices")
    return choices[index]


def _text(row: dict[str, Any], key: str) -> str:
    if not isinstance(row[key], str):
        raise ValueError(f"{key}: expected text, got {row[key]!r}")
    return row[key]


def _joined(value: Any) -> str | None:
    # MMAU has a few categories in a list.
    return ", ".join(map(str, value)) if isinstance(value, list) else value


# -- whole files ----------------------------------------------------------------------------------------


def iterate_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | QuestionError]]:
    """Yield the objects of a JSON list or of JSON Lines, whatever the file is called, and where they are.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: it is no text, or a list that is not JSON.
    """
    if not path.is_file() and not is_stream(path):
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = read_bytes(path).decode("utf-8-sig")  # Windows' editors put a mark before the text
        rows = json.loads(text) if text.lstrip().startswith("[") else None
    except UnicodeDecodeError as error:
        raise QuestionError(f"{path} is not text in UTF-8: {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise QuestionError(f"{path} is not JSON: {error}") from error
    if rows is not None:
        for number, row in enumerate(rows):
            wrong = QuestionError(f"expected an object, got {str(row)[:40]}")
            yield f"{path} item {number}", row if isinstance(row, dict) else wrong
        return
    # Not splitlines: a question may hold characters that count as the end of a line there.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", _parse_line(line)


def parse_file(path: str | Path) -> Iterator[tuple[str, Question | QuestionError]]:
    """Yield each item's place (`file:line`, or the number in a JSON list) and its question or its fault."""
    path = Path(path)
    for where, row in iterate_rows(path):
        try:
            yield where, row if isinstance(row, QuestionError) else parse_row(row, path)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            missing = f"there is no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
            yield where, QuestionError(missing)


def read_questions(path: str | Path, *, split: str | None = None) -> list[Question]:
    """Return the questions of a file of any known kind, or those of one split.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: an item cannot be read; the message names it.
    """
    questions = []
    for where, found in parse_file(path):
        if isinstance(found, QuestionError):
            raise QuestionError(f"{where}: {found}") from found
        questions.append(found)
    return [question for question in questions if split is None or question.split == split]


def _parse_line(line: str) -> dict[str, Any] | QuestionError:
    try:
        row = json.loads(line)
    except ValueError as error:
        return QuestionError(f"not JSON: {error}")
    return row if isinstance(row, dict) else QuestionError(f"expected an object, got {line[:40]}")


# -- AVQA's audio ---------------------------------------------------------------------------------------


class MediaIndex:
    """Audio and videos of a folder by all names that AVQA knows them by; audio comes before a video."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder} of audio or videos")
        self._files: dict[str, Path] = {}
        media = [path for path in walk_files(folder) if path.suffix.lower() in AUDIO | VIDEO]
        for path in sorted(media, key=lambda path: path.suffix.lower() in VIDEO):
            for name in known_names(path.stem):
                self._files.setdefault(name, path)

    def find(self, video_name: str) -> Path | None:
        """Return the file of a row, or None."""
        found = (self._files.get(name) for name in known_names(Path(video_name).stem or video_name))
        return next((path for path in found if path), None)


def known_names(name: str) -> Iterator[str]:
    """Yield a name and its other forms: start second without zeros, without end second, in milliseconds.

    >>> list(known_names("-HG3Omg_89c_000030"))
    ['-HG3Omg_89c_000030', '-HG3Omg_89c@30']
    """
    yield name
    found = _AVQA_NAME.fullmatch(name)
    if found:
        start = int(found["start"])
        yield f"{found['id']}@{start}"
        if found["end"] and start >= 1000 and int(found["end"]) - start >= 1000:
            yield f"{found['id']}@{start // 1000}"


def visual_reason(row: dict[str, Any], relations: Sequence[str], words: Sequence[str]) -> str | None:
    """Return why a row of AVQA cannot be answered by ear, None if it can."""
    relation = row.get("question_relation")
    if relation is not None and relation not in relations:
        return f"relation {relation}"
    asked = set(re.findall(r"[a-z]+", str(row["question_text"]).lower()))
    seen = next((word for word in words if word in asked), None)
    return f"about what is seen ({seen})" if seen else None
