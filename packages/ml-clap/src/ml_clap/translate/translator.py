"""What translates, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

SONAR_DECODER = "sonar_text_decoder.pt"
"""A folder with this file holds SONAR as its authors publish it."""


class Translation(NamedTuple):
    """A translated text."""

    text: str
    """May be empty: models answer nothing at times."""
    is_finished: bool
    """Whether the model ended it; False: it was stopped at the most tokens allowed."""


class Translator(Protocol):
    """A model that translates between languages."""

    name: str
    """Its id on the hub, or its folder's name: a manifest is passed on, where paths mean nothing."""
    revision: str
    """Commit of the hub, or a digest of the weights of a folder."""
    licence: str
    """Of the weights; `unknown` where nothing says it."""
    languages: frozenset[str]
    """FLORES codes that it knows."""
    max_source_tokens: int
    """Longer texts are not read whole."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, those of language and end included."""
        ...

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        """Translate a batch from one FLORES code to another."""
        ...


def is_sonar(name: str) -> bool:
    """Tell whether a translator is SONAR, which needs its own library."""
    return name == "sonar" or (Path(name) / SONAR_DECODER).is_file()


def check_languages(translator: Translator, languages: Sequence[str]) -> None:
    """Raise for languages that a translator does not know, before an hour of work; ValueError names them."""
    unknown = [code for code in languages if code not in translator.languages]
    if unknown:
        known = ", ".join(sorted(translator.languages)[:12])
        raise ValueError(
            f"{translator.name} does not translate {', '.join(unknown)}; of its "
            f"{len(translator.languages)} languages the first are {known or '(none)'}"
        )
