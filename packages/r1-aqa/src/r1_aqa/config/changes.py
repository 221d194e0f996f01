"""Compare the settings kept beside results with those of now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def flatten(settings: Mapping[str, Any], prefix: str = "", *, whole: Collection[str] = ()) -> dict[str, Any]:
    """Return nested settings by their dotted names, as flags have them; those of `whole` stay mappings.

    >>> flatten({"seed": 0, "model": {"dtype": "float32"}})
    {'seed': 0, 'model.dtype': 'float32'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        is_section = isinstance(value, Mapping) and prefix + name not in whole
        found |= flatten(value, f"{prefix}{name}.", whole=whole) if is_section else {prefix + name: value}
    return found


def changes(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    free: Collection[str] = (),
    whole: Collection[str] = (),
) -> list[str]:
    """Return `name: before -> now` of every setting that differs, apart from those `free` to change.

    A setting that one of the two lacks is passed over: it is of another version of this package. Not so in
    the mappings `whole`, whose keys are the user's.
    """
    old, new = flatten(before, whole=whole), flatten(now, whole=whole)
    names = [name for name in new if name in old and name not in free]
    return [f"{name}: {old[name]} -> {new[name]}" for name in names if old[name] != new[name]]
