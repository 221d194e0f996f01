"""Right repairs and lies, by kind: how many are accepted. 500 pairs of the tests, and pairs of real captions.

    python packages/aac-llm/benchmarks/correction.py
    python packages/aac-llm/benchmarks/correction.py --captions FILE
    python packages/aac-llm/benchmarks/correction.py --fluency_model FOLDER

Of each kind it prints how many broken captions the gate holds back, how many repairs the guard of meaning
lets pass, and how many are accepted by both. Real captions (`references` of JSON lines) are broken, and their
meaning changed, by rules on words alone, which may also give nonsense; the share of the captions as people
wrote them that the gate holds back comes last.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import ModuleType

from aac_llm.config.correct import CorrectionConfig
from aac_llm.correction.acceptance import Correction, judge
from aac_llm.correction.corrector import Corrector
from aac_llm.correction.gate import Gate
from aac_llm.correction.meaning import changed_meaning
from audio_common.strict_json import read_records

TESTS = Path(__file__).resolve().parent.parent / "tests" / "correction"
CONNECTIVE = r" (and then|and|while|as|then|before|after) "
FUNCTION_WORDS = (
    "a an the is are was were be been being has have it its that this there their of can some which"
)
FUNCTION = frozenset(re.findall(r"\w+", FUNCTION_WORDS))
OPPOSITES = """
loud quiet, loudly softly, indoors outdoors, inside outside, man woman, men women, fast slow, high low,
quickly slowly, metal wooden, heavy light, background foreground, near far, two three, opens closes, up down,
starts stops, on off, wood metal, hard soft, large small, into from, several two, constantly occasionally,
birds bird, gravel grass, many few, wet dry, over under, strong weak, someone nobody, walking running, and or,
distant nearby, car cars, machine machines, person people, with without
"""
Rule = Callable[[Random, list[str]], "str | None"]
"""From the words of a caption to another one, if the rule applies."""


def doubled(random: Random, words: list[str]) -> str:
    place = random.randrange(len(words))
    return " ".join([*words[: place + 1], *words[place:]])


def repeated_event(random: Random, words: list[str]) -> str | None:
    parts = re.split(CONNECTIVE, " ".join(words))[::2]
    return f"{' '.join(words)} and {random.choice(parts)}" if len(parts) > 1 else None


def repeated_adverb(random: Random, words: list[str]) -> str | None:
    places = [place for place, word in enumerate(words) if word.endswith("ly")]
    if not places:
        return None
    place = random.choice(places)
    at = random.choice((place, max(place - 1, 0)))
    return " ".join([*words[:at], words[place], *words[at:]])


def without_conjunction(random: Random, words: list[str]) -> str | None:
    return without(random, words, [n for n, word in enumerate(words) if word in ("and", "while", "as")])


def without_verb(random: Random, words: list[str]) -> str | None:
    return without(
        random, words, [n for n, word in enumerate(words) if word.endswith("ing") and len(word) > 5]
    )


def without_word(random: Random, words: list[str]) -> str | None:
    return without(random, words, [n for n, word in enumerate(words) if word not in FUNCTION])


def without(random: Random, words: list[str], places: list[int]) -> str | None:
    if not places:
        return None
    place = random.choice(places)
    return " ".join([*words[:place], *words[place + 1 :]])


def with_tail(random: Random, words: list[str]) -> str:
    tails = ("and", "and a", "in the", "with", "while a", "followed by", "on a")
    return " ".join([*words, random.choice(tails)])


def neighbours_swapped(random: Random, words: list[str]) -> str:
    place = random.randrange(len(words) - 1)
    return " ".join([*words[:place], words[place + 1], words[place], *words[place + 2 :]])


def disagreeing(random: Random, words: list[str]) -> str | None:
    other = {"is": "are", "are": "is", "was": "were", "were": "was"}
    places = [place for place, word in enumerate(words) if word in other]
    if not places:
        return None
    place = random.choice(places)
    return " ".join([*words[:place], other[words[place]], *words[place + 1 :]])


def events_swapped(random: Random, words: list[str]) -> str | None:
    text = " ".join(words)
    found = list(re.finditer(CONNECTIVE, text))
    if not found:
        return None
    match = random.choice(found)
    return text[match.end() :] + match[0] + text[: match.start()]


def event_dropped(random: Random, words: list[str]) -> str | None:
    text = " ".join(words)
    found = list(re.finditer(CONNECTIVE, text))
    if not found:
        return None
    match = random.choice(found)
    return random.choice((text[: match.start()], text[match.end() :]))


def other_connective(random: Random, words: list[str]) -> str | None:
    text = " ".join(words)
    found = list(re.finditer(CONNECTIVE, text))
    if not found:
        return None
    match = random.choice(found)
    same = {"as": "while", "and then": "then", "before": "then"}
    others = [
        word
        for word in ("and", "while", "then", "after", "until", "or")
        if word != same.get(match[1], match[1])
    ]
    return f"{text[: match.start()]} {random.choice(others)} {text[match.end() :]}"


def opposite(random: Random, words: list[str]) -> str | None:
    listed = [tuple(pair.split()) for pair in OPPOSITES.split(",")]
    pairs = [*listed, *((other, one) for one, other in listed)]
    found = [(place, other) for place, word in enumerate(words) for one, other in pairs if one == word]
    if not found:
        return None
    place, other = random.choice(found)
    return " ".join([*words[:place], other, *words[place + 1 :]])


def denied(random: Random, words: list[str]) -> str | None:
    places = [place for place, word in enumerate(words) if word in ("is", "are", "was", "were")]
    if not places:
        return None
    place = random.choice(places)
    return " ".join([*words[: place + 1], "not", *words[place + 1 :]])


def with_word(random: Random, words: list[str]) -> str:
    place = random.randrange(len(words) + 1)
    word = random.choice(("loudly", "quietly", "outside", "distant", "two", "again", "wooden", "small"))
    return " ".join([*words[:place], word, *words[place:]])


def far_words_swapped(random: Random, words: list[str]) -> str | None:
    places = [place for place, word in enumerate(words) if word not in FUNCTION]
    pairs = [
        (one, other) for one in places for other in places if other > one + 1 and words[one] != words[other]
    ]
    if not pairs:
        return None
    one, other = random.choice(pairs)
    changed = list(words)
    changed[one], changed[other] = words[other], words[one]
    return " ".join(changed)


ERRORS: dict[str, Rule] = {
    "repeated event": repeated_event,
    "repeated adverb": repeated_adverb,
    "missing conjunction": without_conjunction,
    "missing verb": without_verb,
    "incomplete tail": with_tail,
    "wrong word order": neighbours_swapped,
    "doubled word": doubled,
    "agreement": disagreeing,
}
LIES: dict[str, Rule] = {
    "order of events": events_swapped,
    "event dropped": event_dropped,
    "connective": other_connective,
    "opposite word": opposite,
    "negation": denied,
    "word added": with_word,
    "word dropped": without_word,
    "words swapped": far_words_swapped,
}


def pairs_of_captions(captions: Sequence[str], per_kind: int) -> list[tuple[str, bool, str, str]]:
    """Make rows (kind, is right, broken caption, repair) of captions that people wrote."""
    random = Random(0)
    rows = []
    for rules, is_right in ((ERRORS, True), (LIES, False)):
        for kind, rule in rules.items():
            shuffled = random.sample(captions, len(captions))
            made = [(text, rule(random, text.split())) for text in shuffled]
            usable = [(text, other) for text, other in made if other and other != text][:per_kind]
            for text, other in usable:
                # A lie's original is broken by a doubled word, which the proposal mends besides.
                pair = (other, text) if is_right else (doubled(random, text.split()), other)
                rows.append((kind, is_right, *pair))
    return rows


def adversarial() -> ModuleType:
    """Load the generator of the tests."""
    spec = importlib.util.spec_from_file_location("adversarial", TESTS / "adversarial.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["adversarial"] = module  # dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def print_table(rows: Sequence[tuple[str, bool, str, str]], gate: Gate, show: int) -> None:
    """Print a line for each kind, and the totals of right repairs and of lies."""
    before, after = gate.score([row[2] for row in rows]), gate.score([row[3] for row in rows])
    found = []
    for (kind, is_right, broken, repair), score, other in zip(rows, before, after, strict=True):
        is_held = bool(score >= gate.threshold)
        taken = judge(Correction(broken, broken, False, "", float(score)), repair, float(other))
        is_accepted = is_held and taken.accepted
        found.append((kind, is_right, is_held, changed_meaning(broken, repair) is None, is_accepted))
        if is_accepted and not is_right and show:
            show -= 1
            print(f"  {kind}: {broken} -> {repair}")
    print(f"{'':<29}{'pairs':>6}{'held back':>11}{'same meaning':>14}{'accepted':>10}")
    labels = dict.fromkeys((kind, is_right) for kind, is_right, *_ in found)
    for name, is_right in (*labels, ("all", True), ("all", False)):
        lines = [row for row in found if row[1] == is_right and name in (row[0], "all")]
        shares = [sum(row[column] for row in lines) / len(lines) for column in (2, 3, 4)]
        label = f"{'right' if is_right else 'lie'}: {name}"
        print(f"{label:<29}{len(lines):>6}{shares[0]:>11.1%}{shares[1]:>14.1%}{shares[2]:>10.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--captions", type=Path, help="JSON lines with `references`; none: the pairs of the tests"
    )
    parser.add_argument("--fluency_model", help="a detector; none: the gate is the rules alone")
    parser.add_argument("--gate", help="fluency, rules or both (default: both where there is a detector)")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--per_kind", type=int, default=400)
    parser.add_argument("--show", type=int, default=0, help="print so many lies that were accepted")
    arguments = parser.parse_args()
    config = CorrectionConfig(
        llm="none",
        gate=arguments.gate or ("both" if arguments.fluency_model else "rules"),
        fluency_model=arguments.fluency_model,
        threshold=arguments.threshold,
    )
    gate = Corrector(config).gate
    captions = []
    if arguments.captions is None:
        rows = [(p.kind, p.is_right, p.before, p.after) for p in adversarial().adversarial_pairs()]
    else:
        captions = [text for row in read_records(arguments.captions) for text in row["references"]]
        rows = pairs_of_captions(captions, arguments.per_kind)
    print_table(rows, gate, arguments.show)
    if captions:
        held = (gate.score(captions) >= gate.threshold).mean()
        print(f"captions that people wrote: {len(captions):,}, held back {held:.2%}")


if __name__ == "__main__":
    main()
