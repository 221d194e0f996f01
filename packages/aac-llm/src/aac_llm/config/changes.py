"""Compare the settings kept beside results with those of now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names, as flags have them.

    >>> flatten({"seed": 0, "model": {"dtype": "float32"}})
    {'seed': 0, 'model.dtype': 'float32'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """Return `name: before -> now` of every setting that differs, apart from those `free` to change.

    A setting that one of the two lacks is passed over: it is of another version of this package.
    """
    old, new = flatten(before), flatten(now)
    names = [name for name in new if name in old and name not in free]
    return [f"{name}: {old[name]} -> {new[name]}" for name in names if old[name] != new[name]]
