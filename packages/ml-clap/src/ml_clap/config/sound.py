"""How sounds are read."""

from __future__ import annotations

from typing import Literal

Channel = Literal["mean", "first", "loudest"]
"""What is made of several channels: their average (the louder one where they cancel each other), the first,
or the loudest."""
