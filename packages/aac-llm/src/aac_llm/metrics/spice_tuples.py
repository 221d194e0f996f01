"""Objects, attributes and relations of a caption, as SPICE's parser finds them, by rules.

SPICE (Anderson et al. 2016) parses a caption with Stanford CoreNLP 3.6 and reads tuples off its dependencies,
after Schuster et al. 2015 ("Generating semantically precise scene graphs from textual descriptions"):

- every noun is an object; in "fire alarm" only the alarm is, and `fire` is its attribute;
- adjectives, participles and numbers (of plurals) before a noun are its attributes;
- a verb is an attribute of its subject, unless it has objects: then subject, verb, object are a relation, and
  for a phrase with a preposition subject, verb with preposition, noun; subjects of passives do not count;
- a phrase with a preposition after a noun is a relation of the two; what belongs to something is had by it;
- a participle after a noun counts with its objects only: "birds chirping" is no more than the bird;
- a pronoun stands for the sentence's first noun.

Here phrases come from a tagger (`tagger`, `phrases`) and are attached from left to right. None of SPICE's
code is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from aac_llm.metrics.phrases import Noun, Phrase, find_phrases
from aac_llm.metrics.tagger import tag_words

Tuple = tuple[str, ...]
"""(object,), (object, attribute) or (object, relation, object)."""

_SINGULAR = frozenset({"it", "itself", "he", "him", "himself", "she", "her", "herself"})
_ALSO_CONJUNCTIONS = frozenset({"as", "before", "after", "until", "till", "since"})
"""Prepositions that begin a clause where a verb follows."""


@lru_cache(maxsize=100_000)
def caption_tuples(text: str) -> tuple[Tuple, ...]:
    """Return the tuples of a tokenised caption: (object,), (object, attribute), (object, relation, object).

    >>> for one in caption_tuples("a small dog is chasing two birds"):
    ...     print(one)
    ('dog', 'chase', 'bird')
    ('dog', 'small')
    ('bird', 'two')
    ('dog',)
    ('bird',)
    """
    reader = _Reader(find_phrases(tag_words(text)))
    reader.read()
    return tuple(reader.tuples())


@dataclass(slots=True, eq=False)
class _Verb:
    lemma: str
    form: str
    passive: bool
    subjects: list[Noun] = field(default_factory=list)
    objects: list[tuple[str, Noun]] = field(default_factory=list)
    """Each with its preposition, or none."""
    predicates: list[Noun] = field(default_factory=list)
    """What the subject is said to be."""
    particle: str = ""
    is_clause: bool = True
    """False: a participle after a noun."""

    def tuples(self) -> list[Tuple]:
        return [one for subject in self.subjects for one in self._of_subject(subject)]

    def _of_subject(self, subject: Noun) -> list[Tuple]:
        if not subject.is_noun:
            # Of an adjective any subject counts, "that" and "it" as well.
            return [(subject.lemma, one.lemma) for one in self.predicates if one.tag == "JJ"]
        objects = [(prep, noun) for prep, noun in self.objects if noun.is_noun]
        if self.passive and self.is_clause:
            return [(noun.lemma, self.lemma, subject.lemma) for prep, noun in objects if prep == "by"]
        if self.predicates:
            return [(subject.lemma, one.lemma) for one in self.predicates]
        if objects:
            return [(subject.lemma, self._relation(prep), noun.lemma) for prep, noun in objects]
        return [(subject.lemma, self.lemma)] if self.is_clause and self.lemma != "be" else []

    def _relation(self, prep: str) -> str:
        agent = self.passive and prep == "by"
        words = [self.lemma, self.particle, "" if agent else prep]
        return " ".join(filter(None, words)).removeprefix("be ")


class _Reader:
    """Attaches phrases from left to right."""

    def __init__(self, phrases: Sequence[Phrase]) -> None:
        self.phrases = phrases
        self.nouns: list[Noun] = []
        self.verbs: list[_Verb] = []
        self.relations: list[Tuple] = []
        self.first: Noun | None = None
        """What pronouns stand for."""
        self.start_clause()

    def start_clause(self, subjects: Sequence[Noun] = (), *, under: bool = False) -> None:
        self.subjects = list(subjects)
        self.waits = bool(subjects)
        """Whether the subject still waits for its verb."""
        self.under = under
        """Whether a conjunction such as `while` began the clause."""
        self.verb: _Verb | None = None
        self.noun: Noun | None = None
        self.near = ""
        """What was read last, adverbs left out: `noun`, `verb` or nothing."""
        self.join: Callable[[Noun], None] | None = None
        """Puts a noun after `and` where the one before it is."""
        self.after_and = self.there = False
        self.prep = self.relative = ""

    def read(self) -> None:
        for place, phrase in enumerate(self.phrases):
            if phrase.kind == "noun":
                self.read_noun(place, phrase)
            elif phrase.kind == "verb":
                self.read_verb(place, phrase)
            elif phrase.kind == "prep":
                self.read_preposition(place, phrase)
            elif phrase.kind == "and":
                self.after_and, self.prep = True, ""
            elif phrase.kind == "under":
                self.start_clause(under=True)
            elif phrase.kind == "which":
                self.relative, self.prep, self.near = phrase.text, "", ""
            elif phrase.kind == "there":
                self.there = True
            elif phrase.kind == "adjective" and self.verb is not None and self.verb.lemma == "be":
                self.verb.predicates.append(Noun(phrase.text, "JJ"))
                self.after_and = False
            elif phrase.kind == "particle" and self.verb is not None and self.near == "verb":
                self.verb.particle = phrase.text

    # ---------------------------------------------------------------------------------------------- nouns
    def read_noun(self, place: int, phrase: Phrase) -> None:
        assert phrase.noun is not None
        self.nouns += phrase.more
        noun = phrase.noun
        if noun.tag == "PRP":
            noun = self.meant_by(noun)
        else:
            self.nouns.append(noun)
            owners = [self.first] if noun.is_owned and self.first is not None else noun.owners
            self.relations += [(owner.lemma, "have", noun.lemma) for owner in owners]
        self.place_noun(noun, place)
        if self.first is None and noun.is_noun and not self.under:
            self.first = noun
        self.noun, self.near, self.prep, self.after_and = noun, "noun", "", False

    def meant_by(self, pronoun: Noun) -> Noun:
        if self.first is None or (pronoun.lemma in _SINGULAR and self.first.tag == "NNS"):
            return next((noun for noun in self.nouns if self.first and noun.tag == "NN"), pronoun)
        return self.first

    def place_noun(self, noun: Noun, place: int) -> None:
        verb = self.verb
        begins = self.verb_follows(place, across=verb is None or self.after_and)
        if self.prep:
            self.attach(noun)
        elif self.after_and and not begins and self.join is not None:
            self.join(noun)
        elif self.after_and and verb is None and self.waits:
            self.subjects.append(noun)
            self.join = self.subjects.append
        elif begins and verb is not None and (self.after_and or self.near != "verb" or not self.waits):
            self.start_subject(noun)
        elif verb is not None and self.near == "verb" and not self.after_and and not verb.passive:
            self.add_object(verb, noun)
        else:
            self.start_subject(noun)

    def start_subject(self, noun: Noun) -> None:
        if self.verb is not None:
            self.start_clause()
        self.subjects, self.waits = [noun], True
        self.join = self.subjects.append

    def add_object(self, verb: _Verb, noun: Noun) -> None:
        if verb.lemma != "be":
            verb.objects.append(("", noun))
            self.join = lambda other: verb.objects.append(("", other))
        elif self.there:
            self.start_clause([noun])
            self.join = self.subjects.append
        else:
            verb.predicates.append(noun)
            self.join = verb.predicates.append

    def attach(self, noun: Noun) -> None:
        """Attach a noun with its preposition to the noun just before, else to the verb."""
        prep, verb, before = self.prep, self.verb, self.noun
        is_close = self.near == "noun" and before is not None and before.is_noun
        if verb is not None and not is_close:
            verb.objects.append((prep, noun))
            self.join = lambda other: verb.objects.append((prep, other))
        elif before is not None and before.is_noun:
            self.relations.append((before.lemma, prep, noun.lemma))
            self.join = lambda other: self.relations.append((before.lemma, prep, other.lemma))

    def verb_follows(self, place: int, *, across: bool = True) -> bool:
        """Tell whether the noun phrase here is the subject of a verb to come, if need be across `and`."""
        rest = [phrase.kind for phrase in self.phrases[place + 1 :]]
        skip = 0
        while skip < len(rest):
            if rest[skip] == "verb":
                return self.phrases[place + 1 + skip].form == "finite"
            if rest[skip] == "adverb" and self.phrases[place + 1 + skip].text != "then":
                skip += 1
            elif rest[skip : skip + 2] == ["prep", "noun"] or (
                across and rest[skip : skip + 2] == ["and", "noun"]
            ):
                skip += 2
            else:
                return False
        return False

    def read_preposition(self, place: int, phrase: Phrase) -> None:
        following = self.phrases[place + 1].kind if place + 1 < len(self.phrases) else ""
        if phrase.text in _ALSO_CONJUNCTIONS and (
            following == "verb" or (following == "noun" and self.verb_follows(place + 1))
        ):
            self.start_clause(under=True)
        elif following in {"noun", "adjective"}:
            self.prep = phrase.text

    # ---------------------------------------------------------------------------------------------- verbs
    def read_verb(self, place: int, phrase: Phrase) -> None:
        verb = _Verb(phrase.text, phrase.form, phrase.passive)
        if phrase.form == "finite":
            verb.subjects = self.subjects_of_finite()
        elif phrase.form == "participle":
            self.describe(verb)
        last = self.verbs[-1] if self.verbs else None
        beside = [one.kind for one in self.phrases[max(place - 2, 0) : place]] == ["verb", "and"]
        # Of verbs side by side ("opens and closes a door") the first one governs what follows.
        self.verb = self.verb if beside and last is not None and last.lemma != "be" else verb
        self.verbs.append(verb)
        self.near, self.join, self.after_and, self.prep = "verb", None, False, ""

    def subjects_of_finite(self) -> list[Noun]:
        if self.relative:
            subjects = [Noun(self.relative, "WDT")]
            self.relative = ""
            return subjects
        if self.waits:
            self.waits = False
            return self.subjects
        return next((verb.subjects for verb in reversed(self.verbs) if verb.form == "finite"), [])

    def describe(self, verb: _Verb) -> None:
        """Find what a participle says something about."""
        last = self.verbs[-1] if self.verbs else None
        if self.after_and and last is not None and self.verb is not None:
            verb.subjects, verb.is_clause = last.subjects, last.is_clause
            verb.passive = last.passive if last.is_clause else verb.passive
        elif self.near == "noun" and self.noun is not None:
            if self.verb is None and self.under:
                # "while people talking"
                verb.subjects = self.subjects
            else:
                several = self.join is not None and self.noun in self.subjects
                verb.subjects = [self.subjects[0] if several else self.noun]
                verb.is_clause = False

    # ------------------------------------------------------------------------------------------- emitting
    def tuples(self) -> list[Tuple]:
        found = [one for verb in self.verbs for one in verb.tuples()]
        found += [(noun.lemma, attribute) for noun in self.nouns for attribute in noun.attributes]
        return [*found, *self.relations, *((noun.lemma,) for noun in self.nouns if noun.is_noun)]
