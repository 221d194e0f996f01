"""Words by which a text takes back, denies, doubts or only speaks of an option, once options are marks.

Which of them apply to what, and in which order, is for `r1_aqa.rewards.mentions`.
"""

from __future__ import annotations

import re

from r1_aqa.rewards.option_words import MARK

_ARTICLE = r"(?:(?:a|an|the)\s+)?"
_CROSS = "[✗✘❌☒🚫👎]"

NEGATED = re.compile(
    r"(?:\b(?:not|nor|neither|no|without|unlike|rather than|instead of|as opposed to|excluding|cannot be"
    r"|(?:anything|everything|all) but|hardly|barely|scarcely|far from|(?:other|apart|aside) (?:than|from))"
    r"|n't(?: be)?)\s+(?:(?:option|choice|to be|just|a|an|any|the)\s+)*"
    rf"{MARK}(?:\s*(?:,|or|nor|and)\s*(?:a |an |the )?{MARK})*",
    re.I,
)
"""Options behind a denial: "not rain", "anything but a dog"."""
_SAID_NO = "|".join(
    (
        r"no|nope|nah|no (?:way|chance)|wrong|incorrect|false|hardly|unlikely|absent|missing|0(?:\.0+)?\s*%?",
        "not (?:heard|present|audible|here|likely|correct|right|it|this|that|so)|not at all",
        "i doubt (?:it|that)|ruled out|excluded|eliminated",
    )
)
DENIED = re.compile(
    rf"{MARK}[\s.…)\]\"'(]*(?:[-:?,;–—]*\s*(?:{_SAID_NO})(?=\s*(?:[.,;!)\n]|$))[.,]?|[-:]?\s*{_CROSS})"
    rf"|(?:{_CROSS}|\[\s\])\s*{_ARTICLE}{MARK}",
    re.I,
)
"""Options with a denial of their own: "Dog: no", "rain ✗"; "Rain, no wind noise" denies something else."""
SAYS_NO = re.compile(r"\s*(?:no|nope|nah|hardly|unlikely)\b[.,!;]*", re.I)
SAYS_YES = re.compile(r"\s*(?:yes|yeah|yep|correct|indeed|right)\b", re.I)
NO_DOUBT = re.compile(r"\b(?:there is |there's )?(?:no|without (?:a |any )?) ?(?:doubt|question)\b", re.I)
"""What sounds like a denial and affirms."""
DENIES = re.compile(
    r"\b(?:not|no|none|never|neither|nor|without|cannot|incorrect|wrong|false|unlikely|absent|absence|lacks?"
    r"|except|but|least|less likely|exclude[sd]?|excluding|rules? out|ruled out|eliminated?|instead|doubt"
    r"|missing|hardly|barely|scarcely|rarely|improbable|implausible|inaudible|unheard|other than|opposite"
    r"|reject(?:ed)?|dismiss(?:ed)?|fails?|doubtful|ignored?|discard(?:ed)?|out of the question)\b|n't\b"
    r"|不是|没有|并非",
    re.I,
)
HEDGES = re.compile(
    r"\b(?:maybe|perhaps|possibly|might|may be|could|either|or|both|unsure|uncertain|guess(?:ing)?|all of)\b"
    r"|可能|或",
    re.I,
)
REFUSES = re.compile(
    r"\b(?:cannot|can't|can not|unable|impossible|don't know|do not know|not sure|not certain|unclear|sorry"
    r"|not possible|not enough|insufficient|undetermined|(?:hard|difficult) to (?:tell|say))\b"
    r"|无法|不确定",
    re.I,
)
TURNS = re.compile(
    r"\b(?:actually|wait|correction|alternatively|on second thoughts?|i mean|no,|no[.!]*\s*$|scratch that"
    r"|my mistake|also (?:possible|right|correct|fits?))",
    re.I,
)
_LIST = "(?:options|choices|candidates|possibilities|alternatives|answers|list)"
SPEAKS_OF = re.compile(
    "|".join(
        (
            r"(?<!\bin )\bquestion\s+(?:\w+\s+)?(?:asks?|asked|is|was|says|mentions?|wants|concerns)\b",
            r"\b(?:asks?|asked|asking)\s",
            rf"\b{_LIST}\s*(?:\w+\s+)?(?:are|were|includes?|contain|list|:)",
            rf"\b(?:one of|among|in|on) the (?:\w+ )?{_LIST}\W*$",
            r"\b(?:is|was) (?:also )?an? (?:\w+ )?(?:option|choice|possibility|candidate|distractor)\b",
            r"\b(?:is|was) (?:also )?(?:mentioned|offered)\b|\blisted\b",
            rf"\blet(?:'s| me| us)\s+(?!say|go|pick|choose|answer)[^,:.!?]*{MARK}",
            r"\b(?:listen|look|wait|search|check)(?:ing)?\s+(?:\w+\s+)?(?:to|for)\s+" + _ARTICLE + MARK,
            r"\b(?:whether|unless|suppose|assum(?:e|ing)|told|check|consider(?:ing)?|expect(?:ed)?|if)\b"
            rf"[^,.!?]*{MARK}",
            rf"\bthan\s+{_ARTICLE}{MARK}",  # "louder than the first"
        )
    ),
    re.I,
)
"""Sentences in which the question, the list of options or a plan names the option, not the answer."""
CONCLUDES = re.compile(
    rf"\b(?:so|thus|hence|therefore)[,:]?\s+(?:(?:it is|it's|a|an|the)\s+)*{MARK}[\s.!\"')]*$", re.I
)
"""The end of "there is no dog, so no", whose denial leads to the option."""
