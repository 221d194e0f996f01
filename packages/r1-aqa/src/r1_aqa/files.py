"""Settings kept beside what was made with them, so that nothing made with others is mixed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """As JSON has it: paths are texts, tuples are lists."""
    return json.loads(json.dumps(value, default=str))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`name: before -> now` of every setting of `now` that was another before."""
    return [f"{name}: {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
