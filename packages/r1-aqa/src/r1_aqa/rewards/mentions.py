"""Read which option a sentence names: stated as the answer, alone on a line, or the only one mentioned.

Mentions are marked first: each option's text, longest first, and each letter that stands for an option,
become one character, so that "(B) Woman" is one mention and "not a man" is none. Then, whichever applies
first:

1. statements ("the answer is ...", "Answer: ..."): all must name one option, and not take it back;
2. lines that say an option and nothing else: all must say the same one;
3. the only option mentioned, unless its sentence denies it, or the text hedges or refuses.

Two options, "rain or something", "not rain", "maybe rain" and "I cannot tell" are therefore no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from r1_aqa.rewards import doubts
from r1_aqa.rewards.option_words import FIRST, MARK, NUMBERS, ORDINALS, OTHER, has_number, mention_pattern

_LEAD = (
    r"\b(?:answer|option|choice|conclusion|response|pick|selection)(?: here| to (?:the|this) question)?"
    r"\s*(?:is|would be|must be|should be|was|[:=]|->)\s*[:=]?"
    r"|\b(?:i|we)(?:'d|'ll| would| will)?\s+(?:choose|pick|select|go with|chose|answer)\b"
    r"|答案(?:是|为)?:?|所以选|因此选|应?选择?"
)
_STATED = re.compile(
    rf"(?:{_LEAD})[\s\"'(\[:-]*"
    r"(?:(?:that|it is|the|a|an|option|choice|letter|answer|number|most likely|likely|clearly|probably"
    rf"|definitely|indeed|therefore|选项)[\s\"'(\[:]+)*({MARK})",
    re.I,
)
_NOT_STATED = re.compile(
    r"(?:n't|\bnot|\bdoubt)\b[^,.;:!?]{0,30}$|\b(?:wrong|incorrect|false|worst)\s+$", re.I
)
_ADDS = re.compile(
    r"[\s\"')\].,;]*(?:\b(?:or|and(?!\s+(?:nothing|no)\b)|then|plus)\b|[/&+或])"
    rf"|[\s\"')\],;]*(?:(?:a|an|the)\s+)?{MARK}",
    re.I,
)
# "rain and gusts", "car then siren": more than the option.
_IS_MORE = re.compile(rf"{MARK}(?:{_ADDS.pattern})", re.I)
# "(B). Man" says two things, "B. A is wrong" one.
_OTHER_TEXT = re.compile(rf"[\s.):,\"'-]{{1,4}}{MARK}(?!\s+(?:is|was|would|does|has|can|seems)\b)")
_TAKES_BACK = re.compile(r"[\s\"')\].,]*(?:is|was)?\s*(?:not|n't|wrong|incorrect|\?)", re.I)
_CONTINUES = re.compile(r"\n\s*(?:or|and|but|either|maybe|perhaps|possibly)\b|(?:\bor|\band|,|/)\s*\n", re.I)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n|(?<=[。！？])")

ReadLine = Callable[[str], int | None]


def named_option(text: str, options: Sequence[str], labels: Sequence[str], read_line: ReadLine) -> int | None:
    """Return the one option that a text names, None when it names none or several.

    Args:
        text: the answer, its typography and markup folded, its lines kept.
        options: texts of the options without letters, folded likewise.
        labels: the letter (or number) of each option; empty: letters mean nothing.
        read_line: returns the option that a line says by itself, or None.
    """
    marked = mark_mentions(text, options, labels)
    lines = {found for line in text.splitlines() if (found := read_line(line)) is not None}
    if stated := list(_STATED.finditer(marked)):
        index = _stated_option(marked, stated)
        # A line with another option contradicts the statement; a list of all options does not.
        return index if len(lines) != 1 or lines == {index} else None
    if lines and "\n" in text.strip():
        is_whole = len(lines) == 1 and not doubts.TURNS.search(text) and not _CONTINUES.search(text)
        return lines.pop() if is_whole else None
    return _only_mention(marked)


def mark_mentions(text: str, options: Sequence[str], labels: Sequence[str]) -> str:
    """Return the text with each mention of an option as one character; denied ones are left out."""
    marked = re.sub(f"[{chr(FIRST)}-\uf8ff]", "?", text)
    for option in sorted(set(options), key=len, reverse=True):
        # Options that differ in case alone are told apart by it.
        is_alone = sum(option.casefold() == other.casefold() for other in set(options)) == 1
        pattern = mention_pattern(option, tuple(options), re.I if is_alone else 0)
        marked = pattern.sub(_mark(options.index(option)), marked)
    marked = _mark_places(_mark_letters(marked, options, labels), options, labels)
    # "(B) Woman", "Woman (B)" and "B: Woman" are one mention.
    marked = re.sub(rf"({MARK})(?:(?:[\s.:,()\[\]\"'、-]|\ba\b|\ban\b|\bthe\b)*\1)+", r"\1", marked)
    marked = _drop_questions(doubts.NO_DOUBT.sub("", marked))
    return doubts.NEGATED.sub(" - ", doubts.DENIED.sub(" - ", marked))


def _drop_questions(marked: str) -> str:
    """Return the text without its questions that mention an option, or that it answers with No."""
    pieces = re.split(r"(?<=[.!?？\n])", marked)
    for place, piece in enumerate(pieces[:-1]):
        if not piece.endswith(("?", "？")):
            continue
        behind = pieces[place + 1]
        if denied := doubts.SAYS_NO.match(behind):
            pieces[place], pieces[place + 1] = " - ", behind[denied.end() :]
        elif re.search(MARK, piece):
            pieces[place] = piece[:-1] + ", " if doubts.SAYS_YES.match(behind) else " - "
    return "".join(pieces)


def _stated_option(marked: str, stated: Sequence[re.Match[str]]) -> int | None:
    """Return the option that all statements name, None where one denies, adds or takes back."""
    named = {match[1] for match in stated}
    denied = any(_NOT_STATED.search(marked[: match.start()]) for match in stated)
    rest = marked[stated[-1].end() :]
    end = _SENTENCE.split(rest)[0]
    is_open = _ADDS.match(end) or _TAKES_BACK.match(end) or doubts.HEDGES.search(end)
    if len(named) != 1 or denied or is_open or _OTHER_TEXT.match(rest) or doubts.TURNS.search(rest):
        return None
    return _index(named.pop())


def _only_mention(marked: str) -> int | None:
    """Return the only option mentioned, None where its sentence denies it or the text leaves it open."""
    marks = set(re.findall(MARK, marked))
    is_open = any(doubt.search(marked) for doubt in (doubts.HEDGES, doubts.REFUSES, doubts.TURNS, _IS_MORE))
    if len(marks) != 1 or is_open:
        return None
    sentences = [sentence.strip() for sentence in _SENTENCE.split(marked) if re.search(MARK, sentence)]
    if any(doubts.SPEAKS_OF.search(sentence) for sentence in sentences):
        return None
    # "No, it is not." says No: what comes before the first comma or full stop is the answer.
    head = re.split(r"[.,:;!]", sentences[0], maxsplit=1)[0]
    is_answer = re.fullmatch(rf"[\s\"'(]*{MARK}[\s\"')]*", head) or doubts.CONCLUDES.search(marked)
    if not is_answer and any(doubts.DENIES.search(sentence) for sentence in sentences):
        return None
    return _index(marks.pop())


def _mark_letters(marked: str, options: Sequence[str], labels: Sequence[str]) -> str:
    """Return the text with the letters that stand for options as marks; those of no option as `OTHER`."""
    if not labels:
        return marked
    places = {label: index for index, label in enumerate(labels)}
    # Keys and initials: a letter that is a word of an option counts only in brackets or as "option C".
    words = {word for option in options for word in re.findall(r"\w+", option)}
    for pattern, is_sure in _letter_patterns(labels[0].isdigit()):

        def mark(match: re.Match[str], is_sure: bool = is_sure) -> str:
            letter = match["letter"]
            index = places.get(letter.upper())
            if not is_sure and (index is None or letter in words):
                return match[0]
            return match["lead"] + (
                _mark(index) if index is not None else OTHER if letter.isupper() else letter
            )

        marked = pattern.sub(mark, marked)
    return marked


def _mark_places(marked: str, options: Sequence[str], labels: Sequence[str]) -> str:
    """Return the text with "option 3" and "the third option" as marks, where numbers cannot mean a text."""
    if list(labels) != [chr(ord("A") + i) for i in range(len(options))] or any(map(has_number, options)):
        return marked
    for index in range(min(len(options), len(ORDINALS))):
        number = rf"(?:{index + 1}|{NUMBERS[index + 1]})"
        last = "|last" if index == len(options) - 1 else ""
        marked = re.sub(
            rf"\b(?:option|choice)\s*(?:number|no\.|#)?\s*\(?{number}(?![\w%]|[.,:/-]\d)\)?"
            rf"|\b(?:the\s+)?(?:{ORDINALS[index]}{last})\s+(?:option|choice)\b",
            _mark(index),
            marked,
            flags=re.I,
        )
    return marked


@cache
def _letter_patterns(are_numbers: bool) -> tuple[tuple[re.Pattern[str], bool], ...]:
    """Return where letters stand for options, and whether they surely do."""
    some, small = (r"\d{1,2}", r"\d{1,2}") if are_numbers else ("[A-Z]", "[a-z]")
    letter, end = rf"(?P<letter>{some})", r"(?![\w'-]|\.\d)"
    stop = r"(?=\s*(?:[.,;:!?\"')]|\n|$|because|since|as\b))"
    first = r"(?=\s*[.):,/✓✔✅☑✗✘❌☒](?!\d)|\s+[-–—]\s|\s*$|\s+(?:because|since|as|or|and)\b)"
    verb = r"(?:\b(?:is|be|choose|select|pick|chose|selected|with|say)|'s)"
    sure = r"\b(?:[Dd]efinitely|[Cc]learly|[Cc]ertainly|[Ss]urely|Choose|Select|Pick|So|Thus|Hence)\b"
    name = "(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter|OPTION|ANSWER|CHOICE)"
    beside = rf"(?P<lead>{MARK}[)\]]?\s*(?:,|/|\bor\b|\band\b|&)\s*(?:option\s*)?[(\[]?){letter}{end}"
    return (
        (re.compile(rf"(?P<lead>(?<!\w)[(\[{{]\s*)(?P<letter>[A-Za-z]|{some})(?=\s*[)\]}}])"), True),
        (re.compile(rf"(?P<lead>\b{name}\s*(?:is\b)?\s*[:=#-]?\s*[\"']?){letter}{end}"), True),
        (re.compile(rf"(?P<lead>(?:选项|答案|选择?)(?:是|为)?\s*:?\s*){letter}(?![A-Za-z\d])"), True),
        # "option b"; "the answer is a" only at a line's end, for "a" is an article.
        (
            re.compile(
                rf"(?P<lead>\b(?:option|choice|letter)\s+|\banswer\s*(?:is|:)\s*)(?P<letter>{small}){end}"
                r"(?=\s*[.)\]:;,!\"']*\s*(?:\n|$))",
                re.I,
            ),
            True,
        ),
        (re.compile(rf"(?P<lead>^[\s#>\"']*){letter}{first}", re.M), False),
        (re.compile(rf"(?P<lead>{verb}\s+[\"']?){letter}{end}{stop}"), False),
        (re.compile(rf"(?P<lead>(?<=[.;!,])\s+){letter}(?=\s*[:?]\s*(?:yes|no)\b)", re.I), False),
        # "Correct: C", "=> C", "Definitely C."
        (re.compile(rf"(?P<lead>(?:[:=>)]|{sure})\s*){letter}(?=[\s.!)\"']*$)", re.M), False),
        (re.compile(rf"(?P<lead>(?<![\w'-])){letter}(?=\s+(?:is|seems|fits|matches)\b)"), False),
        # "option B or C or D": a letter beside a mention is one.
        *[(re.compile(beside), True)] * 4,
    )


def _mark(index: int) -> str:
    return chr(FIRST + min(index, 499))


def _index(mark: str) -> int | None:
    return None if mark == OTHER else ord(mark) - FIRST
