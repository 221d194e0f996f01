"""Check whether an answer follows an instruction about its form: MMAU-Pro's `instruction following`.

87 of MMAU-Pro's 5,305 questions have no right answer; they ask for a form (at most 50 words, no commas, an
end with a phrase), which `task_identifier` names and `kwargs` details. The rules are those of the official
script (`evaluate_mmau_pro_comprehensive.py`), with three differences: a form that is not known is wrong there
and not counted here; no answer may be right there and never is here; and sentences are counted there by
NLTK's model, here by their closing marks.

    >>> follows("Number Words (at most)", {"N": 3}, "A dog barks.")
    True
    >>> follows("Sing", {}, "La") is None
    True
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from r1_aqa.data.questions import Question
from r1_aqa.rewards.verdicts import official_text

Settings = Mapping[str, Any]


def follows(identifier: str, settings: Settings, answer: str, *, prompt: str = "") -> bool | None:
    """Return whether an answer has the form that was asked for; None where the form is not known.

    Args:
        identifier: the kind of form, as `All Uppercase`.
        settings: its numbers, words and phrases: `N`, `N1`, `N2`, `keyword`, `keywords`, ...
        answer: all of it.
        prompt: the question as it was put, which `Repeat Prompt` wants repeated.
    """
    rule = _RULES.get(identifier)
    return None if rule is None else rule(answer, {"prompt": prompt} | _given(settings))


def score_instructions(questions: Sequence[Question], outputs: Sequence[str | None]) -> dict[str, int] | None:
    """Count the instructions that were followed; None where no question is one.

    Returns:
        `followed`, `total` (an instruction without an answer is not followed), and `not_judged`, those whose
        form is not known.
    """
    found = []
    for question, output in zip(questions, outputs, strict=True):
        if identifier := question.extra.get("task_identifier"):
            settings = question.extra.get("kwargs")
            prompt = question.extra.get("transcription") or question.question
            given = settings if isinstance(settings, dict) else {}
            text = official_text(output or "")
            verdict = follows(str(identifier), given, text, prompt=str(prompt))
            # The script finds no comma in an answer that is not there.
            found.append(verdict if text or verdict is None else False)
    if not found:
        return None
    judged = [verdict for verdict in found if verdict is not None]
    return {"followed": sum(judged), "total": len(judged), "not_judged": len(found) - len(judged)}


def _given(settings: Settings) -> dict[str, Any]:
    # In Parquet every row has all keys, most of them null.
    return {name: value for name, value in settings.items() if value is not None}


def _number(settings: Settings, name: str = "N", default: float = 0) -> float:
    try:
        return float(settings.get(name, default))
    except (TypeError, ValueError):
        return default


def _listed(settings: Settings, name: str) -> list[str]:
    words = str(settings.get(name, "")).lower().split(", ")
    return [word for word in words if word]


def _letters(text: str, also: str = "") -> str:
    return re.sub(rf"[^a-z{also}]", "", text.lower())


def _sentences(text: str) -> int:
    return len([part for part in re.split(r"[.!?]+(?=\s|$|[\"')\]])", text) if re.search(r"\w", part)])


def _paragraphs(text: str) -> int:
    return sum(bool(part.strip()) for part in text.split("***"))


def _capitals(text: str) -> int:
    return sum(word.isupper() for word in text.split())


def _words(text: str) -> int:
    return len(text.split())


def _at_least(count: Callable[[str], int]) -> Callable[[str, Settings], bool]:
    return lambda text, settings: count(text) >= _number(settings)


def _at_most(count: Callable[[str], int]) -> Callable[[str, Settings], bool]:
    return lambda text, settings: count(text) <= _number(settings)


def _within(count: Callable[[str], int]) -> Callable[[str, Settings], bool]:
    return lambda text, given: _number(given, "N1") <= count(text) <= _number(given, "N2", 999)


def _exactly(count: Callable[[str], int]) -> Callable[[str, Settings], bool]:
    return lambda text, settings: count(text) == _number(settings)


def _count(pattern: str) -> Callable[[str], int]:
    return lambda text: len(re.findall(pattern, text))


def _has_keyword_times(text: str, settings: Settings) -> bool:
    keyword = re.escape(str(settings.get("keyword", "")).lower())
    return len(re.findall(rf"\b{keyword}\b", text.lower())) == _number(settings)


def _has_sections(text: str, settings: Settings) -> bool:
    splitter = str(settings.get("section_splitter", ""))
    parts = re.split(rf"\s*{re.escape(splitter)}\s*", text.strip()) if splitter else [text]
    return sum(bool(part.strip()) for part in parts) == _number(settings)


def _is_two(text: str, settings: Settings) -> bool:
    parts = [part.lower().strip() for part in text.split("******")]
    return len(parts) == 2 and parts[0] != parts[1]


_RULES: dict[str, Callable[[str, Settings], bool]] = {
    "Include Keywords": lambda text, given: all(w in text.lower() for w in _listed(given, "keywords")),
    "Keyword Frequency": _has_keyword_times,
    "Forbidden Words": lambda text, given: (
        not any(word in text.lower() for word in _listed(given, "forbidden_words"))
    ),
    "Number Paragraphs": _exactly(_paragraphs),
    "Number Words (at least)": _at_least(_words),
    "Number Words (at most)": _at_most(_words),
    "Number Words (range)": _within(_words),
    "Number Sentences (at least)": _at_least(_sentences),
    "Number Sentences (at most)": _at_most(_sentences),
    "Number Sentences (range)": _within(_sentences),
    "Postscript": lambda text, given: _letters(str(given.get("postscript_marker", ""))) in _letters(text),
    "Number Placeholder": _at_least(_count(r"\[[^\]]+\]")),
    "Number Bullets": _exactly(_count(r"(?:^|\n)\s*\*\s+")),
    "Title": lambda text, given: bool(re.search(r"<<[^>]+>>", text)),
    "Minimum Number Highlighted Section": _at_least(_count(r"\*([^*]+)\*")),
    "Multiple Sections": _has_sections,
    "Repeat Prompt": lambda text, given: (
        text.strip().lower().startswith(str(given["prompt"]).strip().lower())
    ),
    "Two Responses": _is_two,
    "All Uppercase": lambda text, given: text.isupper(),
    "All Lowercase": lambda text, given: text.islower(),
    "All-capital Words (at least)": _at_least(_capitals),
    "All-capital Words (at most)": _at_most(_capitals),
    "All-capital Words (range)": _within(_capitals),
    "Start Checker": lambda text, given: _letters(text, " ").startswith(
        _letters(str(given.get("start_phrase", "")), " ")
    ),
    "End Checker": lambda text, given: _letters(text, " ").endswith(
        _letters(str(given.get("end_phrase", "")), " ")
    ),
    "Quotation": lambda text, given: len(text.strip()) > 1 and text.strip()[0] == '"' == text.strip()[-1],
    "No Commas": lambda text, given: "," not in text,
}
