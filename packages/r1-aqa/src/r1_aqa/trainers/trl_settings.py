"""Settings of TRL beyond ours (`--trl.KEY VALUE`): checked against the fields of the installed TRL.

A field goes one of four ways. What a setting of ours decides is refused with the flag that decides it; what
would have no effect on questions about sound, or would break what this package promises (exact resume, no
upload, no foreign code), is refused with the reason; what is known to reach TRL's trainer is handed on; and
what only a newer TRL has is handed on with a line that says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from audio_common.strict_json import parse_json
from trl import GRPOConfig, SFTConfig

from r1_aqa.config.train import GRPOTrainConfig, TrainConfig
from r1_aqa.trainers.trl_fields import OURS, PASSED, REFUSED, SFT_REFUSED

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=TrainConfig)


def with_checked_trl(config: Config) -> Config:
    """Return the settings with the values of `config.trl` as TRL's types; the same again changes nothing.

    Raises:
        ValueError: TRL has no such field, it does not go with ours, or its type takes no such value.
    """
    return replace(config, trl=trl_values(config)) if config.trl else config


def trl_values(config: TrainConfig) -> dict[str, Any]:
    """Return `config.trl` with values of the types that the fields of the installed TRL have; see above."""
    kind = GRPOConfig if isinstance(config, GRPOTrainConfig) else SFTConfig
    known = {field.name for field in fields(kind)}
    hints = get_type_hints(kind)
    found = {}
    for name, value in config.trl.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"trl.{name}: {kind.__name__} of the installed TRL has no such field{hint}")
        if why := why_refused(name, kind):
            raise ValueError(f"trl.{name}: {why}")
        if name not in PASSED:
            logger.warning("trl.%s is handed on as it is: r1-aqa was never tried with it", name)
        found[name] = convert(value, hints[name], f"trl.{name}")
    return found


def why_refused(name: str, kind: type) -> str:
    """Return why a field of TRL cannot be set by `--trl`, with what to do; empty if it can."""
    if kind is SFTConfig and name in SFT_REFUSED:
        return SFT_REFUSED[name]
    if name == "loss_type":
        return "set --loss instead"
    if name in OURS:
        return f"set --{OURS[name]} instead"
    return REFUSED.get(name, "")


# -- values as TRL's types ------------------------------------------------------------------------------


def convert(value: Any, hint: Any, where: str) -> Any:
    """Return a value, of a flag's or file's text or from Python, as the type of a field.

    >>> convert("4", float | None, "trl.delta")
    4.0

    Raises:
        ValueError: the type takes no such value.
    """
    kinds = _members(hint)
    if NoneType in kinds and (value is None or value == "null"):
        return None
    for kind in sorted((kind for kind in kinds if kind is not NoneType), key=_breadth):
        try:
            return _as(value, kind, where)
        except (KeyError, TypeError, ValueError):
            continue
    raise ValueError(f"{where}: expected {' or '.join(map(_name, kinds))}, got {value!r}")


def _as(value: Any, kind: Any, where: str) -> Any:
    """Return the value as one type; TypeError or ValueError if it takes no such."""
    kind, items = get_origin(kind) or kind, get_args(kind)
    if kind is dict:
        found = parse_json(value, where) if isinstance(value, str) else value
        if not isinstance(found, Mapping):
            raise TypeError
        return {str(key): _guessed(part) for key, part in found.items()}
    if kind is list:
        parts = [value] if isinstance(value, str | int | float) else list(value)
        return [convert(part, items[0] if items else str, where) for part in parts]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value).value  # as text, which the settings file holds
    if kind is bool:
        return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    if kind is str and not isinstance(value, str):
        raise TypeError
    if kind is int and not re.fullmatch(r"[+-]?\d+", str(value)):
        raise ValueError
    return kind(value)


def _guessed(value: Any) -> Any:
    """Return what a text in a mapping means whose types nobody tells: a number, true, null, or the text."""
    if isinstance(value, Mapping):
        return {str(key): _guessed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_guessed(part) for part in value]
    for kind in (int, float, bool) if isinstance(value, str) else ():
        try:
            return _as(value, kind, "")
        except (KeyError, ValueError):
            continue
    return None if value == "null" else value


def _breadth(kind: Any) -> int:
    """Sort types so that the narrower is tried first: every text would do for str, a list takes all."""
    first, last = [bool, int, float, dict], [str, list]
    plain = get_origin(kind) or kind
    if plain in first:
        return first.index(plain)
    return len(first) + (1 + last.index(plain) if plain in last else 0)


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _name(kind: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(str(member.value) for member in kind)
    plain = get_origin(kind) or kind
    return names.get(kind) or {dict: "a mapping", list: "a list"}.get(plain, str(kind))
