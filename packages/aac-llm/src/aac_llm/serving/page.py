"""The page in the browser: drop or record sounds, read their captions."""

from __future__ import annotations
