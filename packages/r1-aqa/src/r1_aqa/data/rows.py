"""The objects of a JSON list or of JSON Lines, and where in the file they are; what is none is named.

A row that cannot be read never hides the others: it comes as an error in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, as_utf8, json_lines, parse_json

from r1_aqa.data.questions import QuestionError
from r1_aqa.files import is_stream, read_bytes

Row = dict[str, Any]


def iterate_rows(path: Path) -> Iterator[tuple[str, Row | QuestionError]]:
    """Yield the objects of a JSON list or of JSON Lines, whatever the file is called, and where they are.

    An object that spans lines is one row, or, with a single list of objects in it, the rows of that list.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: it is no text, or a list that is not JSON.
    """
    if not path.is_file() and not is_stream(path):
        raise FileNotFoundError(f"there is no file {path}")
    try:
        content = as_utf8(read_bytes(path), str(path))
        whole = _whole(path, content)
        rows = list(enumerate(whole) if whole is not None else json_lines(content, str(path)))
    except JSONError as error:
        raise QuestionError(str(error)) from error
    for number, row in rows:
        where = f"{path}:{number}" if whole is None else f"{path} item {number}"
        if isinstance(row, JSONError):
            row = QuestionError(str(row).removeprefix(f"{where}: "))
        elif not isinstance(row, dict):
            row = QuestionError(f"expected a JSON object, got {type(row).__name__}")
        yield where, row


def _whole(path: Path, content: bytes) -> list[Any] | None:
    """Return the items of a file that is one JSON value; None for JSON Lines."""
    text = content.lstrip()
    if text[:1] == b"[":
        return parse_json(content, str(path))
    if text[:1] != b"{" or _object(text.split(b"\n")[0]) is not None:
        return None
    # Its first line alone is no object: perhaps all lines are one.
    found = _object(content)
    if found is None:
        return None
    lists = [value for value in found.values() if isinstance(value, list) and value]
    items = [value for value in lists if all(isinstance(item, dict) for item in value)]
    return items[0] if len(items) == 1 and "question" not in found and "messages" not in found else [found]


def _object(content: bytes) -> Row | None:
    try:
        found = parse_json(content, "")
    except JSONError:
        return None
    return found if isinstance(found, dict) else None
