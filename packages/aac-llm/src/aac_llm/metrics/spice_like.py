"""An approximation of SPICE (Anderson et al. 2016, section 3.2) in pure Python: `spice_like`, never `spice`.

Candidate and references become tuples (`spice_tuples`) and then scene graphs, the references' one graph
together; words that share a WordNet synset are one object. The score is the F1 of the candidate's tuples,
each matched where all its parts share a word or a synset with those of one of the references'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aac_llm.metrics.spice_tuples import Tuple, caption_tuples
from aac_llm.metrics.wordnet import Synset, synsets


@dataclass(slots=True, eq=False)
class Concept:
    """An object, attribute or relation: the words for it and their synsets."""

    words: set[str]
    synsets: set[Synset]

    @classmethod
    def of(cls, text: str) -> Concept:
        """Make the concept of one word, or of several that are taken as one."""
        return cls({text}, set(synsets(text)))

    def is_like(self, other: Concept) -> bool:
        """Tell whether the two share a word or a synset."""
        return not (self.words.isdisjoint(other.words) and self.synsets.isdisjoint(other.synsets))

    def similarity(self, other: Concept) -> float:
        """Return 1 where a word is shared, else the share of synsets that are common."""
        if not self.words.isdisjoint(other.words):
            return 1.0
        common = len(self.synsets & other.synsets)
        return common / len(self.synsets | other.synsets) if common else 0.0

    def merge(self, other: Concept) -> None:
        """Take the words and synsets of the other."""
        self.words |= other.words
        self.synsets |= other.synsets


@dataclass(slots=True, eq=False)
class _Node:
    concept: Concept
    attributes: list[Concept] = field(default_factory=list)


class SceneGraph:
    """Objects with their attributes, and relations between objects; what is alike is merged."""

    def __init__(self, tuples: Iterable[Tuple] = ()) -> None:
        self.nodes: list[_Node] = []
        self.relations: list[tuple[_Node, Concept, _Node]] = []
        for one in tuples:
            self.add(one)

    def add(self, one: Tuple) -> None:
        """Add (object,), (object, attribute) or (object, relation, object)."""
        node = self._node(one[0])
        if len(one) == 2:
            _merge_or_append(node.attributes, Concept.of(one[1]))
        elif len(one) == 3:
            target = self._node(one[2])
            relation = Concept.of(one[1])
            for source, present, end in self.relations:
                if source is node and end is target and present.is_like(relation):
                    present.merge(relation)
                    return
            self.relations.append((node, relation, target))

    def tuples(self) -> list[tuple[Concept, ...]]:
        """List the concepts of every object, attribute and relation."""
        found: list[tuple[Concept, ...]] = []
        for node in self.nodes:
            found.append((node.concept,))
            found += [(node.concept, attribute) for attribute in node.attributes]
        return found + [(source.concept, name, target.concept) for source, name, target in self.relations]

    def _node(self, word: str) -> _Node:
        concept = Concept.of(word)
        best, closest = 0.0, None
        for node in self.nodes:
            similarity = concept.similarity(node.concept)
            if similarity > best:
                best, closest = similarity, node
        if closest is None:
            closest = _Node(concept)
            self.nodes.append(closest)
        else:
            closest.concept.merge(concept)
        return closest


def spice_like(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Compute the approximation of each clip's SPICE, (clips,); the corpus value is their mean.

    Args:
        candidates: one caption for each clip, tokenised as for every other metric.
        references: the clip's references, any number.

    Raises:
        ValueError: a clip without references, or another number of clips in the two.

    >>> spice_like(["a dog is barking"], [["a loud dog", "the dog is barking"]]).round(3)
    array([0.8])
    """
    if len(candidates) != len(references):
        raise ValueError(
            f"expected references for {len(candidates)} captions, got them for {len(references)}"
        )
    if not all(references):
        raise ValueError(f"clip {[bool(refs) for refs in references].index(False)} has no references")
    pairs = zip(candidates, references, strict=True)
    return np.array([_score(candidate, refs) for candidate, refs in pairs], dtype=np.float64)


def _score(candidate: str, references: Sequence[str]) -> float:
    ours = SceneGraph(caption_tuples(candidate)).tuples()
    theirs = SceneGraph(one for text in references for one in caption_tuples(text)).tuples()
    matched = sum(any(_is_match(one, other) for other in theirs) for one in ours)
    # F1 of matched / ours and matched / theirs.
    return 2 * matched / (len(ours) + len(theirs)) if matched else 0.0


def _is_match(one: tuple[Concept, ...], other: tuple[Concept, ...]) -> bool:
    return len(one) == len(other) and all(a.is_like(b) for a, b in zip(one, other, strict=True))


def _merge_or_append(present: list[Concept], new: Concept) -> None:
    for concept in present:
        if concept.is_like(new):
            concept.merge(new)
            return
    present.append(new)
