"""The choice of channel, which every verb that reads sound has."""

from __future__ import annotations

from audio_common.config import CHANNELS, Channel

__all__ = ["Channel", "check_channel"]


def check_channel(channel: str | None, name: str = "channel") -> None:
    """Raise ValueError for a choice that there is not; None stands for the model's own."""
    if channel is not None and channel not in CHANNELS:
        raise ValueError(f"{name} must be mean, first or loudest, got {channel!r}")
