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


def check_decoding(seconds: float, megabytes: int) -> None:
    """Refuse limits under which nothing can be decoded.

    Raises:
        ValueError: with the setting's name and what it is.
    """
    if not seconds > 0:
        raise ValueError(f"decode_seconds must be above 0, got {seconds}")
    if megabytes < 64:
        raise ValueError(f"decode_megabytes must be at least 64, got {megabytes}")
