"""The fields of a dataclass of settings as options: dotted names, types, help texts, values.

What a person writes is text, on the command line and in a file alike, and the field's type says how it is
read. So `lang: no` stays a word and `rate: 1e-5` is a number, whatever YAML would make of them, and `7` in
quotes is no number.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NAMES = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", bool: "{true,false}"}
"""Types a field may have, with how help and errors call them; also Literal, tuples and unions of these."""


class Quoted(str):
    """A text that stands in quotes in a file, and so is no number."""


class Null(str):
    """What stands for nothing in a file: `null`, `~` or an empty place."""


@dataclass(frozen=True)
class Option:
    """A setting that is a flag and a key of a file."""

    name: str
    """Dotted, like `data.train`."""
    hint: Any
    default: Any
    """MISSING: it must be given."""

    @property
    def items(self) -> tuple[Any, ...]:
        """The types of a tuple's items, `...` among them for any number; empty for a single value."""
        many = [kind for kind in members(self.hint) if get_origin(kind) is tuple]
        return get_args(many[0]) if many else ()

    @property
    def takes(self) -> str:
        """What help and errors say that it takes."""
        if not self.items:
            return type_name(self.hint)
        names = [type_name(kind) for kind in self.items if kind is not Ellipsis]
        return f"{names[0]} ..." if Ellipsis in self.items else " ".join(names)

    def read(self, texts: list[str]) -> Any:
        """Return the value of one text, or of any number for a tuple; ValueError says what was expected."""
        if not self.items:
            return read_text(texts[0], self.hint)
        kinds = self.items[:1] * len(texts) if Ellipsis in self.items else self.items
        if len(kinds) != len(texts):
            raise ValueError(f"expected {self.takes}, got {len(texts)} values")
        return tuple(read_text(text, kind) for text, kind in zip(texts, kinds, strict=True))


def options(settings: type, default: Any = None, prefix: str = "") -> dict[str, Option]:
    """Return the options of a dataclass and of the dataclasses in it, in their order."""
    found: dict[str, Option] = {}
    hints = get_type_hints(settings)
    for field in fields(settings):
        name, hint = prefix + field.name, hints[field.name]
        value = _default(field) if default is None else getattr(default, field.name)
        if is_dataclass(hint):
            found |= options(hint, None if value is MISSING else value, f"{name}.")  # type: ignore[arg-type]
        else:
            found[name] = Option(name, hint, value)
    return found


def construct(settings: type, values: dict[str, Any], default: Any = None, prefix: str = "") -> Any:
    """Return the dataclass of values by dotted name; its own checks raise ValueError."""
    made: dict[str, Any] = {}
    hints = get_type_hints(settings)
    for field in fields(settings):
        name, hint = prefix + field.name, hints[field.name]
        value = _default(field) if default is None else getattr(default, field.name)
        if is_dataclass(hint):
            value = construct(hint, values, None if value is MISSING else value, f"{name}.")  # type: ignore[arg-type]
        made[field.name] = values.get(name, value)
    return settings(**made)


def read_text(text: str, hint: Any) -> Any:
    """Return what a text means for a type that is not a tuple."""
    kinds = [kind for kind in members(hint) if kind is not NoneType]
    if isinstance(text, Null):
        if NoneType in members(hint):
            return None
        raise ValueError(f"expected {type_name(hint)}, got nothing")
    if text == "null" and NoneType in members(hint) and not isinstance(text, Quoted):
        return None
    for kind in kinds:
        if not (isinstance(text, Quoted) and kind in (int, float, bool)):
            with suppress(ValueError):
                return _read_as(str(text), kind)
    marks = '"' if isinstance(text, Quoted) else "'"
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    raise ValueError(f"expected {type_name(hint)}, got {marks}{text}{marks}{nearest(text, choices)}")


def type_name(hint: Any) -> str:
    """Return a short name of a type: INT, PATH, {fp32,bf16}."""
    kinds = [kind for kind in members(hint) if kind is not NoneType]
    return "|".join(
        "{" + ",".join(map(str, get_args(kind))) + "}" if get_origin(kind) is Literal else NAMES[kind]
        for kind in kinds
    )


def members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def nearest(name: str, names: list[str]) -> str:
    """Return `; did you mean NAME?`, or nothing if no name is like it."""
    from difflib import get_close_matches

    name = name.replace("-", "_").strip("_")
    leaf = [known for known in names if known.rpartition(".")[2] == name]
    begun = [known for known in names if known.startswith(name)]
    leaves = {known.rpartition(".")[2]: known for known in reversed(names)}
    close = leaf or get_close_matches(name, names, n=1) or begun
    close = close or [leaves[found] for found in get_close_matches(name, leaves, n=1)]
    return f"; did you mean {close[0]}?" if close else ""


def first_sentence(settings: type) -> str:
    """Return the first line of a dataclass's docstring, without its full stop."""
    return inspect.cleandoc(settings.__doc__ or "").split("\n")[0].rstrip(".")


def helps(settings: type, prefix: str = "") -> dict[str, str]:
    """Return the docstring under each field by dotted name; a derived dataclass's own come first."""
    texts: dict[str, str] = {}
    for kind in reversed([kind for kind in settings.__mro__ if is_dataclass(kind)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
        for line, text in pairwise(body):
            if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[prefix + line.target.id] = " ".join(ast.literal_eval(text.value).split())  # type: ignore[union-attr]
    for name, hint in get_type_hints(settings).items():
        if is_dataclass(hint):
            texts |= helps(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
    return texts


def _read_as(text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return get_args(kind)[[str(choice) for choice in get_args(kind)].index(text)]
    if kind is bool:
        return ("false", "true").index(text.lower()) == 1
    if kind is int and not re.fullmatch(r"[+-]?[0-9]+", text):  # int() takes 1_000 and other alphabets, too
        raise ValueError
    value = kind(text)
    if value != value or (kind is Path and not text):  # NaN would pass every check of a range
        raise ValueError
    return value


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
