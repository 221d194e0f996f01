"""Dataclasses of settings as a command line: a flag for each field, dotted for those of nested dataclasses.

A field's docstring is its help, its default the flag's; a tuple takes any number of words, a switch `--x` and
`--no_x`. Knows nothing of what the settings are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser, Namespace


def settings_parser(settings: type, positional: Sequence[str] = ()) -> ArgumentParser:
    """A parser of a dataclass's fields and of `--config FILE.yaml`, which flags override.

    Args:
        settings: the dataclass; its docstring describes the command.
        positional: fields that are written without a flag, in this order.
    """
    parser = ArgumentParser(description=(settings.__doc__ or "").strip(), exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of settings; flags override it.")
    _add_fields(parser, parser, settings, None, positional)
    return parser


def construct(settings: type, values: Namespace) -> Any:
    """The dataclass of parsed values; its own checks raise ValueError."""
    hints = get_type_hints(settings)
    made: dict[str, Any] = {}
    for each in fields(settings):
        value = values[each.name]
        if is_dataclass(hints[each.name]):
            value = construct(hints[each.name], value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        made[each.name] = value
    return settings(**made)


def first_sentence(settings: type) -> str:
    """The first line of a dataclass's docstring, without its full stop."""
    return (settings.__doc__ or "").strip().split("\n")[0].rstrip(".")


def field_helps(settings: type) -> dict[str, str]:
    """Field -> its docstring on one line; a derived dataclass's own text comes over that of its base."""
    helps: dict[str, str] = {}
    for each in reversed(settings.__mro__[:-1]):
        params = docstring_parser.parse_from_object(each).params
        helps |= {each.arg_name: " ".join((each.description or "").split()) for each in params}
    return helps


def _add_fields(
    parser: ArgumentParser,
    group: Any,
    settings: type,
    default: Any,
    positional: Sequence[str] = (),
    prefix: str = "",
) -> None:
    hints, helps = get_type_hints(settings), field_helps(settings)
    order = {name: place for place, name in enumerate(positional)}
    for each in sorted(fields(settings), key=lambda each: order.get(each.name, len(order))):
        name, hint = prefix + each.name, hints[each.name]
        value = _default(each) if default is None else getattr(default, each.name)
        if is_dataclass(hint):
            value = None if value is MISSING else value
            inner = parser.add_argument_group(f"{name}: {first_sentence(hint)}")  # type: ignore[arg-type]
            _add_fields(parser, inner, hint, value, prefix=f"{name}.")  # type: ignore[arg-type]
            continue
        text = helps.get(each.name, "").replace("%", "%%")
        if each.name in order:
            _add_positional(group, name, hint, text, value)
        else:
            # Where a word without a flag means something, a switch must not take it for its value.
            _add_flag(group, name, hint, text, value, switch_nargs=0 if positional else "?")


def _add_positional(group: Any, name: str, hint: Any, text: str, default: Any) -> None:
    many = _item_type(hint)
    repeated: dict[str, Any] = {}
    if many:
        repeated = {"nargs": "*", "default": []}  # none at all: the dataclass says what is missing
    elif default is not MISSING:
        repeated = {"nargs": "?", "default": default}
    group.add_argument(name, type=many or hint, metavar=name.upper(), help=text, **repeated)


def _add_flag(group: Any, name: str, hint: Any, text: str, default: Any, *, switch_nargs: int | str) -> None:
    given: dict[str, Any] = {"required": True} if default is MISSING else {"default": default}
    many = _item_type(hint)
    if many:
        given |= {"nargs": "*"} | ({"default": list(default)} if isinstance(default, tuple) else {})
    if hint is bool:
        switch = ActionYesNo(yes_prefix="", no_prefix="no_")
        group.add_argument(f"--{name}", action=switch, nargs=switch_nargs, help=text, **given)
    else:
        group.add_argument(f"--{name}", type=many or hint, help=text, **given)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _item_type(hint: Any) -> Any:
    """The type of the items of a tuple, None for what is not a tuple."""
    if get_origin(hint) is tuple:
        return get_args(hint)[0]
    inner = [each for each in get_args(hint) if each is not NoneType]
    return _item_type(inner[0]) if len(inner) == 1 and get_origin(hint) is not tuple else None
