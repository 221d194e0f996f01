"""What every verb that reads sound has: the choice of channel, and limits of decoding."""

from __future__ import annotations

from audio_common.config import CHANNELS, Channel

__all__ = ["Channel", "check_channel"]


def check_channel(channel: str | None, name: str = "channel") -> None:
    """Raise ValueError for a choice that there is not; None stands for the model's own."""
    if channel is not None and channel not in CHANNELS:
        raise ValueError(f"{name} must be mean, first or loudest, got {channel!r}")


def check_decoding(seconds: float, megabytes: int) -> None:
    """Raise ValueError for limits under which nothing can be decoded."""
    if not seconds > 0:
        raise ValueError(f"decode_seconds must be above 0, got {seconds}")
    if megabytes < 64:
        raise ValueError(f"decode_megabytes must be at least 64, got {megabytes}")
