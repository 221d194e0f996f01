"""The soft penalty for rollouts that are nearly or wholly as long as they may be (DAPO, arXiv:2503.14476)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def overlong_penalty(length: int, longest: int, margin: int) -> float:
    """Return 0 for a rollout that keeps clear of the limit, falling to -1 at the limit (equation 13).

    A rollout that is cut is punished little more than one that nearly was, so that a right way of thinking is
    not made wrong by its last token.

    >>> [overlong_penalty(length, 100, 20) for length in (80, 90, 100)]
    [0.0, -0.5, -1.0]

    Args:
        length: tokens of the rollout, with its end token.
        longest: tokens after which a rollout is cut, L_max.
        margin: tokens before that over which the penalty grows, L_cache.
    """
    return -min(1.0, max(0.0, (length - (longest - margin)) / margin))


def make_overlong_reward(longest: int, margin: int) -> Callable[..., list[float]]:
    """Return the reward `overlong`: `overlong_penalty` of each rollout."""

    def overlong_reward(
        completions: Sequence[str], *, completion_ids: Sequence[Sequence[int]], **_: Any
    ) -> list[float]:
        """Return the soft over-long penalty of each rollout, 0 to -1."""
        return [overlong_penalty(len(ids), longest, margin) for ids in completion_ids]

    return overlong_reward
