"""From a language model's answer to a repair that is accepted, or the reason why the caption stays."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from aac_llm.correction.llm import CutAnswerError, LLMError
from aac_llm.correction.meaning import changed_meaning
from aac_llm.correction.sound_scorer import ScorerError
from aac_llm.metrics.clauses import without_artefacts
from aac_llm.metrics.events import sound_events
from aac_llm.output import printable

FLUENT = "fluent"
ACCEPTED = "accepted"
CHOSEN = "chosen"
NO_ANSWER = "kept: no answer"

_PEOPLE = {
    "male": "man men male guy gentleman boy boys his he father",
    "female": "woman women female lady ladies girl girls her she mother",
    "young": "child children kid kids boy boys girl girls baby babies infant toddler",
}
_WRAPPER = re.compile(
    r"^(?:(?:sure|certainly|okay|ok|of course)\b[^:\n]*:|"
    r"(?:here(?:'s| is| are)|the)\b[^:\n]{0,60}\b(?:caption|sentence|version|text|output)\b[^:\n]{0,20}:|"
    r"(?:corrected|fixed|revised|repaired|improved)?\s*(?:caption|sentence|version|answer|output|result)\s*:|"
    r"(?:corrected|fixed|revised|repaired|improved)\s*:)\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) sorry|i can(?:no|')t|i am unable|i'm unable|as an ai|language model|please provide|"
    r"cannot (?:fix|correct)|"
    r"no (?:change|correction)s? (?:(?:is|are|was|were) )?(?:needed|necessary|required))\b",
    re.IGNORECASE,
)
_QUOTES = "\"'`*\u201c\u201d\u2018\u2019\u00ab\u00bb "


@dataclass(frozen=True)
class Correction:
    """Decision on a caption."""

    before: str
    """The caption."""
    after: str
    """The caption afterwards: the repair if it was accepted, else `before`."""
    accepted: bool
    """Whether the repair was taken."""
    reason: str
    """`fluent` (the gate let it pass), `accepted`, `chosen` (one of the candidates), or `kept: ` and why."""
    score_before: float
    """The gate's score of `before`, higher is worse."""
    score_after: float | None = None
    """The gate's score of the answer; None where it was not scored."""
    answer: str | None = None
    """The model's proposal, without the words around it, or the candidate; None where there was neither."""
    similarity_before: float | None = None
    """How well `before` fits the sound, by the sound scorer; None where it was not asked."""
    similarity_after: float | None = None
    """How well `answer` does."""

    @property
    def considered(self) -> bool:
        """Whether the gate held the caption back."""
        return self.reason != FLUENT


def clean_answer(answer: str | LLMError, caption: str) -> str | LLMError:
    """Return the caption in an answer, written as the original is; or why there is none.

    >>> clean_answer('Here is the corrected caption: "A dog barks."', "a dog barks and")
    'a dog barks'
    """
    # The caption is the first line; what a model wrote after it may be cut.
    if isinstance(answer, CutAnswerError) and answer.has_whole_line:
        answer = answer.answer
    if isinstance(answer, CutAnswerError):
        return LLMError(f"kept: {answer}")
    if isinstance(answer, LLMError):
        return LLMError(f"{NO_ANSWER} ({answer})")
    # Reasoning models think aloud; an answer that was cut off within is empty.
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", answer, flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip(_QUOTES)]
    # "Sure, here is the caption:" on a line of its own.
    if lines and lines[0].endswith(":") and len(lines) > 1:
        lines.pop(0)
    if not lines:
        return LLMError("kept: empty answer")
    if _REFUSAL.search(lines[0]):
        return LLMError("kept: the model declined")
    line = _WRAPPER.sub("", lines[0].strip(_QUOTES)).strip(_QUOTES)
    if not re.search(r"[^\W\d_]", line):
        return LLMError("kept: empty answer")
    # Nobody who repairs a caption sends what moves a terminal's cursor.
    if printable(line) != line:
        return LLMError("kept: the answer has control characters")
    # An explanation instead of a caption. The 6 lets short captions gain a verb.
    if len(line.split()) > 1.5 * len(caption.split()) + 6:
        return LLMError("kept: the answer is too long")
    return _in_style(line, caption)


def _in_style(text: str, caption: str) -> str:
    """Write in lower case and without a full stop where the original is."""
    text = " ".join(text.split())
    if caption == caption.lower():
        text = text.lower()
    return text if caption.rstrip().endswith((".", "!", "?")) else text.rstrip(". ")


def judge(held_back: Correction, proposal: str, score: float) -> Correction:
    """Accept a proposal, or say why the caption stays.

    Args:
        held_back: the caption and its score.
        proposal: what would stand in its place.
        score: the gate's, of the proposal.
    """
    considered = replace(held_back, answer=proposal, score_after=score)
    before, after = sound_events(without_artefacts(held_back.before)), sound_events(proposal)
    # A change of case alone is no repair.
    if proposal.casefold() == held_back.before.strip().casefold():
        return keep(considered, "kept: the model changed nothing")
    # In this order: an invented sound is the worst that a repair can do, so it names the reason.
    if added := after - before:
        return keep(considered, f"kept: adds {', '.join(sorted(added))}")
    if dropped := before - after:
        return keep(considered, f"kept: drops {', '.join(sorted(dropped))}")
    # A man must not become a person, nor a person a man.
    if people(held_back.before) != people(proposal):
        return keep(considered, "kept: changes who is heard")
    if change := changed_meaning(held_back.before, proposal):
        return keep(considered, f"kept: {change}")
    # Written so that NaN keeps the caption.
    if not score < held_back.score_before:
        return keep(considered, f"kept: no better by the gate ({held_back.score_before:.2f} to {score:.2f})")
    return replace(considered, after=proposal, accepted=True, reason=ACCEPTED)


def judge_by_sound(
    proposed: Correction, before: float | ScorerError, after: float | ScorerError, margin: float
) -> Correction:
    """Keep the caption if what was accepted fits the sound worse than it did.

    Args:
        proposed: an accepted repair.
        before: similarity of the caption and its sound, or why there is none.
        after: that of the repair.
        margin: the repair's may be lower by so much.
    """
    if isinstance(before, ScorerError) or isinstance(after, ScorerError):
        reason = before if isinstance(before, ScorerError) else after
        return keep(proposed, f"{NO_ANSWER} of the sound scorer ({reason})")
    judged = replace(proposed, similarity_before=before, similarity_after=after)
    if not after >= before - margin:
        return keep(judged, f"kept: fits the sound worse ({before:.2f} to {after:.2f})")
    return judged


def people(caption: str) -> frozenset[str]:
    """Return what a caption says of who is heard: any of `male`, `female` and `young`.

    >>> sorted(people("A man talks to a girl"))
    ['female', 'male', 'young']
    """
    words = set(re.findall(r"[a-z]+", caption.lower()))
    return frozenset(kind for kind, names in _PEOPLE.items() if words & set(names.split()))


def keep(held_back: Correction, reason: str) -> Correction:
    """Keep the caption, for this reason."""
    return replace(held_back, after=held_back.before, accepted=False, reason=reason)
