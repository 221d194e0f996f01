"""Licences of weights, as far as their files and names tell: what no file tells is `unknown`.

A model made of several has the licences of all its parts, and the strictest of them binds: SONAR's weights,
and what is made from them, are CC-BY-NC-4.0 whatever a page beside them says. The same file is in ml-clap,
aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from ml_clap.data.licences import CARD_FILE, UNKNOWN, licence_of_card

__all__ = [
    "CARD_FILE",
    "UNKNOWN",
    "licence_of_card",
    "licence_of_name",
    "licence_of_parts",
    "licence_of_weights",
    "say_licence_of_weights",
]

logger = logging.getLogger(__name__)

SONAR = "CC-BY-NC-4.0 (SONAR's text encoder)"
PUBLISHED = (
    (r"^mispeech/ced-", "Apache-2.0 (CED)"),
    (r"SONAR", SONAR),
    (r"^intfloat/multilingual-e5-", "MIT (multilingual e5)"),
    (r"^(FacebookAI/)?xlm-roberta-", "MIT (XLM-R)"),
    (r"^(google-bert/)?bert-base-multilingual-", "Apache-2.0 (multilingual BERT)"),
    (r"^sentence-transformers/LaBSE", "Apache-2.0 (LaBSE)"),
    (r"^meta-llama/Llama-2-", "llama2 (Meta's licence)"),
    (r"^HuggingFaceTB/SmolLM2-", "Apache-2.0 (SmolLM2)"),
    (r"^openai/whisper-", "Apache-2.0 (Whisper)"),
    (r"^Qwen/Qwen2-Audio-7B", "Apache-2.0 (Qwen2-Audio)"),
)
"""Names of models on the hub, and the licences of their weights there."""


def licence_of_name(name: str | None) -> str:
    """Return the licence of the weights that a hub's name stands for, or `unknown`.

    >>> licence_of_name("mispeech/ced-base@main")
    'Apache-2.0 (CED)'
    """
    return next((licence for pattern, licence in PUBLISHED if re.search(pattern, name or "")), UNKNOWN)


def licence_of_weights(source: str | Path | None, folder: Path | None = None) -> str:
    """Return the licence of weights: what the card beside them states, else what is known of their name.

    Args:
        source: a folder, or a name on the hub; None: they began from random numbers.
        folder: where the files of a name on the hub are.

    >>> licence_of_weights("HuggingFaceTB/SmolLM2-135M")
    'Apache-2.0 (SmolLM2)'
    """
    if source is None:
        return UNKNOWN
    stated = licence_of_card(Path(source) if folder is None else folder)
    return licence_of_name(str(source)) if stated == UNKNOWN else stated


def licence_of_parts(parts: Mapping[str, str | None], known: Mapping[str, str] | None = None) -> str:
    """Say the licences of a model's parts.

    Args:
        parts: part -> the name of the weights that it began from, None where it has none.
        known: part -> licence, of those whose files tell more than their name.

    >>> licence_of_parts({"audio": "mispeech/ced-tiny", "text": "my/encoder"})
    'audio Apache-2.0 (CED); text unknown (my/encoder)'
    """
    licences = {part: licence_of_weights(name) for part, name in parts.items()} | dict(known or {})
    return "; ".join(
        f"{part} {licence}"
        + (f" ({parts[part] or 'begun from random or unnamed weights'})" if licence == UNKNOWN else "")
        for part, licence in licences.items()
    )


def say_licence_of_weights(source: object, licence: str) -> None:
    """Log the licence of a model's weights; every command that loads one does."""
    logger.info("%s: licence of the weights: %s", source, licence)
