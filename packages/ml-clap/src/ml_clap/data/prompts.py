"""Descriptions of classes for zero-shot classification: a JSON file of label -> language -> texts.

{"dog_bark": {"eng_Latn": ["A dog barks."], "fra_Latn": ["Un chien aboie."]}, ...}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_clap.data.languages import LANGUAGES, resolve

Prompts = Mapping[str, Mapping[str, Sequence[str]]]
"""Label -> language code -> descriptions."""


def read_prompts(path: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read `{label: {language: [description, ...]}}`; languages in any way that `resolve` knows.

    Raises:
        ValueError: other content, with the label and what is wrong.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except ValueError as e:
        raise ValueError(f"{path} is not JSON in UTF-8: {e}") from e
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected an object of label -> language -> list of descriptions")
    return {label: _read_descriptions(path, label, texts) for label, texts in content.items()}


def choose_prompts(
    prompts: Prompts, languages: Sequence[str] | None = None, indices: Sequence[int] = ()
) -> dict[str, list[list[str]]]:
    """Return language -> for each label, in order, its chosen descriptions.

    Args:
        prompts: all descriptions.
        languages: any codes that `resolve` knows; default: all that every label has.
        indices: which descriptions of each label, from 0; default: all.

    Raises:
        ValueError: a label lacks a language or a description that was asked for.
    """
    everywhere = set.intersection(*(set(texts) for texts in prompts.values()))
    known = [*(code for code in LANGUAGES if code in everywhere), *sorted(everywhere - set(LANGUAGES))]
    wanted = list(dict.fromkeys(resolve(tag) for tag in languages or known))
    if not wanted:
        raise ValueError(
            "the prompts have no language that every label has; name --languages and complete them"
        )
    return {
        code: [_choose(label, texts, code, indices) for label, texts in prompts.items()] for code in wanted
    }


def _read_descriptions(path: Path, label: str, content: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {label!r}: expected language -> list of descriptions, got {content!r}")
    found: dict[str, tuple[str, ...]] = {}
    for tag, texts in content.items():
        is_list = isinstance(texts, list) and bool(texts)
        if not is_list or not all(isinstance(text, str) and text for text in texts):
            raise ValueError(f"{path}: {label!r} in {tag}: expected a list of descriptions, got {texts!r}")
        code = resolve(tag)
        if code in found:
            raise ValueError(f"{path}: {label!r} has the language {code} twice: {sorted(content)}")
        found[code] = tuple(texts)
    return found


def _choose(label: str, texts: Mapping[str, Sequence[str]], code: str, indices: Sequence[int]) -> list[str]:
    if code not in texts:
        raise ValueError(f"the class {label!r} has no description in {code}, only in {', '.join(texts)}")
    beyond = [index for index in indices if index >= len(texts[code])]
    if beyond:
        raise ValueError(
            f"the class {label!r} has {len(texts[code])} descriptions in {code}, numbered from 0: "
            f"there is no number {beyond[0]}"
        )
    return [texts[code][index] for index in indices] if indices else list(texts[code])
