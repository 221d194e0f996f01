"""Judge one file of answers by the rule of every harness: why two papers' numbers differ.

| rule | whose | reads |
|---|---|---|
| `strict` | ours | the option that the answer names, and no other (`r1_aqa.rewards.matching`) |
| `mmau`, `mmar` | the official scripts of MMAU and MMAR, whose rule is one | words of the answer block |
| `official_raw` | the same scripts, given everything that the model wrote | words |
| `lmms_eval` | lmms-eval's `mmau` | a letter from A to D; else one of these four at random |
| `lmms_eval_mmar` | lmms-eval's `mmar` | a letter, in a long answer a text; else a random option |
| `vlmevalkit` | VLMEvalKit, multiple choice without a judge (`exact_matching`) | a lone letter, or one text |
| `nemo_rl` | NeMo-RL's reward for audio | letters and digits of the answer block |

Facts are from the public repositories (lmms-eval a74c71f and 226ba42, VLMEvalKit d21c5e9, NeMo-RL fa1ead3);
no code of theirs is here. A rule that draws an option at random is given its expected value. Each rule is
asked, for every option, whether the answer would count if that option were the right one: an answer that
would count for none is one that the rule cannot read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from r1_aqa.data.options import is_same_option, take_letters_off
from r1_aqa.rewards.completion import read_answer
from r1_aqa.rewards.matching import is_same_text, match_choice
from r1_aqa.rewards.verdicts import official_match, official_text

_VLMEVALKIT_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)


@dataclass(frozen=True)
class Reading:
    """What a rule makes of an answer."""

    right: tuple[float, ...]
    """For each option: the probability that the answer counts as right if that option is the right one."""
    is_read: bool
    """Whether it decided; False: it found nothing, and perhaps drew an option."""


Rule = Callable[[str, Sequence[str], Sequence[str]], Reading]
"""Takes everything that the model wrote, the options, and the right answer's text for each of them."""


@dataclass(frozen=True)
class Harness:
    """A rule and how its harness counts.

    Attributes:
        title: name for tables.
        rule: the rule.
        skips_missing: a question without answer is left out of the denominator; else it is wrong.
        needs_options: it has no rule for a question without options.
    """

    title: str
    rule: Rule
    skips_missing: bool = False
    needs_options: bool = True


def strict(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read as our own verdict and reward do."""
    text = read_answer(output, needs_block=False)
    if not choices:
        return _reading([is_same_text(text, answer) for answer in answers])
    found = match_choice(text, choices)
    return _reading([found is not None and is_same_option(choices, found, choice) for choice in choices])


def official(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read the answer block as the scripts of MMAU and MMAR read a prediction: sets of words."""
    return official_raw(official_text(output), choices, answers)


def official_raw(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read everything as the scripts of MMAU and MMAR do, thinking and tags included."""
    return _reading([official_match(answer, output, choices) for answer in answers])


def lmms_eval(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read as lmms-eval's `mmau`: in brackets, else alone, else before a full stop; the last of several.

    Its letters are A to D whatever the number of options: a fifth cannot be chosen, and a letter beyond the
    last, which ends lmms-eval with an error, is wrong here.
    """
    text = f" {_stripped(output)} "
    found = _first_stage(text, "ABCD", ("({})", " {} ", "{}."))
    if len(found) > 1:
        # The last that stands alone; several in brackets alone stand nowhere, and the first is taken.
        found = [max(found, key=lambda letter: text.rfind(f" {letter} "))]
    texts = [choice.strip().lower() for choice in take_letters_off(choices)[1]]
    said = [texts[place] for letter in found or "ABCD" if (place := ord(letter) - ord("A")) < len(texts)]
    share = 1.0 if found else 1 / 4
    return Reading(tuple(share * said.count(text) for text in texts), bool(found))


def lmms_eval_mmar(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read as lmms-eval's `mmar`: a letter of the question's own, else in a long answer an option's text."""
    text, letters = f" {_stripped(output)} ", ascii_uppercase[: len(choices)]
    texts = dict(zip(letters, (choice.lower() for choice in take_letters_off(choices)[1]), strict=False))
    found, place = [letter for letter in letters if f"({letter})" in text], "({})"
    if not found:
        # An A before a space is any word that ends with it: "DNA ".
        found, place = _first_stage(text, letters, ("{} ", "{}.")), " {} "
    if not found and len(text.split()) > 5:
        found = [letter for letter, option in texts.items() if option in text.lower()]
        found = [max(found, key=lambda letter: text.lower().rfind(texts[letter]))] if found else []
    if len(found) > 1:
        found = [max(found, key=lambda letter: text.rfind(place.format(letter)))]
    share = 1.0 if found else 1 / max(len(letters), 1)
    return Reading(tuple(share * (letter in (found or letters)) for letter in letters), bool(found))


def vlmevalkit(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read as VLMEvalKit does before it asks a judge: the one lone letter near the end, or the one text."""
    text, options = output.strip(), [option.lower() for option in take_letters_off(choices)[1]]
    letters = ascii_uppercase[: len(options)]
    found = _lone_letter(text, letters)
    if not found and len(text) <= 2 * sum(map(len, options)):
        said = [letter for letter, option in zip(letters, options, strict=False) if option in text.lower()]
        found = said[0] if len(said) == 1 else ""
    return _reading([letter == found for letter in letters])


def nemo_rl(output: str, choices: Sequence[str], answers: Sequence[str]) -> Reading:
    """Read as NeMo-RL's `exact_alnum`: letters and digits from the first opening to the last closing tag."""
    block = re.search(r"<answer>(.*)</answer>", output, re.S)
    said = _letters_and_digits(block[1]) if block else None
    return _reading([said == _letters_and_digits(answer) for answer in answers])


HARNESSES = {
    "strict": Harness("strict (ours)", strict, needs_options=False),
    "mmau": Harness("official MMAU", official, skips_missing=True, needs_options=False),
    "mmar": Harness("official MMAR", official, skips_missing=True, needs_options=False),
    "official_raw": Harness("official, raw", official_raw, skips_missing=True, needs_options=False),
    "lmms_eval": Harness("lmms-eval mmau", lmms_eval),
    "lmms_eval_mmar": Harness("lmms-eval mmar", lmms_eval_mmar),
    "vlmevalkit": Harness("VLMEvalKit", vlmevalkit),
    "nemo_rl": Harness("NeMo-RL", nemo_rl, needs_options=False),
}
"""Harnesses by the name that they have in scores.json."""


def _reading(right: Sequence[bool]) -> Reading:
    return Reading(tuple(map(float, right)), any(right))


def _stripped(output: str) -> str:
    for character in ",.!?;:'":
        output = output.strip(character)
    return output


def _first_stage(text: str, letters: str, forms: Sequence[str]) -> list[str]:
    """Return the letters that a text has in the first of these forms in which it has any."""
    stages = ([letter for letter in letters if form.format(letter) in text] for form in forms)
    return next((found for found in stages if found), [])


def _lone_letter(text: str, letters: str) -> str:
    """Return the letter that VLMEvalKit finds, Z for a refusal, nothing where it goes on with the texts."""
    if any(refusal in text for refusal in _VLMEVALKIT_REFUSALS):
        return "Z"
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", text).split()
    found = [letter for letter in letters if letter in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - 5:
        return found[0]
    if not found and "Z" in words:
        return "Z"
    stated = re.search(r"answer\s+is\s+\**([ABCD])", text, re.I)
    return stated[1].upper() if stated and stated[1].upper() in letters else ""


def _letters_and_digits(text: str) -> str:
    return "".join(character for character in text if character.isalnum()).lower()
