"""Rows and files of rows that mean harm: for manifests, files of questions, tables and lists of prompts.

A bad row among good ones costs itself alone; a bad file is refused in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

ODD: tuple[Any, ...] = (None, True, -1, 0, 99, 2.5, 1e308, "", " ", "x" * 5000, [], [[]], [1], {}, {"a": 1})
"""Values of every kind, for keys that expect another."""
ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202eevil\u2028line\x00\x7f\x9b31m"
"""What would clear a terminal, name its window, and turn its text."""
PATHS = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x.wav",
    "nul\0in-it.wav",
    "n" * 5000,
    "a/" * 3000 + "x.wav",
    ".",
    "..",
    "~/x.wav",
    "%s%n%x.wav",
    "{0.__class__}.wav",
    "[bold]x[/nothing].wav",
    "half-\ud800.wav",
    ESCAPES + ".wav",
)
"""Paths of sounds that are none, or none of ours."""
RAW_LINES = {
    "objects 100,000 deep": b'{"id":' * 100_000 + b"1" + b"}" * 100_000,
    "lists 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "lists without an end": b"[" * 100_000,
    "a deep value": b'{"id": "deep", "captions": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    "401 digits": b'{"id": "d", "duration": ' + b"9" * 401 + b"}",
    "5,000 digits": b'{"id": "d", "duration": ' + b"9" * 5000 + b"}",
    "1e999": b'{"id": "d", "duration": 1e999}',
    "NaN": b'{"id": "d", "duration": NaN}',
    "-Infinity": b'{"id": "d", "duration": -Infinity}',
    "a key twice": b'{"id": "d", "id": "e"}',
    "no object": b'"a text"',
    "a list": b"[1, 2, 3]",
    "null": b"null",
    "a number": b"17",
    "cut off": b'{"id": "c", "audio": "x.w',
    "two objects": b'{"id": "a"} {"id": "b"}',
    "no UTF-8": b'{"id": "\xff\xfe"}',
    "overlong UTF-8": b'{"id": "\xc0\xaf"}',
    "a raw surrogate": b'{"id": "\xed\xa0\x80"}',
    "raw control codes": b'{"id": "\x1b[2J"}',
    "half a key": b'{"\\ud800": 1}',
    "an empty object": b"{}",
    "a million keys": b"{" + b",".join(b'"k%d":0' % n for n in range(200_000)) + b"}",
    "twice at the end": b"{" + b",".join(b'"k%d":0' % n for n in range(100_000)) + b',"k99999":1}',
    "words": b"not json at all",
    "yaml": b"- id: &a [*a, *a]",
}


def bad_lines(good: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield lines of JSON Lines, each with what is odd about it.

    Args:
        good: a row that is right; each of its keys gets odd values in turn.
    """
    yield from RAW_LINES.items()
    for key in good:
        for value in ODD:
            yield f"{key}: {json.dumps(value)[:20]}", _line(dict(good) | {key: value})
        yield f"{key}: half a character", _line(dict(good) | {key: "half \ud800"})
        yield f"{key}: terminal codes", _line(dict(good) | {key: ESCAPES})
        yield f"{key}: left out", _line({name: value for name, value in good.items() if name != key})
    for path in PATHS:
        yield f"audio: {path[:40]!r}", _line(dict(good) | {"audio": path})
    yield "a key of a method", _line(dict(good) | {"__class__": "x", "extra": {"__init__": 1}})
    yield "a key of terminal codes", _line(dict(good) | {ESCAPES: ESCAPES})
    yield "many captions", _line(dict(good) | {"captions": ["a dog barks"] * 20_000})
    yield "a long text", _line(dict(good) | {"question": "why " * 100_000, "caption": "a " * 100_000})


def bad_files(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield whole files of rows, made from one that is right, each with what is odd about it."""
    text = good.decode()
    yield "empty", b""
    yield "blank", b"\n \n\t\n"
    yield "UTF-8 with a mark", b"\xef\xbb\xbf" + good
    yield "UTF-16", text.encode("utf-16")
    yield "UTF-16 without a mark", text.encode("utf-16-le")
    yield "UTF-32", text.encode("utf-32")
    yield "latin-1", text.encode() + "é\n".encode("latin-1")
    yield "zeros", bytes(10_000)
    yield "ones", b"\xff" * 10_000
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
    yield "a program", b"\x7fELF\x02\x01\x01" + bytes(2000)
    yield "a sound", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(1000)
    yield "a page", b"<!DOCTYPE html>\n<html><body>404</body></html>\n"
    yield "old Macintosh ends", good.replace(b"\n", b"\r")
    yield "Windows ends", good.replace(b"\n", b"\r\n")
    yield "no end of line", good.rstrip(b"\n")
    yield "cut off", good[: len(good) * 2 // 3]
    yield "lists 100,000 deep", b"[" * 100_000
    yield "objects 100,000 deep", b'{"a":' * 100_000
    yield "a list of everything", b"[" + b",".join(good.splitlines()) + b"]"
    yield "a list of nothing", b"[]"
    yield "a list of numbers", b"[" + b"1," * 1000 + b"1]"
    yield "a line of 70 MB", b'{"id": "' + b"x" * (70 << 20) + b'"}\n' + good
    yield "300,000 blank lines", b"\n" * 300_000 + good


def bad_tables(header: str, row: str) -> Iterator[tuple[str, bytes]]:
    """Yield tables, made from a header and a row that are right, each with what is odd about it."""
    columns = header.count(",")
    yield "unclosed quote", f'{header}\n{row}\n"{row}\n{row}\n{row}\n'.encode()
    yield "quotes within", f'{header}\n{row}\na"b"c{"," * columns}\n{row}\n'.encode()
    yield "a quote to the end", f'{header}\n"{"x," * 100_000}'.encode()
    yield "quotes only", (header + "\n" + '"' * 100_001 + f"\n{row}\n").encode()
    yield "too few cells", f"{header}\n{row}\nx\n{row}\n".encode()
    yield "too many cells", f"{header}\n{row}\n{row}{',x' * 1000}\n{row}\n".encode()
    yield "100,000 columns", f"{header}{',c' * 100_000}\n{row}\n".encode()
    yield "a column twice", f"{header},{header}\n{row},{row}\n".encode()
    yield "a cell of 10 MB", f"{header}\n{row}\n{'x' * (10 << 20)}{',' * columns}\n".encode()
    yield "no header", f"{row}\n{row}\n".encode()
    yield "a header only", f"{header}\n".encode()
    yield "terminal codes", f"{header}\n{row}\n{ESCAPES}{f',{ESCAPES}' * columns}\n".encode()
    yield "zeros within", f"{header}\n{row}\n\0{row}\n".encode()
    yield "tabs", f"{header}\n{row}\n".replace(",", "\t").encode()
    yield "semicolons", f"{header}\n{row}\n".replace(",", ";").encode()
    yield "formulas", f"{header}\n=cmd|'/C calc'!A0{',=1+1' * columns}\n{row}\n".encode()


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row).encode()
