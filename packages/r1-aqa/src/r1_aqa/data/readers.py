"""Read files of questions: benchmarks, AVQA, the paper's JSONL, plain JSONL, chats, told by their keys.

| kind | recognized by | answer |
|---|---|---|
| chats of ms-swift, ShareGPT, ... | `messages`, `conversations`, `audios` | `solution`, or the last turn |
| the paper's JSONL | `question_text`, `audio_path` | index |
| AVQA as published | `question_text`, `video_name` | index; its audio comes with `r1-aqa prepare avqa` |
| MMAU | `audio_id` | text |
| MMAR | `audio_path`, `modality` | text |
| MMAU-Pro | `perceptual_skills`, `task_identifier` | text; open questions have a reference to judge by |
| MMSU | `choice_a`, `answer_gt` | text, or a letter |
| plain, and manifests of ml-clap and aac-llm with a `question` | `audio` | text or index |

What a row has beside is kept in `Question.extra`. A row that cannot be used is named, and ends nothing but
`read_questions`, unless that is asked to keep faults.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from r1_aqa.bulk.places import is_url
from r1_aqa.data.chats import chat_to_plain, is_chat
from r1_aqa.data.licences import say_licences_of_clips
from r1_aqa.data.options import option_at, parse_answer, parse_choices, settle_annotators
from r1_aqa.data.questions import KNOWN, Question, QuestionError, extra_columns
from r1_aqa.data.rows import iterate_rows
from r1_aqa.data.shard_names import split_member

_MMSU_OPTIONS = ("choice_a", "choice_b", "choice_c", "choice_d")
_LONGEST_NAME, _LONGEST_PATH = 255, 4000
"""Bytes beyond which no system has such a file, and looking for it is an error."""


def parse_plain(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of plain JSONL, whose `answer` is a text or the index of an option."""
    for key in ("question", "id"):
        if key not in row:
            raise KeyError(key)
    own = {
        "id": str(row["id"]),
        "question": _text(row, "question"),
    } | sounds_of(row, "audio", folder)
    known = {name: row[name] for name in KNOWN if name in row} | options_of(row)
    return Question(**known | own, extra=extra_columns(row, KNOWN))


def parse_reference(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of the paper's JSONL: AVQA's keys, `audio_path` and `dataset_name`."""
    choices = parse_choices(row["multi_choice"])[0]
    dataset = row.get("dataset_name")
    used = (
        "audio_path",
        "question_text",
        "multi_choice",
        "dataset_name",
        "question_relation",
        "question_type",
    )
    return Question(
        id=str(row["id"]),
        **sounds_of(row, "audio_path", folder),
        question=_text(row, "question_text"),
        choices=choices,
        answer=option_at(row["answer"], choices),
        dataset=dataset,
        relation=row.get("question_relation"),
        category=row.get("question_type"),
        # The paper's code says `audio` in AVQA's questions alone.
        about_video=dataset == "AVQA",
        extra=extra_columns(row, used),
    )


def parse_avqa(row: dict[str, Any], audio: Path) -> Question:
    """Return the question of a row of AVQA about its audio file."""
    reference = row | {"audio_path": str(audio.absolute()), "dataset_name": "AVQA"}
    return parse_reference(reference, Path())


def parse_mmau(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of MMAU (Sakshi113/MMAU), whose test set has no answers."""
    return Question(
        id=str(row["id"]),
        **sounds_of(row, "audio_id", folder),
        question=_text(row, "question"),
        **options_of(row | {"choices": row["choices"]}),
        dataset="MMAU",
        task=row.get("task"),
        category=_joined(row.get("category")),
        sub_category=_joined(row.get("sub-category")),
        difficulty=row.get("difficulty"),
        split=row.get("split"),
        extra=extra_columns(row, ("audio_id", "sub-category")),
    )


def parse_mmar(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of MMAR (BoJack/MMAR)."""
    return Question(
        id=str(row["id"]),
        **sounds_of(row, "audio_path", folder),
        question=_text(row, "question"),
        **options_of(row | {"choices": row["choices"]}),
        dataset="MMAR",
        category=_joined(row.get("category")),
        sub_category=_joined(row.get("sub-category")),
        modality=row.get("modality"),
        extra=extra_columns(row, ("audio_path", "sub-category")),
    )


def parse_mmau_pro(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of MMAU-Pro (gamma-lab-umd/MMAU-Pro), about one sound or several.

    Open questions have no options, and instructions no answer: no rule of words tells whether these are
    answered well. Their `answer` is None, so that they are in no accuracy; what the file has is kept as
    `reference`.
    """
    choices = row.get("choices")
    is_open = not isinstance(choices, list | tuple) or len(choices) < 2
    extra = extra_columns(row, ("audio_path", "sub-cat"))
    if is_open and row.get("answer") is not None:
        extra["reference"] = row["answer"]
    return Question(
        id=str(row["id"]),
        **sounds_of(row, "audio_path" if "audio_path" in row else "audio", folder),
        question=_text(row, "question"),
        **({} if is_open else options_of(row)),
        dataset="MMAU-Pro",
        category=_joined(row.get("category")),
        sub_category=_joined(row.get("sub-cat")),
        extra=extra,
    )


def parse_mmsu(row: dict[str, Any], folder: Path) -> Question:
    """Return the question of a row of MMSU (ddwang2000/MMSU): two to four options in a column each."""
    choices = [row[name] for name in _MMSU_OPTIONS if row.get(name) not in (None, "")]
    return Question(
        id=str(row["id"]),
        **sounds_of(row, "audio_path" if "audio_path" in row else "audio", folder),
        question=_text(row, "question"),
        **options_of({"choices": choices, "answer": row.get("answer_gt")}),
        dataset="MMSU",
        category=row.get("category"),
        sub_category=_joined(row.get("sub-category")),
        extra=extra_columns(row, ("audio_path", "sub-category", "answer_gt", *_MMSU_OPTIONS)),
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
    if is_chat(row):
        return parse_plain(chat_to_plain(row), path.parent)
    if "choice_a" in row and "answer_gt" in row:
        return parse_mmsu(row, path.parent)
    if "perceptual_skills" in row or "task_identifier" in row:
        return parse_mmau_pro(row, path.parent)
    if "audio_id" in row:
        return parse_mmau(row, path.parent)
    if "audio_path" in row:
        return parse_mmar(row, path.parent)
    if "audio" not in row:
        raise ValueError(f"no known kind of question: it has the keys {', '.join(map(str, row))}")
    if row.get("choices") is None and "options" in row:
        row = {"choices" if key == "options" else key: row[key] for key in row if key != "choices"}
    return parse_plain(row, path.parent)


def options_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `Question` that a row's options and its answer are."""
    given, number = row.get("choices"), row.get("answer")
    choices, answer = parse_choices(given, number)
    if isinstance(answer, list | tuple) and answer:
        right, others = settle_annotators(answer, choices)
        return {"choices": choices, "answer": right} | ({"alternatives": others} if others else {})
    if isinstance(given, list) and not isinstance(number, str) and number in given:
        # Among options that are numbers themselves it is one of them, and no index.
        answer = str(given[given.index(number)])
    found: dict[str, Any] = {"choices": choices, "answer": parse_answer(answer, choices)}
    if written := row.get("alternatives"):
        first, more = settle_annotators(written, ())
        found["alternatives"] = (first, *more)
    is_other = choices and isinstance(answer, str) and answer.split() != (found["answer"] or "").split()
    return found | ({"written_answer": answer} if is_other and found["answer"] else {})


def sounds_of(row: dict[str, Any], key: str, folder: Path) -> dict[str, Any]:
    """Return the fields of a question for the sounds of a row: one, or a list of several in their order.

    Raises:
        KeyError, ValueError: there is none, or one is no path.
    """
    value = row[key]
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError(f"{key} names no sound")
    first, *further = [audio_path(value, key, folder) for value in values]
    return {"audio": first, "further_audio": tuple(further)}


def audio_path(value: Any, key: str, folder: Path) -> Path:
    """Return a sound's path: a text, or in an object of Hugging Face's data sets.

    Raises:
        ValueError: it is no path.
    """
    if isinstance(value, dict):
        value = value.get("path")
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{key}: expected the path of a sound, got {value!r}")
    if value.startswith("data:"):
        raise ValueError(
            f"{key}: the sound itself, {value[:30]}...; write it to a file and give the file's path"
        )
    name = os.fsencode(value)
    if max(map(len, name.split(b"/"))) > _LONGEST_NAME or len(name) > _LONGEST_PATH:
        raise ValueError(f"{key}: expected the path of a sound, got {len(value)} characters: {value[:30]}...")
    if is_url(value) and split_member(value) is not None:
        return Path(value)  # a member of a shard
    if is_url(value) and not re.match(r"(https?|ftp|data|file):", value, re.I):
        return Path(value)  # which workers of Ray fetch
    if re.match(r"[a-z0-9]+://", value.removeprefix("file://"), re.I):
        raise ValueError(f"{key}: {value[:80]} is a link; download it and give the file's path")
    return folder / value.removeprefix("file://")


def _text(row: dict[str, Any], key: str) -> str:
    if not isinstance(row[key], str):
        raise ValueError(f"{key}: expected text, got {row[key]!r}")
    return row[key]


def _joined(value: Any) -> str | None:
    # MMAU has a few categories in a list.
    return ", ".join(map(str, value)) if isinstance(value, list) else value


# -- whole files ----------------------------------------------------------------------------------------


def parse_file(path: str | Path) -> Iterator[tuple[str, Question | QuestionError]]:
    """Yield each item's place (`file:line`, or the number in a JSON list) and its question or its fault."""
    path = Path(path)
    for where, row in iterate_rows(path):
        yield where, row if isinstance(row, QuestionError) else _question_or_fault(where, row, path)


def read_questions(
    path: str | Path, *, split: str | None = None, keep_faults: bool = False
) -> list[Question]:
    """Return the questions of a file of any known kind, or those of one split.

    Args:
        path: the file.
        split: only this split's; None: all.
        keep_faults: rows that cannot be used are in their places as questions with a `fault`.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: it is no text; or an item cannot be used, and faults are not kept.
    """
    path = Path(path)
    questions = []
    for where, row in iterate_rows(path):
        found = row if isinstance(row, QuestionError) else _question_or_fault(where, row, path)
        if isinstance(found, QuestionError):
            if not keep_faults:
                raise QuestionError(f"{where}: {found}") from found
            found = _faulty(where, {} if isinstance(row, QuestionError) else row, found)
        questions.append(found)
    say_licences_of_clips(path, map(_licence, questions))
    return [question for question in questions if split is None or question.split == split]


def _licence(question: Question) -> str | None:
    stated = question.extra.get("licence") or question.extra.get("license")
    return stated if isinstance(stated, str) else None


def faults_of(questions: Sequence[Question], source: object, advice: str) -> str | None:
    """Return a line about the rows that cannot be used, with the first ones; None if there are none."""
    faults = [question.fault for question in questions if question.fault]
    if not faults:
        return None
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    rows = "row" if len(faults) == 1 else "rows"
    return f"{len(faults)} {rows} of {source} cannot be used and {advice}: {'; '.join(faults[:3])}{more}"


def _question_or_fault(where: str, row: dict[str, Any], path: Path) -> Question | QuestionError:
    number = where[len(str(path)) :].removeprefix(" item ").strip(":")
    try:
        named = row if row.get("id") is not None else row | {"id": f"{path.stem}-{number}"}
        return parse_row(named, path)
    except KeyError as error:
        return QuestionError(_missing(str(error.args[0]), row))
    except (ValueError, TypeError, IndexError) as error:
        return QuestionError(str(error))


def _missing(key: str, row: dict[str, Any]) -> str:
    if key == "question" and ("captions" in row or "label" in row):
        return "a clip without a question; `r1-aqa prepare clips` makes questions of a manifest's clips"
    like = difflib.get_close_matches(key, [str(name) for name in row], 1)
    meant = f"; is it the key {like[0]!r}?" if like else ""
    return f"there is no {key!r}; it has the keys {', '.join(map(str, row))}{meant}"


def _faulty(where: str, row: dict[str, Any], fault: QuestionError) -> Question:
    """Return what is known of a row that cannot be used: it keeps its place, and its group in tables."""
    groups = ("dataset", "task", "category", "difficulty", "modality", "split")
    known = {name: row[name] for name in groups if isinstance(row.get(name), str)}
    question = row.get("question") if isinstance(row.get("question"), str) else ""
    return Question(
        id=str(row.get("id", where)),
        audio=Path(where),
        question=question or "",
        **known,
        extra=extra_columns(
            row, ("audio_id", "audio_path", "question_text", "multi_choice", "sub-category", *_MMSU_OPTIONS)
        ),
        fault=f"{where}: {fault}",
    )
