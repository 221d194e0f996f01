"""The licence of a model's weights, as far as its files tell.

A model in two parts has the licences of both, and the stricter of them binds: SONAR's weights, and what is
made from them, are CC-BY-NC-4.0 whatever a page beside them says. What no file tells is called unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

UNKNOWN = "unknown"
CARD_FILE = "README.md"
SONAR = "CC-BY-NC-4.0 (SONAR's text encoder)"
CED = "Apache-2.0 (CED)"
PUBLISHED = (
    (r"^mispeech/ced-", CED),
    (r"SONAR", SONAR),
    (r"^intfloat/multilingual-e5-", "MIT (multilingual e5)"),
    (r"^(FacebookAI/)?xlm-roberta-", "MIT (XLM-R)"),
    (r"^(google-bert/)?bert-base-multilingual-", "Apache-2.0 (multilingual BERT)"),
    (r"^sentence-transformers/LaBSE", "Apache-2.0 (LaBSE)"),
)
"""Names of models on the hub, and their licences there."""
SONAR_VOCABULARY = 256_206
"""Tokens of SONAR's text encoder; no other encoder of its architecture has as many."""


def licence_of_name(name: str | None) -> str:
    """Return the licence of the weights that a hub's name stands for, or `unknown`.

    >>> licence_of_name("mispeech/ced-base@main")
    'Apache-2.0 (CED)'
    """
    return next((licence for pattern, licence in PUBLISHED if re.search(pattern, name or "")), UNKNOWN)


def licence_of_card(folder: Path) -> str:
    """Return the licence that the model card in a folder states (`license:` in its head), or `unknown`."""
    card = folder / CARD_FILE
    if not card.is_file():
        return UNKNOWN
    found = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", errors="replace"), re.DOTALL)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return UNKNOWN
    stated = (head.get("license_name") or head.get("license")) if isinstance(head, dict) else None
    return f"{stated} (its model card)" if isinstance(stated, str) and stated else UNKNOWN


def licence_of_parts(*, audio: str | None, text: str | None, is_sonar: bool) -> str:
    """Say the licences of a model of two encoders.

    Args:
        audio: name of the weights that the audio encoder began from, if they have one.
        text: name of the text encoder.
        is_sonar: whether the text encoder has SONAR's vocabulary, and so its weights, whatever its name is.

    >>> licence_of_parts(audio="mispeech/ced-tiny", text="my/encoder", is_sonar=False)
    'audio Apache-2.0 (CED); text unknown (my/encoder)'
    """
    text_licence = SONAR if is_sonar else licence_of_name(text)
    shown = [
        f"{part} {licence}"
        + (f" ({name or 'begun from random or unnamed weights'})" if licence == UNKNOWN else "")
        for part, licence, name in (("audio", licence_of_name(audio), audio), ("text", text_licence, text))
    ]
    return "; ".join(shown)
