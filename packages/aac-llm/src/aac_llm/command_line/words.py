"""The words of a command line, in any order: which are flags, which their values, which stand for themselves.

A flag of many values takes all words up to the next flag, or up to the first that cannot be its value where
it takes numbers or fixed choices. What it must not take stands before it, or after `--`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING
from typing import Any

from .fields import Option, nearest

CONFIG = Option("config", str, "")


class UsageError(ValueError):
    """A command line or a file of settings that cannot be meant: what, and what may be meant instead."""


def read_words(
    words: Sequence[str], options: Mapping[str, Option], positional: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return values by dotted name, and the files of settings that are named.

    Args:
        words: the command line after the verb.
        options: the verb's options.
        positional: names of those that may stand without a flag, in this order.
    """
    end = words.index("--") if "--" in words else len(words)
    queue, free, values, files = deque(words[:end]), list[str](), dict[str, Any](), list[str]()
    while queue:
        word = queue.popleft()
        if not is_flag(word):
            free.append(word)
        elif word.partition("=")[0] == "--config":
            files += _values(CONFIG, word, queue)
        else:
            option, texts = _flag(word, queue, options)
            values[option.name] = _read(f"--{option.name}", option, texts)
    return values | _place([*free, *words[end + 1 :]], values, options, positional), files


def is_flag(word: str) -> bool:
    """Return whether a word is a flag: `--x` or `-x`, but neither `-`, `--` nor a negative number."""
    return re.match(r"--?[^\W\d]", word) is not None


def missing(values: Mapping[str, Any], options: Mapping[str, Option], positional: Sequence[str]) -> list[str]:
    """Return what must be given and is not, as it is written."""
    names = [name for name, option in options.items() if option.default is MISSING and name not in values]
    return [name.upper() if name in positional else f"--{name}" for name in names]


def swallowed(values: Mapping[str, Any], lacking: Sequence[str]) -> str:
    """Return a hint if a flag of many values may have taken a word that is missing."""
    takers = [name for name, value in values.items() if isinstance(value, tuple) and len(value) > 1]
    if lacking[0].startswith("-") or not takers:
        return ""
    return f" (did --{takers[0]} take it? Write {lacking[0]} first, or after --)"


def _flag(word: str, queue: deque[str], options: Mapping[str, Option]) -> tuple[Option, list[str]]:
    name = word.partition("=")[0].removeprefix("--")
    off = options.get(name.removeprefix("no_"))
    if name not in options and off and off.hint is bool and "=" not in word:
        return off, ["false"]
    if name not in options:
        hint = nearest(name, list(options)).replace("mean ", "mean --")
        raise UsageError(f"unknown flag {word.partition('=')[0]}{hint}")
    return options[name], _values(options[name], word, queue)


def _values(option: Option, word: str, queue: deque[str]) -> list[str]:
    """Return the texts of a flag, taken from the words after it."""
    if "=" in word:
        return [word.partition("=")[2]]
    if option.hint is bool:
        return [queue.popleft()] if queue and queue[0] in ("true", "false") else ["true"]
    if option.items:
        return _many(option, queue)
    if not queue or is_flag(queue[0]):
        raise UsageError(f"{word} needs a value: {option.takes} (or {word}=VALUE if it begins with -)")
    return [queue.popleft()]


def _many(option: Option, queue: deque[str]) -> list[str]:
    texts: list[str] = []
    most = len(queue) if Ellipsis in option.items else len(option.items)
    while queue and not is_flag(queue[0]) and len(texts) < most:
        if texts and Ellipsis in option.items and not _fits(option, queue[0]):
            break
        texts.append(queue.popleft())
    return texts


def _fits(option: Option, text: str) -> bool:
    with suppress(ValueError):
        return bool(option.read([text]))
    return False


def _place(
    free: list[str], values: Mapping[str, Any], options: Mapping[str, Option], positional: Sequence[str]
) -> dict[str, Any]:
    """Return the values of words without a flag; a positional that was given by its flag is passed over."""
    placed: dict[str, Any] = {}
    for name in positional:
        if name in values or not free:
            continue
        texts, free = (free, []) if options[name].items else (free[:1], free[1:])
        placed[name] = _read(name.upper(), options[name], texts)
    if free:
        taken = ", ".join(f"{name.upper()} is {values.get(name, placed.get(name))}" for name in positional)
        raise UsageError(f"unexpected word {free[0]!r}" + (f" ({taken})" if taken else ""))
    return placed


def _read(shown: str, option: Option, texts: list[str]) -> Any:
    try:
        return option.read(texts)
    except ValueError as error:
        raise UsageError(f"{shown}: {error}") from None
