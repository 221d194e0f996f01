"""Words of a caption as coco-caption's PTBTokenizer finds them (Stanford CoreNLP 3.4.1), without Java."""

from __future__ import annotations

import re


def tokenize(text: str) -> list[str]:
    """Lower-case words of a caption without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())
