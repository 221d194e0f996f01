"""What changed between two texts, word by word."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Literal

Change = tuple[Literal["same", "gone", "new"], str]
"""What became of some words, and the words."""


def word_changes(before: str, after: str) -> list[Change]:
    """Return both texts as one: words that stayed, went and came, in order.

    >>> word_changes("a dog dog barks", "a dog barks loudly")
    [('same', 'a dog'), ('gone', 'dog'), ('same', 'barks'), ('new', 'loudly')]
    """
    old, new = before.split(), after.split()
    if old == new:  # at once: it may be as long as one likes, and then is shown to no model
        return [("same", " ".join(old))]
    changes: list[Change] = []
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            changes.append(("same", " ".join(old[i:j])))
            continue
        if i < j:
            changes.append(("gone", " ".join(old[i:j])))
        if k < m:
            changes.append(("new", " ".join(new[k:m])))
    return changes
