"""What `--help` and `--print_config` print."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from .fields import Option, helps, options

COMMON = (
    ("--config NAME|FILE", "A shipped recipe, or a YAML file of settings; flags override it."),
    ("--print_config", "Print all settings as such a file, with comments, and stop."),
    ("-q, --quiet", "Say nothing but warnings, errors and results."),
    ("-v, --verbose", "Say more, to find a fault."),
    ("--traceback", "Print the full trace of an error."),
    ("-h, --help", "Print this help and stop."),
)
INDENT = 28
WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
"""Texts that YAML takes for something else: they are written in quotes."""


def verb_help(command: str, settings: type, positional: Sequence[str], example: str) -> str:
    """Return a verb's help: what it does, an example, each setting with its type and default."""
    known, texts = options(settings), helps(settings)
    flags = [option for name, option in known.items() if name not in positional]
    parts = [f"usage: {usage(command, known, positional)}", inspect.getdoc(settings) or ""]
    if example:
        parts.append(f"example:\n  {command.split()[0]} {example}")
    if positional:
        rows = ((name.upper(), _described(known[name], texts)) for name in positional)
        parts.append("\n".join(columns(rows)) + _greedy_note(flags, positional))
    for section in dict.fromkeys(option.name.rpartition(".")[0] for option in flags):
        title = f"{section}: {texts[section]}" if texts.get(section) else section or "settings:"
        rows = ((_flag(o), _described(o, texts)) for o in flags if o.name.rpartition(".")[0] == section)
        parts.append("\n".join([title, *columns(rows)]))
    parts.append("\n".join(["for every verb:", *columns(COMMON)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def usage(command: str, known: Mapping[str, Option], positional: Sequence[str]) -> str:
    """Return how a verb is called, with what must be given."""
    words = [f"{name.upper()} ..." if known[name].items else name.upper() for name in positional]
    words = [
        f"[{word}]" if is_optional(known[n]) else word for word, n in zip(words, positional, strict=True)
    ]
    needed = [o for o in known.values() if not is_optional(o) and o.name not in positional]
    return " ".join([command, *words, *(f"--{o.name} {o.takes}" for o in needed), "[options]"])


def is_optional(option: Option) -> bool:
    """Return whether an option has a default."""
    return option.default is not MISSING


def columns(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield lines of two columns, the second one wrapped to the terminal."""
    for left, text in rows:
        lines = textwrap.wrap(text, _width() - INDENT) or [""]
        if len(left) > INDENT - 4:
            yield f"  {left}"
            left = ""
        yield f"  {left:{INDENT - 2}}{lines[0]}".rstrip()
        yield from (" " * INDENT + line for line in lines[1:])


def config_text(settings: type, values: Mapping[str, Any], command: str) -> str:
    """Return all settings as a YAML file with their help as comments; `--config` reads it back."""
    known, texts, lines, section = options(settings), helps(settings), [f"# {command}"], ""
    for name, option in known.items():
        parents, _, leaf = name.rpartition(".")
        lines += _sections(section, parents, texts)
        section, indent = parents, "  " * (parents.count(".") + bool(parents))
        value = values.get(name, option.default)
        lines += [f"{indent}# {line}" for line in textwrap.wrap(texts.get(name, ""), 100)]
        written = (
            f"# {leaf}: {option.takes} (required)" if value is MISSING else f"{leaf}: {yaml_text(value)}"
        )
        lines.append(indent + written)
    return "\n".join(lines) + "\n"


def yaml_text(value: Any) -> str:
    """Return a value as it stands in a file of settings."""
    import json

    if isinstance(value, tuple):
        return f"[{', '.join(yaml_text(item) for item in value)}]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    text = str(value)
    if (
        isinstance(value, str | Path)
        and re.fullmatch(r"[A-Za-z_./][\w./-]*", text)
        and text.lower() not in WORDS
    ):
        return text
    return json.dumps(text if isinstance(value, Path) else value, ensure_ascii=False)


def _sections(before: str, now: str, texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the heads of the sections that begin between two settings."""
    names = now.split(".") if now else []
    for depth in range(len(names)):
        path = ".".join(names[: depth + 1])
        if f"{before}.".startswith(f"{path}."):
            continue
        yield from (f"{'  ' * depth}# {line}" for line in textwrap.wrap(texts.get(path, ""), 100))
        yield f"{'  ' * depth}{names[depth]}:"


def _flag(option: Option) -> str:
    if option.hint is bool:
        return f"--{option.name}, --no_{option.name}" if option.default is True else f"--{option.name}"
    return f"--{option.name} {option.takes}"


def _described(option: Option, texts: Mapping[str, str]) -> str:
    text = texts.get(option.name, "")
    if not is_optional(option):
        return f"{text} (required)"
    values = option.default if isinstance(option.default, tuple) else (option.default,)
    default = " ".join(value if isinstance(value, str) else yaml_text(value) for value in values)
    return f"{text} (default: {default or 'none'})"


def _greedy_note(flags: Sequence[Option], positional: Sequence[str]) -> str:
    many = [f"--{option.name}" for option in flags if Ellipsis in option.items]
    if not many:
        return ""
    names = " ".join(name.upper() for name in positional)
    note = f"Write {names} before flags of many values ({', '.join(many)}), or after --."
    return "\n" + textwrap.fill(note, _width(), initial_indent="  ", subsequent_indent="  ")


def _width() -> int:
    return max(shutil.get_terminal_size().columns - 2, INDENT + 30)
