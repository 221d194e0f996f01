"""Objects, attributes and relations of a caption, as SPICE's parser finds them, by rules.

SPICE (Anderson et al. 2016) parses a caption with Stanford CoreNLP 3.6 and reads tuples off its dependencies,
after Schuster et al. 2015 ("Generating semantically precise scene graphs from textual descriptions"):

- every noun is an object; in "fire alarm" only the alarm is, and `fire` is its attribute;
- adjectives, participles and numbers (of plurals) before a noun are its attributes;
- a verb is an attribute of its subject, unless it has objects: then subject, verb, object are a relation, and
  for a prepositional phrase subject, verb with preposition, noun; subjects of passives do not count;
- a phrase with a preposition after a noun is a relation of the two; what belongs to something is had by it;
- a participle after a noun counts with its objects only: "birds chirping" is no more than the bird;
- a pronoun stands for the sentence's first noun.

Here phrases come from a tagger (`tagger`, `noun_phrase`) and are attached from left to right. Written from the
two papers and from what SPICE answers; none of its code is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from aac_llm.metrics.noun_phrase import Noun, Phrase, find_phrases
from aac_llm.metrics.tagger import tag_words

Tuple = tuple[str, ...]
SINGULAR = frozenset("it itself he him himself she her herself".split())
OPT = dict(which_adj=True, agent=True, sing=True, flat=True, acl_first=True, pp_first=False, followed=True, inf_acl=False, with_clause=False, after_obj_acl=True, dobj_pp="noun", nmod_pp="noun", then_conj=True, frag_pp="noun", sub_subj=True, verb_acl=False)


@dataclass(slots=True, eq=False)
class _Verb:
    lemma: str
    form: str
    passive: bool
    subjects: list[Noun] = field(default_factory=list)
    particle: str = ""
    objects: list[tuple[str, Noun]] = field(default_factory=list)
    predicates: list[tuple[str, str]] = field(default_factory=list)
    clause: bool = True
    """False: a participle after a noun."""


@lru_cache(maxsize=100_000)
def caption_tuples(text: str) -> tuple[Tuple, ...]:
    """Return the tuples of a tokenised caption: (object,), (object, attribute), (object, relation, object).

    >>> caption_tuples("a small dog is chasing two birds in a garden")
    (('dog', 'chase', 'bird'), ('dog', 'chase in', 'garden'), ('dog', 'small'), ('bird', 'two'), ('dog',), \
('bird',), ('garden',))
    """
    reader = _Reader(find_phrases(tag_words(text)))
    reader.read()
    return tuple(reader.tuples())


class _Reader:
    """Attaches phrases from left to right."""

    def __init__(self, phrases: Sequence[Phrase]) -> None:
        self.phrases = phrases
        self.nouns: list[Noun] = []
        self.verbs: list[_Verb] = []
        self.relations: list[Tuple] = []
        self.first: Noun | None = None
        self.start_clause()

    def start_clause(self, joined: bool = False) -> None:
        self.subjects: list[Noun] = []
        self.verb: _Verb | None = None
        self.noun: Noun | None = None
        """The last noun, to which phrases may attach."""
        self.near: str = ""
        """Kind of the last phrase, adverbs left out."""
        self.prep = ""
        self.conj = False
        self.sub = False
        self.which = False
        self.which_word = ""
        self.outer: list[Noun] = []
        self.slot: tuple[str, object, str] = ("", None, "")
        self.there = False
        self.closed = False

    # -------------------------------------------------------------------------------------------- reading
    def read(self) -> None:
        for place, phrase in enumerate(self.phrases):
            if phrase.kind == "noun":
                self.read_noun(place, phrase)
            elif phrase.kind == "verb":
                self.read_verb(place, phrase)
            elif phrase.kind == "prep":
                self.read_prep(place, phrase)
            elif phrase.kind == "and":
                self.conj, self.prep = True, ""
            elif phrase.kind == "sub":
                self.start_clause()
                self.sub = True
            elif phrase.kind == "which":
                self.outer, self.subjects, self.which, self.prep = self.subjects, [], True, ""
                self.verb = None if self.verb is None or not self.outer else self.verb
                self.near, self.which_word = "which", phrase.text
            elif phrase.kind == "there":
                self.there = True
            elif phrase.kind == "adj":
                self.read_adjective(phrase)
            elif phrase.kind == "part" and self.verb is not None and self.near == "verb":
                self.verb.particle = phrase.text

    def read_noun(self, place: int, phrase: Phrase) -> None:
        noun = phrase.noun
        assert noun is not None
        self.nouns += phrase.extra
        if noun.tag == "PRP":
            if self.first is None:
                resolved = noun
            else:
                resolved = self.first
                if OPT["sing"] and noun.lemma in SINGULAR and resolved.tag == "NNS":
                    resolved = next((one for one in self.nouns if one.tag == "NN"), noun)
            noun = resolved
        else:
            self.nouns.append(noun)
            if noun.owned and self.first is not None:
                self.relations.append((self.first.lemma, "have", noun.lemma))
        begins = self.finite_follows(place, across=self.verb is None or bool(self.conj))
        if self.prep:
            self.attach(noun)
        elif self.conj and not begins and self.slot[0]:
            self.join(noun)
        elif begins and self.verb is not None and not (self.near == "verb" and self.open_subject() and not self.conj):
            self.start_clause()
            self.subjects, self.slot = [noun], ("subject", None, "")
        elif self.verb is not None and self.verb.lemma == "be" and not self.verb.objects and self.near == "verb":
            if self.there:
                self.subjects, self.slot = [noun], ("subject", None, "")
                self.verb = None
                self.there = False
            else:
                self.verb.predicates.append((noun.lemma, noun.tag))
                self.slot = ("predicate", self.verb, "")
        elif self.verb is not None and self.near == "verb" and not self.verb.passive and not self.conj:
            self.verb.objects.append(("", noun))
            self.slot = ("object", self.verb, "")
        elif self.verb is None and self.subjects and self.conj:
            self.subjects = [*self.subjects, noun]
            self.slot = ("subject", None, "")
        else:
            if self.verb is not None:
                self.start_clause()
            self.subjects = [noun]
            self.slot = ("subject", None, "")
        if self.first is None and noun.is_noun and not self.sub:
            self.first = noun
        self.noun, self.near, self.prep, self.conj = noun, "noun", "", False

    def open_subject(self) -> bool:
        """Tell whether the subject still waits for its verb, behind a participle that describes it."""
        return self.verb is not None and not self.verb.clause and bool(self.subjects) and not self.closed

    def join(self, noun: Noun) -> None:
        kind, target, name = self.slot
        if kind == "subject":
            self.subjects = [*self.subjects, noun]
        elif kind == "object":
            target.objects.append((name, noun))
        elif kind == "nmod" and target.is_noun:
            self.relations.append((target.lemma, name, noun.lemma))
        elif kind == "predicate":
            target.predicates.append((noun.lemma, noun.tag))

    def attach(self, noun: Noun) -> None:
        name, verb = self.prep, self.verb
        if self.noun is not None and not self.noun.is_noun and verb is not None:
            self.near_before = "verb"
        to_noun = verb is None or (self.near == "noun" and name == "of")
        if not to_noun and self.near_before == "noun" and self.noun is not None:
            kind = self.slot[0]
            last_plain = kind == "object" and self.slot[2] == ""
            to_noun = OPT["dobj_pp"] == "noun" if last_plain else OPT["nmod_pp"] == "noun"
            if name == "of":
                to_noun = True
        if to_noun:
            if self.noun is not None and self.noun.is_noun:
                self.relations.append((self.noun.lemma, name, noun.lemma))
                self.slot = ("nmod", self.noun, name)
        elif verb.lemma == "be" and not verb.predicates:
            verb.objects.append((name, noun))
            self.slot = ("object", verb, name)
        else:
            verb.objects.append((name, noun))
            self.slot = ("object", verb, name)

    def finite_follows(self, place: int, across: bool = True) -> bool:
        """Tell whether the noun phrase here is the subject of a verb to come."""
        rest = self.phrases[place + 1 :]
        k = 0
        while k < len(rest):
            kind = rest[k].kind
            if kind == "verb":
                return rest[k].form == "finite"
            if kind == "adv" and rest[k].text != "then":
                k += 1
            elif kind == "prep" and k + 1 < len(rest) and rest[k + 1].kind == "noun":
                k += 2
            elif across and kind == "and" and k + 1 < len(rest) and rest[k + 1].kind == "noun":
                k += 2
            else:
                return False
        return False

    def read_verb(self, place: int, phrase: Phrase) -> None:
        verb = _Verb(phrase.text, phrase.form, phrase.passive)
        last = self.verbs[-1] if self.verbs else None
        if phrase.form == "infinitive":
            if OPT["inf_acl"] and self.near == "noun" and self.noun is not None:
                verb.subjects, verb.clause = [self.noun], False
        elif phrase.form == "finite":
            if self.which:
                self.which = False
                if OPT["which_adj"]: verb.subjects = [Noun(self.which_word, "WDT")]
                self.subjects = self.outer if self.verb is None else []
            elif self.subjects and (self.verb is None or not self.verb.clause) and not self.closed:
                verb.subjects = self.subjects
                self.closed = True
            elif (self.conj or OPT["then_conj"]) and last is not None and self.near != "sub":
                verb.subjects = next((v.subjects for v in reversed(self.verbs) if v.form == "finite"), last.subjects)
        elif self.conj and last is not None and self.verb is not None:
            verb.subjects, verb.clause = last.subjects, last.clause
            if last.passive and not verb.passive and last.clause:
                verb.passive = True
        elif self.near == "noun" and self.noun is not None:
            if self.verb is None and self.sub and OPT["sub_subj"]:
                verb.subjects = self.subjects
            elif self.slot[0] == "object" and self.slot[2] == "with" and OPT["with_clause"]:
                verb.subjects = [self.noun]
                self.slot[1].objects.pop()
            elif self.slot[0] == "nmod" and self.slot[2] == "with" and OPT["with_clause"]:
                verb.subjects = [self.noun]
                self.relations.pop()
            elif self.verb is None or OPT["after_obj_acl"]:
                first = self.subjects[0] if OPT["acl_first"] and self.slot[0] == "subject" and self.subjects else self.noun
                verb.subjects, verb.clause = [first], False
        elif self.verb is not None and OPT["verb_acl"]:
            verb.subjects, verb.clause = self.verb.subjects, False
        self.head = verb
        kinds = [one.kind for one in self.phrases[max(place - 2, 0) : place]]
        if OPT["flat"] and last is not None and last.lemma != "be" and kinds == ["verb", "and"]:
            # Verbs side by side share what follows, which the first one governs.
            self.head = self.head_before or last
        self.head_before = self.head if self.head is not verb else None
        self.verb = self.head
        self.verbs.append(verb)
        self.near, self.conj, self.prep = "verb", False, ""
        self.slot = ("", None, "")

    def read_prep(self, place: int, phrase: Phrase) -> None:
        following = self.phrases[place + 1] if place + 1 < len(self.phrases) else None
        if phrase.text in {"as", "before", "after", "until", "till", "since"}:
            if following is not None and following.kind == "noun" and self.finite_follows(place + 1):
                self.start_clause()
                self.sub = True
                return
            if following is not None and following.kind == "verb":
                self.start_clause()
                self.sub = True
                return
        if following is not None and following.kind in {"noun", "adj"}:
            self.prep = phrase.text
            self.near_before = self.near

    def read_adjective(self, phrase: Phrase) -> None:
        if self.verb is not None and self.verb.lemma == "be" and not self.prep:
            self.verb.predicates.append((phrase.text, "JJ"))
            self.conj = False

    near_before = ""
    head_before: _Verb | None = None

    # ------------------------------------------------------------------------------------------- emitting
    def tuples(self) -> list[Tuple]:
        found: list[Tuple] = []
        for verb in self.verbs:
            found += self.of_verb(verb)
        for noun in self.nouns:
            found += [(noun.lemma, attribute) for attribute in noun.attributes]
        found += self.relations
        return found + [(noun.lemma,) for noun in self.nouns if noun.is_noun]

    def of_verb(self, verb: _Verb) -> list[Tuple]:
        if verb.passive and verb.clause:
            agents = [noun for name, noun in verb.objects if name == "by"]
            return [(a.lemma, verb.lemma, s.lemma) for a in agents for s in verb.subjects]
        found: list[Tuple] = []
        name = f"{verb.lemma} {verb.particle}".strip()
        for subject in verb.subjects:
            if not subject.is_noun:
                # Whatever is the subject of an adjective counts.
                if subject.tag in {"WDT", "PRP"}:
                    found += [(subject.lemma, word) for word, tag in verb.predicates if tag == "JJ"]
                continue
            objects = [(prep, noun) for prep, noun in verb.objects if noun.is_noun]
            if verb.predicates:
                found += [(subject.lemma, word) for word, _ in verb.predicates]
            elif objects:
                for prep, noun in objects:
                    if OPT["agent"] and verb.passive and prep == "by":
                        prep = ""
                    relation = f"{name} {prep}".strip().removeprefix("be ")
                    found.append((subject.lemma, relation, noun.lemma))
            elif verb.clause and verb.lemma != "be":
                found.append((subject.lemma, verb.lemma))
        return found
