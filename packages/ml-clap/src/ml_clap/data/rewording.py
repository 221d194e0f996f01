"""Captions as people really ask: keywords, questions and negations, made by rules of each language.

Captions describe ("A dog barks."), people who search do not always. The rules are plain, so that what they
make can be foreseen; where a language has no rule for a kind there is none of it: words of Japanese and
Chinese are not told apart without a dictionary, so they have no keywords.

- `keywords` leaves out a caption's articles, pronouns, prepositions and forms of "to be", and its
  punctuation.
- `question` puts it into a question.
- `negation` says that it is not so: "No dog barks." where the language negates an article, else by a
  sentence.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Kind = Literal["keywords", "question", "negation"]
KINDS: tuple[Kind, ...] = get_args(Kind)

FUNCTION_WORDS = {
    "eng_Latn": "a an the some this that is are was were be being been and or of in on at to by with from "
    "for as into its it there while near nearby",
    "fra_Latn": "un une des le la les l d de du au aux en dans sur à par avec pour et ou est sont qui que "
    "on se s il elle ce cette tout",
    "deu_Latn": "ein eine einen einem einer eines der die das den dem des und oder ist sind in im an am "
    "auf aus bei beim mit von vom zu zum zur es man sich für",
    "spa_Latn": "un una unos unas el la los las de del al en con por para y o es está están son se lo que a",
    "nld_Latn": "een de het en of is zijn in op aan bij met van voor te er je men zich uit naar",
    "cat_Latn": "un una uns unes el la els les l d de del dels al als en amb per i o és està són es se que a",
}
"""Language -> words that keywords leave out."""

QUESTIONS = {
    "eng_Latn": "Is there a sound like this: {}?",
    "fra_Latn": "Y a-t-il un son comme celui-ci : {} ?",
    "deu_Latn": "Gibt es ein Geräusch wie dieses: {}?",
    "spa_Latn": "¿Hay un sonido como este: {}?",
    "nld_Latn": "Is er een geluid zoals dit: {}?",
    "cat_Latn": "Hi ha un so com aquest: {}?",
    "jpn_Jpan": "次のような音はありますか：{}？",
    "zho_Hans": "有没有这样的声音：{}？",
}
"""Language -> the question around a caption."""

DENIALS = {
    "eng_Latn": "This is not heard: {}.",
    "fra_Latn": "On n'entend pas ceci : {}.",
    "deu_Latn": "Dies ist nicht zu hören: {}.",
    "spa_Latn": "No se oye esto: {}.",
    "nld_Latn": "Dit is niet te horen: {}.",
    "cat_Latn": "No se sent això: {}.",
    "jpn_Jpan": "次の音は聞こえない：{}。",
    "zho_Hans": "听不到这样的声音：{}。",
}
"""Language -> the denial around a caption that begins with no article of `NEGATED_ARTICLES`."""

NEGATED_ARTICLES = {
    "eng_Latn": {"a": "No", "an": "No", "some": "No"},
    "deu_Latn": {"ein": "Kein", "eine": "Keine", "einen": "Keinen", "einem": "Keinem", "einer": "Keiner"},
    "nld_Latn": {"een": "Geen"},
}
"""Language -> first word of a caption -> what denies it. Other languages negate the verb as well."""

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


def reword(caption: str, language: str, kind: Kind) -> str | None:
    """Return a caption in another wording, or None where there is no rule or nothing is left.

    >>> [reword("A dog barks.", "eng_Latn", kind) for kind in KINDS]
    ['dog barks', 'Is there a sound like this: a dog barks?', 'No dog barks.']
    """
    if kind == "keywords":
        return _keywords(caption, language)
    if kind == "question":
        template = QUESTIONS.get(language)
        return None if template is None else template.format(_inner(caption, language))
    first, _, rest = caption.partition(" ")
    denied = NEGATED_ARTICLES.get(language, {}).get(first.lower())
    if denied is not None and rest.strip():
        return f"{denied} {rest}"
    template = DENIALS.get(language)
    return None if template is None else template.format(_inner(caption, language))


def languages_of(kind: Kind) -> tuple[str, ...]:
    """Return the languages that have rules for a kind."""
    return tuple({"keywords": FUNCTION_WORDS, "question": QUESTIONS, "negation": DENIALS}[kind])


def _keywords(caption: str, language: str) -> str | None:
    if language not in FUNCTION_WORDS:
        return None
    left_out = set(FUNCTION_WORDS[language].split())
    # An apostrophe parts words: "d'un chien".
    words = [word for word in _WORD.findall(caption.lower()) if word not in left_out]
    return " ".join(words) or None


def _inner(caption: str, language: str) -> str:
    """Return a caption as a part of a sentence: no full stop, and a small first letter but in German."""
    text = caption.strip().rstrip(".。!！?？").rstrip()
    return text if language == "deu_Latn" else text[:1].lower() + text[1:]
