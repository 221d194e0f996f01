"""Read JSON and JSON Lines strictly: what another program could read otherwise, or no program could use, is
refused with the file, the line and what is wrong.

Refused are, beyond what is no JSON: NaN and infinity, numbers that no float holds, a key that stands twice in
an object, nesting deeper than `MAX_DEPTH`, text that is not UTF-8 (a byte order mark and UTF-16 with one are
accepted), and half characters (lone surrogates). The halves U+DC80 to U+DCFF pass: Python writes bytes of
file names that are not UTF-8 in this way; whether a *text* may hold them, `is_writable_text` tells.

The packages read what is theirs with it, too: it needs the standard library alone.
"""

from __future__ import annotations

import codecs
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

MAX_DEPTH = 100
"""Objects and lists in each other."""
MAX_DIGITS = 100
"""Digits of a whole number: a float holds it, and it is read in no time."""
MAX_LINE_BYTES = 64 << 20
"""Bytes of one line of JSON Lines."""

_LOOKED_AT = 4096
"""Bytes at a file's beginning in which a NUL means that it is no text."""
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


class JSONError(ValueError):
    """JSON that is damaged, or that cannot be used: the file, the line, and what is wrong."""


class _RefusedError(ValueError):
    """Why a value within JSON is refused."""


def parse_json(content: bytes | str, name: str) -> Any:
    """Return the value that JSON stands for.

    Args:
        content: the JSON.
        name: of the file, or `file:line`; the error's message begins with it.

    Raises:
        JSONError: it is no JSON, or refused.
    """
    text = content if isinstance(content, str) else _decode(as_utf8(content, name), name)
    try:
        value = json.loads(
            text,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
        _check_depth(value)
        _check_characters(value, text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise JSONError(f"{name}: not JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise JSONError(f"{name}: not JSON that can be read: nested deeper than {MAX_DEPTH}") from error
    except _RefusedError as error:
        raise JSONError(f"{name}: not JSON that can be read: {error}") from error
    return value


def parse_object(content: bytes | str, name: str) -> dict[str, Any]:
    """Return an object; arguments and errors as `parse_json`, and JSONError for any other value."""
    value = parse_json(content, name)
    if not isinstance(value, dict):
        raise JSONError(f"{name}: expected a JSON object, got {type(value).__name__}")
    return value


def read_json(path: str | Path) -> Any:
    """Read a file of JSON; OSError if it cannot be read, JSONError as `parse_json`."""
    return parse_json(Path(path).read_bytes(), str(path))


def read_object(path: str | Path) -> dict[str, Any]:
    """Read a file that holds one object; OSError if it cannot be read, JSONError as `parse_object`."""
    return parse_object(Path(path).read_bytes(), str(path))


def json_lines(content: bytes, name: str) -> Iterator[tuple[int, dict[str, Any] | JSONError]]:
    """Yield the number of each line that is not blank, and its object or in its place what is wrong with it.

    Args:
        content: JSON Lines.
        name: of the file.

    Raises:
        JSONError: it is no text at all.
    """
    # At \n alone: JSON may hold other marks that `splitlines` takes for the end of a line.
    for number, line in enumerate(as_utf8(content, name).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise JSONError(f"{name}:{number}: a line of {len(line)} bytes; at most {MAX_LINE_BYTES}")
            yield number, parse_object(_decode(line, f"{name}:{number}"), f"{name}:{number}")
        except JSONError as error:
            yield number, error


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON Lines of our own to which lines are appended; none if there is no file.

    What follows the last line break was cut by a kill, and is dropped. So is, with a warning, a line in the
    midst that a disk damaged.
    """
    path = Path(path)
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            records.append(parse_object(line, f"{path}:{number}"))
        except JSONError as error:
            logger.warning("a damaged line is left out: %s", error)
    return records


def as_utf8(content: bytes, name: str) -> bytes:
    """Return a file's text in UTF-8 without a mark before it; JSONError if it is no text."""
    if content.startswith(codecs.BOM_UTF8):
        return content.removeprefix(codecs.BOM_UTF8)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16").encode()
        except UnicodeError as error:
            raise JSONError(f"{name}: not text in UTF-16: {error}") from error
    # In what begins as JSON a NUL is the fault of its line.
    if (nul := content[:_LOOKED_AT].find(b"\0")) >= 0 and content.lstrip()[:1] not in (b"{", b"["):
        raise JSONError(f"{name}: not text: byte {nul} is 0; expected JSON in UTF-8")
    return content


def is_writable_text(text: str) -> bool:
    """Tell whether a text has a form in UTF-8: half a character has none, and no model takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise JSONError(f"{name}: not UTF-8 text ({error.reason} at byte {error.start})") from error


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise _RefusedError(f"a number of {len(digits)} digits; at most {MAX_DIGITS}")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _RefusedError(f"the number {digits[:30]} is beyond what a float holds")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise _RefusedError(f"{constant} is no number of JSON; write null")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = counts.most_common(1)[0][0]
        raise _RefusedError(f"the key {twice!r} stands twice in an object")
    return found


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [node for node in level if isinstance(node, dict | list)]:
        if (depth := depth + 1) > MAX_DEPTH:
            raise _RefusedError(f"nested deeper than {MAX_DEPTH}")
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]


def _check_characters(value: Any, text: str) -> None:
    if not _HALF.search(text):  # nearly always
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise _RefusedError(f"half a character, \\u{half:04x}, is in a text") from error
