"""The choice of channel, which every verb that reads sound has."""

from __future__ import annotations

from typing import Literal, get_args

Channel = Literal["mean", "first", "loudest"]
"""What is heard of a sound with several channels; that of `audio_common.channels`, which loads numpy."""


def check_channel(channel: str | None, name: str = "channel") -> None:
    """Raise ValueError for a choice that there is not; None stands for the model's own."""
    if channel is not None and channel not in get_args(Channel):
        raise ValueError(f"{name} must be mean, first or loudest, got {channel!r}")
