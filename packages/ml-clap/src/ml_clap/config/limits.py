"""Limits of settings."""

from __future__ import annotations


def check_at_least(config: object, least: int, *names: str) -> None:
    """Refuse values below `least`; None is no value.

    Raises:
        ValueError: with the setting's name and what it is.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
