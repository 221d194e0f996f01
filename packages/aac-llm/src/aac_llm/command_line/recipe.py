"""Files of settings (YAML, and so JSON), checked key by key: a mistake names file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from .fields import Null, Option, Quoted, members, nearest
from .words import UsageError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
"""The settings that are shipped."""
NULLS = ("", "~", "null", "Null", "NULL")


def find_recipe(name: str) -> Path:
    """Return the file of a path or of the name of a shipped recipe."""
    shipped = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if Path(name).is_file():
        return Path(name)
    if name in shipped:
        return shipped[name]
    if Path(name).is_dir():
        raise UsageError(f"--config {name} is a folder; name a YAML file in it")
    recipes = f" Shipped recipes: {', '.join(shipped)}." if shipped else ""
    raise UsageError(f"--config: there is no file {name}{nearest(name, list(shipped)) or '.'}{recipes}")


def read_recipe(path: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """Return a file's values by dotted name; UsageError names the line of a mistake."""
    import yaml

    try:
        # Only the tree of texts: what they mean is up to the fields' types.
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not a file of settings"
        raise UsageError(f"{path}{f', line {mark.line + 1}' if mark else ''}: {problem}") from None
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{path}: expected settings as `key: value`, got {_kind(node)}")
    values: dict[str, Any] = {}
    _read_mapping(node, "", f"{path}, line", options, values, {})
    return values


def _read_mapping(
    mapping: Any,
    prefix: str,
    where: str,
    options: Mapping[str, Option],
    values: dict[str, Any],
    lines: dict[str, int],
) -> None:
    for key, node in mapping.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in lines:
            raise UsageError(f"{where} {line}: {name} is there twice, first in line {lines[name]}")
        lines[name] = line
        if name in options:
            values[name] = _read_node(node, options[name], f"{where} {line}: {name}")
        elif not any(known.startswith(f"{name}.") for known in options):
            raise UsageError(f"{where} {line}: unknown key {name}{_nearest_key(name, options)}")
        elif node.id != "mapping":
            raise UsageError(f"{where} {line}: {name}: expected keys of its own, got {_kind(node)}")
        else:
            _read_mapping(node, f"{name}.", where, options, values, lines)


def _read_node(node: Any, option: Option, where: str) -> Any:
    parts = node.value if node.id == "sequence" else [node]
    if _is_null(node, option):
        return None
    if (node.id == "sequence") == bool(option.items) and all(part.id == "scalar" for part in parts):
        try:
            return option.read([_text(part) for part in parts])
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
    expected = f"a list of {option.takes.removesuffix(' ...')}" if option.items else option.takes
    raise UsageError(f"{where}: expected {expected}, got {_kind(node)}")


def _text(node: Any) -> str:
    if node.style:
        return Quoted(node.value)
    return Null(node.value) if node.value in NULLS else node.value


def _is_null(node: Any, option: Option) -> bool:
    return node.id == "scalar" and isinstance(_text(node), Null) and NoneType in members(option.hint)


def _kind(node: Any) -> str:
    """Return what stands in a file, in words."""
    if node.id == "scalar":
        return "nothing" if isinstance(_text(node), Null) else repr(node.value)
    return {"sequence": "a list", "mapping": "a mapping"}[node.id]


def _nearest_key(name: str, options: Mapping[str, Option]) -> str:
    sections = {known.rpartition(".")[0] for known in options if "." in known}
    return nearest(name, [*options, *sorted(sections)])
