"""The guard of meaning: a repair may mend how a caption says what it says, never what it says.

    >>> changed_meaning("a dog dog barks then a man speaks and", "a dog barks, then a man speaks")
    >>> changed_meaning("a dog dog barks then a man speaks", "a man speaks, then a dog barks")
    "changes the order of events or what is said of which"
    >>> changed_meaning("two dogs dogs bark loudly", "two dogs bark quietly")
    'changes loudness (loud to quiet)'

Allowed is what mends grammar: articles, auxiliaries and other function words, inflection, "and" or "while"
between two events that nothing divided, leaving out what is said twice and an end that leads nowhere, words
moved within a clause where that cannot change who does what, and the one verb that a source implies ("a dog"
barks). Everything else is refused: words that come or go, a changed number, another order or connective, and
words that move to another event. So a paraphrase is refused, too: whether it says the same cannot be told
from the words, and a caption that stays is no lie. English only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from aac_llm.metrics import word_classes as lex
from aac_llm.metrics.clauses import Clause, Item, is_cut, read_clauses

MAX_REPEATED = 8
"""Clauses that may be repeats of others; of a caption with more no repair is accepted."""
_OPENINGS = ("", "and", "then", "or")
"""What a caption that starts amid a sentence starts with, and a repair may drop."""


def changed_meaning(before: str, after: str) -> str | None:
    """Return how a repair changes what a caption says, or None if it does not."""
    old, new = read_clauses(before), read_clauses(after)
    if is_cut(after):
        return "ends nowhere"
    opening = {clauses[0].relation for clauses in (old, new) if clauses}
    if len(opening) > 1 and new and new[0].relation:
        return "begins amid a sentence"
    joined = _joined(new)
    if any(_says_same(_joined(clauses), joined) for clauses in _readings(old)):
        return None
    return _describe(old, joined)


# What a broken caption may have meant


def _readings(clauses: tuple[Clause, ...]) -> Iterator[tuple[Clause, ...]]:
    """Yield a caption without none, some or all of the clauses and words that repeat others."""
    repeated = [place for place in range(len(clauses)) if _is_repeat(clauses, place)]
    if len(repeated) > MAX_REPEATED:
        return
    for count in range(len(repeated) + 1):
        for dropped in combinations(repeated, count):
            if kept := _drop(clauses, dropped):
                yield kept
                yield tuple(replace(clause, items=_once(clause.items, ("modifier",))) for clause in kept)
                yield tuple(
                    replace(clause, items=_once(clause.items, ("modifier", "verb"))) for clause in kept
                )


def _is_repeat(clauses: Sequence[Clause], place: int) -> bool:
    """Tell whether a clause says nothing that an earlier one, or the next one, does not."""
    clause = clauses[place]
    # In "a dog barks, then a man speaks, then a dog barks" the second bark is news.
    earlier = (
        clauses[:place] if clause.relation in ("", "and", "while") else clauses[max(place - 1, 0) : place]
    )
    if any(_is_within(clause, other) for other in earlier):
        return True
    following = clauses[place + 1 : place + 2]
    return any(_is_within(clause, other) and _adds_manner_only(clause, other) for other in following)


def _is_within(clause: Clause, other: Clause) -> bool:
    numbers = {item.key: item.number for item in other.items}
    return clause.keys <= other.keys and all(
        not _differ(item.number, numbers[item.key]) for item in clause.items
    )


def _adds_manner_only(clause: Clause, other: Clause) -> bool:
    """Tell whether all that a clause has beyond another is how: "a dog barks and a dog barks loudly"."""
    return all(
        item.kind in ("modifier", "preposition", "noun") for item in other.items if item not in clause.items
    )


def _drop(clauses: tuple[Clause, ...], dropped: Sequence[int]) -> tuple[Clause, ...] | None:
    """Leave clauses out; None if one of them repeats only clauses that are left out as well."""
    kept: list[Clause] = []
    relation: str | None = None
    for place, clause in enumerate(clauses):
        if place in dropped:
            rest = [
                *kept,
                clause,
                *(other for n, other in enumerate(clauses) if n > place and n not in dropped),
            ]
            if not _is_repeat(rest, len(kept)):
                return None
            # The next clause then stands where this one stood.
            if relation is None and not any(_is_within(clause, other) for other in kept):
                relation = clause.relation
            continue
        kept.append(clause if relation is None else replace(clause, relation=relation))
        relation = None
    return tuple(kept)


def _once(items: Sequence[Item], kinds: tuple[str, ...]) -> tuple[Item, ...]:
    """Leave out the second of equal words of these kinds: "loudly barks loudly"."""
    return tuple(
        item for place, item in enumerate(items) if item.kind not in kinds or item not in items[:place]
    )


def _joined(clauses: Sequence[Clause]) -> list[Clause]:
    """Join clauses that only a comma divides; a start amid a sentence is no connective."""
    joined: list[Clause] = []
    for clause in clauses:
        if joined and not clause.relation:
            joined[-1] = replace(joined[-1], items=joined[-1].items + clause.items)
        else:
            opening = not joined and clause.relation in _OPENINGS
            joined.append(replace(clause, relation="") if opening else clause)
    return joined


# Comparison


def _says_same(old: Sequence[Clause], new: Sequence[Clause]) -> bool:
    """Tell whether new clauses say the old ones, in order, some perhaps divided by a new connective."""
    number, place = 0, 0
    for clause in new:
        if number == len(old):
            return False
        rest = old[number].items[place:]
        if place and not _may_divide(clause.relation, rest[0]):
            return False
        if not place and clause.relation != old[number].relation:
            return False
        length = _match(rest, clause.items)
        if not length:
            return False
        place += length
        if place == len(old[number].items):
            number, place = number + 1, 0
    return number == len(old)


def _may_divide(relation: str, first: Item) -> bool:
    """Tell whether a new connective may stand before a word: it claims no order and takes no adverb along."""
    return (
        relation in ("and", "while") and first.kind not in ("preposition", "negation") and not first.is_adverb
    )


def _match(old: Sequence[Item], new: Sequence[Item]) -> int:
    """Return how many of the old clause's next items a new clause says, 0 if it does not say them."""
    supplied = [item for item in new if item.kind == "verb" and item not in old]
    if supplied and not _is_implied(supplied, old):
        return 0
    said = [item for item in new if item not in supplied]
    return len(said) if said and _same_items(old[: len(said)], said) else 0


def _is_implied(supplied: Sequence[Item], old: Sequence[Item]) -> bool:
    """Tell whether a verb that a clause lacked is what its only source does."""
    nouns = [item for item in old if item.kind == "noun"]
    verbs = lex.NATURAL_VERBS.get(nouns[0].key, frozenset()) if nouns else frozenset()
    return len(supplied) == 1 and supplied[0].key in verbs and all(item.kind != "verb" for item in old)


def _same_items(old: Sequence[Item], new: Sequence[Item]) -> bool:
    """Tell whether words of a clause are the same ones, of the same number, in a like order."""
    if Counter(old) != Counter(new):
        return False
    # Stable sorts: of several "birds" the first is compared with the first.
    pairs = zip(sorted(new, key=str), sorted(old, key=str), strict=True)
    if any(_differs(one, other) for one, other in pairs):
        return False
    return list(old) == list(new) or _same_order(old, new)


def _same_order(old: Sequence[Item], new: Sequence[Item]) -> bool:
    """Tell whether moved words leave open neither who does what nor what is how."""
    kinds = Counter(item.kind for item in old)
    verbs, others = _of(old, "verb"), [item for item in old if item.kind != "verb"]
    if verbs != _of(new, "verb") or (len(verbs) > 1 and kinds["modifier"]) or kinds["negation"]:
        return False
    if not _is_one_moved(old, new):
        return False
    if kinds["noun"] > 1:
        # Of two things only verbs and adverbs may move; an adjective would go to the other one.
        return [item for item in others if not item.is_adverb] == [
            item for item in new if item.kind != "verb" and not item.is_adverb
        ]
    return all(_of(old, kind) == _of(new, kind) for kind in kinds)


def _is_one_moved(old: Sequence[Item], new: Sequence[Item]) -> bool:
    """Tell whether one word stands elsewhere and the others are as they were."""
    return any(
        [*old[:one], *old[one + 1 :]] == [*new[:other], *new[other + 1 :]]
        for one in range(len(old))
        for other in range(len(new))
        if old[one] == new[other]
    )


def _of(items: Sequence[Item], kind: str) -> list[Item]:
    return [item for item in items if item.kind == kind]


def _differs(new: Item, old: Item) -> bool:
    """Tell whether a word has another number or voice than it had; where it had none, it may get one."""
    number = new.form if old.number else None
    return _differ(number, old.number) or _differ(new.voice, old.voice)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


# Reasons

_NAMES = (
    ("loudness", lex.LOUDNESS),
    ("the place", lex.PLACES),
    ("the surface", lex.SURFACES),
    ("who is heard", lex.AGENTS),
)


def _describe(old: Sequence[Clause], new: Sequence[Clause]) -> str:
    """Say which part of the meaning changed."""
    lost, come = _less(old, new), _less(new, old)
    if not lost and not come:
        return _describe_same_words(old, new)
    change = f" ({_listed(lost)} to {_listed(come)})"
    changed = [*lost, *come]
    if any(item.kind == "negation" for item in changed):
        return f"changes negation{change}"
    if any(item.kind == "quantity" or item.key in lex.COLLECTIVES for item in changed):
        return f"changes the number{change}"
    for name, keys in _NAMES:
        if any(item.key in keys for item in changed):
            return f"changes {name}{change}"
    if all(item.kind == "modifier" for item in changed):
        return f"changes the manner{change}"
    return f"changes what is said{change}"


def _describe_same_words(old: Sequence[Clause], new: Sequence[Clause]) -> str:
    numbers = {item.key: item for clause in old for item in clause.items}
    for item in (item for clause in new for item in clause.items):
        if numbers[item.key].number and _differ(item.form, numbers[item.key].number):
            return f"changes the number ({item.key})"
        if _differ(item.voice, numbers[item.key].voice):
            return f"changes who does it ({item.key})"
    return "changes the order of events or what is said of which"


def _less(clauses: Sequence[Clause], others: Sequence[Clause]) -> list[Item]:
    """Return the words of clauses that others have not, each once."""
    there = {item for clause in others for item in clause.items}
    return list(dict.fromkeys(item for clause in clauses for item in clause.items if item not in there))


def _listed(items: Sequence[Item]) -> str:
    return " ".join(map(str, items)) or "nothing"
