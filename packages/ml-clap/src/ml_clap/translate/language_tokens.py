"""How translation models name languages: NLLB by FLORES codes, M2M100 by `__fr__`, MADLAD by `<2fr>`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ml_clap.data.languages import FLORES_CODES, resolve

_FORMS = (
    re.compile(r"__(?P<code>[a-z]{2,3}(?:_[A-Za-z]{4})?)__"),
    re.compile(r"<2(?P<code>[a-z]{2,3}(?:_[A-Z][a-z]{3})?)>"),
)


def find_language_tokens(vocabulary: Iterable[str]) -> dict[str, str]:
    """Return FLORES code -> token of every language that a vocabulary names.

    Where two tokens mean one language (`<2zh>`, `<2zh_Hans>`), the shorter one is taken.

    >>> find_language_tokens(["dog", "fra_Latn", "__de__", "<2zh>", "<2zh_Hans>", "<2translit>"])
    {'zho_Hans': '<2zh>', 'deu_Latn': '__de__', 'fra_Latn': 'fra_Latn'}
    """
    found: dict[str, str] = {}
    for token in sorted(vocabulary, key=lambda token: (len(token), token)):
        code = _code_of(token)
        if code is not None:
            found.setdefault(code, token)
    return found


def _code_of(token: str) -> str | None:
    if token in FLORES_CODES:
        return token
    for form in _FORMS:
        if match := form.fullmatch(token):
            try:
                return resolve(match["code"])
            except ValueError:  # a language that FLORES does not have, or no language
                return None
    return None
