"""The objects of a JSON list or of JSON Lines, and where in the file they are; what is none is named.

A row that cannot be read never hides the others: it comes as an error in its place.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r1_aqa.data.questions import QuestionError
from r1_aqa.files import is_stream, read_bytes

Row = dict[str, Any]
_LOOKED_AT = 4096
"""Bytes at a file's beginning in which a NUL means that it is no text."""


def iterate_rows(path: Path) -> Iterator[tuple[str, Row | QuestionError]]:
    """Yield the objects of a JSON list or of JSON Lines, whatever the file is called, and where they are.

    An object that spans lines is one row, or, with a single list of objects in it, the rows of that list.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: it is no text, or a list that is not JSON.
    """
    if not path.is_file() and not is_stream(path):
        raise FileNotFoundError(f"there is no file {path}")
    content = _as_utf8(path, read_bytes(path))
    whole = _whole(path, content)
    if whole is not None:
        for number, row in enumerate(whole):
            wrong = QuestionError(f"expected a JSON object, got {type(row).__name__}")
            yield f"{path} item {number}", _writable(row) if isinstance(row, dict) else wrong
        return
    # At \n alone: a question may hold characters that count as the end of a line elsewhere.
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield f"{path}:{number}", parse_line(line)


def parse_line(line: bytes) -> Row | QuestionError:
    """Return the object of a line, or what is wrong with it."""
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return QuestionError(f"not UTF-8 text ({error.reason} at byte {error.start})")
    except json.JSONDecodeError as error:
        return QuestionError(f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand brackets
        return QuestionError(f"not JSON that can be read: {error}")
    if not isinstance(row, dict):
        return QuestionError(f"expected a JSON object, got {type(row).__name__}")
    return _writable(row)


def _writable(row: Row) -> Row | QuestionError:
    """Return a row, or its fault where it holds half a character: JSON may, no text and no model can."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return QuestionError(f"half a character, \\u{ord(error.object[error.start]):04x}, is in a text")
    return row


def _as_utf8(path: Path, content: bytes) -> bytes:
    # Windows' editors put a mark before the text.
    if content.startswith(codecs.BOM_UTF8):
        return content.removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise QuestionError(f"{path} is not text in UTF-16: {error.reason}") from error
    nul = content[:_LOOKED_AT].find(b"\0")
    if nul >= 0:
        raise QuestionError(
            f"{path} is not text: byte {nul} is 0; expected JSON Lines or a JSON list of questions, in UTF-8"
        )
    return content


def _whole(path: Path, content: bytes) -> list[Any] | None:
    """Return the items of a file that is one JSON value; None for JSON Lines."""
    start = content.lstrip()[:1]
    if start == b"[":
        try:
            return json.loads(content.decode())
        except UnicodeDecodeError as error:
            raise QuestionError(
                f"{path} is not text in UTF-8: {error.reason} at byte {error.start}"
            ) from error
        except ValueError as error:
            raise QuestionError(f"{path} is not JSON: {error}") from error
    if start != b"{" or not isinstance(parse_line(content.lstrip().split(b"\n")[0]), QuestionError):
        return None
    # Its first line alone is no object: perhaps all lines are one.
    found = parse_line(content)
    if isinstance(found, QuestionError):
        return None
    lists = [value for value in found.values() if isinstance(value, list) and value]
    items = [value for value in lists if all(isinstance(item, dict) for item in value)]
    return items[0] if len(items) == 1 and "question" not in found and "messages" not in found else [found]
