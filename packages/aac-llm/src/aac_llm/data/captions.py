"""The captions of a manifest's row: a list, one text, or either of them by language."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from audio_common.strict_json import is_writable_text

from aac_llm.data.languages import language_code


def parse_captions(
    row: Mapping[str, Any], language: str
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return a row's captions in a language, perhaps none, and those in others by what the row calls them.

    Raises:
        ValueError: there are no captions, empty ones, or two lists for one language.
    """
    if "captions" not in row:
        raise ValueError(
            f"the key 'captions' is missing; a clip needs id, audio and captions, got {sorted(row)}"
        )
    value = row["captions"]
    if not isinstance(value, Mapping):
        return _texts(value, "captions"), {}
    if not value:
        raise ValueError('captions must have a language, as in {"eng_Latn": ["A dog barks."]}, got {}')
    captions: tuple[str, ...] = ()
    translations: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for tag, texts in value.items():
        code = _code(tag)
        if code in seen:
            raise ValueError(f"captions name the language {code} twice, as {seen[code]!r} and {tag!r}")
        seen[code] = tag
        if code == language:
            captions = _texts(texts, f"captions of {tag}")
        else:
            translations[tag] = _texts(texts, f"captions of {tag}")
    return captions, translations


def _code(tag: str) -> str:
    # A language that this package does not know is kept; only the one that is asked for must be known.
    try:
        return language_code(tag)
    except ValueError:
        return tag


def has_words(caption: str) -> bool:
    """Return whether anything is left of a caption without its punctuation, as training takes it.

    >>> has_words("A dog."), has_words("..."), has_words("犬")
    (True, False, True)
    """
    return any(character.isalnum() for character in caption)


def plain_words(caption: str) -> str:
    """Return what captions share that differ by case, punctuation and space alone.

    >>> plain_words("A dog, barking."), plain_words("a dog  barking"), plain_words("犬が吠える。")
    ('a dog barking', 'a dog barking', '犬が吠える')
    """
    kept = (character if _is_of_word(character) else " " for character in caption.casefold())
    return " ".join("".join(kept).split())


def _is_of_word(character: str) -> bool:
    # Marks belong to the letters of Thai or Hindi.
    return unicodedata.category(character)[0] in "LMN"


def _texts(value: Any, what: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise ValueError(f'{what} must be a list such as ["A dog barks."] or one text, got {value!r}')
    # An empty caption would train the model to say nothing.
    for text in texts:
        if not isinstance(text, str) or not text.strip() or not is_writable_text(text):
            raise ValueError(f"{what} must be non-empty texts, got {text!r}")
    return tuple(texts)
