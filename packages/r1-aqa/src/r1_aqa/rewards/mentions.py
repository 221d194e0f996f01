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
from functools import cache, lru_cache

_FIRST = 0xE000  # private use: the marks of options 0, 1, ...
_OTHER = chr(_FIRST + 500)  # the mark of a letter that no option has
_MARK = f"[{chr(_FIRST)}-{_OTHER}]"

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
"""Words for the numbers from 0."""
_FOLLOWS = (
    "is|are|was|were|be|being|can|has|have|in|on|at|from|with|by|because|since|as|while|for|based|that|which"
    "|who|whose|when|where|here|there|sounds?|voice|speaker|noise|comes|came|appears|seems|fits|matches|best|only|not"
    "|rather|instead|due|given|option|choice|answer|indeed|clearly|quite|audible|time|key|plays|occurs|starts"
    "|and|or|nor|then"
)
"""Words that may follow an option's text: with any other it may be something else (a car, a car alarm)."""

_NEGATED = re.compile(
    r"(?:\b(?:not|nor|neither|no|without|unlike|rather than|instead of|as opposed to|excluding|cannot be)"
    r"|n't(?: be)?)\s+(?:(?:option|choice|to be|just|a|an|any|the)\s+)*"
    rf"{_MARK}(?:\s*(?:,|or|nor|and)\s*(?:a |an |the )?{_MARK})*",
    re.I,
)
_DENIES = re.compile(
    r"\b(?:not|no|none|never|neither|nor|without|cannot|incorrect|wrong|false|unlikely|absent|absence|lacks?"
    r"|except|but|least|exclude[sd]?|excluding|rules? out|ruled out|eliminated?|instead|doubt)\b|n't\b"
    r"|不是|没有|并非",
    re.I,
)
_HEDGES = re.compile(
    r"\b(?:maybe|perhaps|possibly|might|may be|could|either|or|both|unsure|uncertain|guess(?:ing)?|all of)\b"
    r"|可能|或",
    re.I,
)
_REFUSES = re.compile(
    r"\b(?:cannot|can't|can not|unable|impossible|don't know|do not know|not sure|not certain|unclear|sorry"
    r"|not possible|not enough|insufficient|undetermined|(?:hard|difficult) to (?:tell|say))\b"
    r"|无法|不确定",
    re.I,
)
_TURNS = re.compile(
    r"\b(?:actually|wait|correction|alternatively|on second thoughts?|i mean|no,|scratch that|my mistake"
    r"|also (?:possible|right|correct|fits?))",
    re.I,
)
_LEAD = (
    r"\b(?:answer|option|choice|conclusion|response|pick|selection)(?: here| to (?:the|this) question)?"
    r"\s*(?:is|would be|must be|should be|was|[:=]|->)\s*[:=]?"
    r"|\b(?:i|we)(?:'d|'ll| would| will)?\s+(?:choose|pick|select|go with|chose|answer)\b"
    r"|答案(?:是|为)?:?|所以选|因此选|应?选择?"
)
_STATED = re.compile(
    rf"(?:{_LEAD})[\s\"'(\[:-]*"
    r"(?:(?:that|it is|the|a|an|option|choice|letter|answer|number|most likely|likely|clearly|probably"
    rf"|definitely|indeed|therefore|选项)[\s\"'(\[:]+)*({_MARK})",
    re.I,
)
_NOT_STATED = re.compile(
    r"(?:n't|\bnot|\bdoubt)\b[^,.;:!?]{0,30}$|\b(?:wrong|incorrect|false|worst)\s+$", re.I
)
_ADDS = re.compile(
    rf"[\s\"')\].,;]*(?:\b(?:or|and|then|plus)\b|[/&+或])|[\s\"')\],;]*(?:(?:a|an|the)\s+)?{_MARK}", re.I
)
# "(B). Man" says two things, "B. A is wrong" one.
_OTHER_TEXT = re.compile(rf"[\s.):,\"'-]{{1,4}}{_MARK}(?!\s+(?:is|was|would|does|has|can|seems)\b)")
_TAKES_BACK = re.compile(r"[\s\"')\].,]*(?:is|was)?\s*(?:not|n't|wrong|incorrect|\?)", re.I)
_CONTINUES = re.compile(r"\n\s*(?:or|and|but|either|maybe|perhaps|possibly)\b|(?:\bor|\band|,|/)\s*\n", re.I)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n|(?<=[。！？])")
_NO_SPACES = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

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
        is_whole = len(lines) == 1 and not _TURNS.search(text) and not _CONTINUES.search(text)
        return lines.pop() if is_whole else None
    return _only_mention(marked)


def mark_mentions(text: str, options: Sequence[str], labels: Sequence[str]) -> str:
    """Return the text with each mention of an option as one character; denied ones are left out."""
    marked = re.sub(f"[{chr(_FIRST)}-\uf8ff]", "?", text)
    for option in sorted(set(options), key=len, reverse=True):
        # Options that differ in case alone are told apart by it.
        is_alone = sum(option.casefold() == other.casefold() for other in set(options)) == 1
        pattern = _mention(option, tuple(options), re.I if is_alone else 0)
        marked = pattern.sub(_mark(options.index(option)), marked)
    marked = _mark_letters(marked, options, labels)
    # "(B) Woman", "Woman (B)" and "B: Woman" are one mention.
    marked = re.sub(rf"({_MARK})(?:(?:[\s.:,()\[\]\"'、-]|\ba\b|\ban\b|\bthe\b)*\1)+", r"\1", marked)
    return _NEGATED.sub(" - ", marked)


def _stated_option(marked: str, stated: Sequence[re.Match[str]]) -> int | None:
    """Return the option that all statements name, None where one denies, adds or takes back."""
    named = {match[1] for match in stated}
    denied = any(_NOT_STATED.search(marked[: match.start()]) for match in stated)
    rest = marked[stated[-1].end() :]
    end = _SENTENCE.split(rest)[0]
    is_open = _ADDS.match(end) or _TAKES_BACK.match(end) or _HEDGES.search(end)
    if len(named) != 1 or denied or is_open or _OTHER_TEXT.match(rest) or _TURNS.search(rest):
        return None
    return _index(named.pop())


def _only_mention(marked: str) -> int | None:
    marks = set(re.findall(_MARK, marked))
    # "rain and gusts", "car then siren": more than the option.
    doubts = (_HEDGES, _REFUSES, _TURNS, re.compile(rf"{_MARK}(?:{_ADDS.pattern})", re.I))
    if len(marks) != 1 or any(doubt.search(marked) for doubt in doubts):
        return None
    sentences = [sentence.strip() for sentence in _SENTENCE.split(marked) if re.search(_MARK, sentence)]
    # "No, it is not." says No: what comes before the first comma or full stop is the answer.
    head = re.split(r"[.,:;!]", sentences[0], maxsplit=1)[0]
    is_answer = re.fullmatch(rf"[\s\"'(]*{_MARK}[\s\"')]*", head)
    if not is_answer and any(_DENIES.search(sentence) for sentence in sentences):
        return None
    return _index(marks.pop())


@lru_cache(4096)
def _mention(option: str, options: tuple[str, ...], flags: int) -> re.Pattern[str]:
    """Return where a text names an option: all its words, and none after them that makes it another thing."""
    body, number = _body(option)
    if _NO_SPACES.search(option):
        return re.compile(body, flags)
    before = r"(?<![\w$])(?<![\w.,/:]-)(?<!\d[.,:/])(?<!^-)(?<!\s-)"
    # "3 speakers" counts, "car alarm" is no car.
    others = rf"(?:(?:a|an|the)\s+)?(?:(?:{'|'.join(_body(other)[0] for other in options)})\b|{_MARK})"
    follows = rf"(?:{_FOLLOWS}|\w+ing)\b|{others}" if number is None else rf"\w+\b|{_MARK}"
    apart = "[-]" if number is None else "[-/]"
    after = rf"(?![\w%$]|{apart}\w|[.,:]\d|\s*%)(?=\s*$|\s*[^\w\s]|\s*\n|\s+(?:{follows}))"
    return re.compile(before + body + after, flags)


def _body(option: str) -> tuple[str, int | None]:
    """Return the pattern of an option's words, and the number that it is, if it is one."""
    words = re.sub(r"^(?:a|an|An|the|The)\s+(?=\w)", "", option).rstrip(".").split() or [option]
    body = r"[\s_-]+".join(map(re.escape, words))
    number = _number(words[0]) if len(words) == 1 else None
    is_word = number is not None and number < len(NUMBERS)
    return (f"(?:{body}|{number}|{NUMBERS[number]})" if number is not None and is_word else body), number


def _number(word: str) -> int | None:
    if word.lower() in NUMBERS:
        return NUMBERS.index(word.lower())
    return int(word) if re.fullmatch(r"[0-9]{1,9}", word) else None


def _mark_letters(marked: str, options: Sequence[str], labels: Sequence[str]) -> str:
    """Return the text with the letters that stand for options as marks; those of no option as `_OTHER`."""
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
                _mark(index) if index is not None else _OTHER if letter.isupper() else letter
            )

        marked = pattern.sub(mark, marked)
    return marked


@cache
def _letter_patterns(are_numbers: bool) -> tuple[tuple[re.Pattern[str], bool], ...]:
    """Return where letters stand for options, and whether they surely do."""
    some, small = (r"\d{1,2}", r"\d{1,2}") if are_numbers else ("[A-Z]", "[a-z]")
    letter, end = rf"(?P<letter>{some})", r"(?![\w'-]|\.\d)"
    stop = r"(?=\s*(?:[.,;:!?\"')]|\n|$|because|since|as\b))"
    first = r"(?=\s*[.):,/](?!\d)|\s+[-–—]\s|\s*$|\s+(?:because|since|as|or|and)\b)"
    verb = r"(?:\b(?:is|be|choose|select|pick|chose|selected|with|say)|'s)"
    sure = r"\b(?:[Dd]efinitely|[Cc]learly|[Cc]ertainly|[Ss]urely|Choose|Select|Pick|So|Thus|Hence)\b"
    name = "(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter|OPTION|ANSWER|CHOICE)"
    beside = rf"(?P<lead>{_MARK}[)\]]?\s*(?:,|/|\bor\b|\band\b|&)\s*(?:option\s*)?[(\[]?){letter}{end}"
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
        # "Correct: C", "=> C", "Definitely C."
        (re.compile(rf"(?P<lead>(?:[:=>)]|{sure})\s*){letter}(?=[\s.!)\"']*$)", re.M), False),
        (re.compile(rf"(?P<lead>(?<![\w'-])){letter}(?=\s+(?:is|seems|fits|matches)\b)"), False),
        # "option B or C or D": a letter beside a mention is one.
        *[(re.compile(beside), True)] * 4,
    )


def _mark(index: int) -> str:
    return chr(_FIRST + min(index, 499))


def _index(mark: str) -> int | None:
    return None if mark == _OTHER else ord(mark) - _FIRST
