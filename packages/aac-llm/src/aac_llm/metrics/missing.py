"""The error of a metric that cannot run here."""

from __future__ import annotations


class MissingMetricError(ValueError):
    """A metric needs something that is not here; `remedy` says how to get it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy
