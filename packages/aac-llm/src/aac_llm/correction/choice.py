"""The captioner's own candidates instead of a rewriting: what the model heard, in a sentence that is whole.

Nothing is added to a caption this way that the captioner did not say of the sound, and no second model is
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from aac_llm.correction.acceptance import CHOSEN, NO_ANSWER, Correction, keep, people
from aac_llm.correction.gate import Gate
from aac_llm.correction.sound_scorer import ScorerError, UnreadSoundError
from aac_llm.data.predictions import Candidate, Prediction
from aac_llm.data.timestamps import count_marks
from aac_llm.metrics.events import sound_events

Similarities = Callable[
    [Sequence[tuple[Prediction, Sequence[str]]]], "list[list[float | ScorerError]] | None"
]
"""From predictions and texts to how well each text fits its prediction's sound; None: nobody can tell."""


def choose(
    predictions: Sequence[Prediction],
    held_back: Sequence[Correction],
    gate: Gate,
    similarities: Similarities,
) -> list[Correction]:
    """Take for each caption the best of its candidates that the gate lets pass, if there is one.

    Best is the most probable one, if possible of those that name the same sound events and people; or, where
    sounds can be asked, the one that fits the sound best.
    """
    options = [_options(prediction) for prediction in predictions]
    texts = [candidate.text for several in options for candidate in several]
    scores = iter(gate.score(texts) if texts else ())
    scored = [[(candidate, float(next(scores))) for candidate in several] for several in options]
    fluent = [[(one, score) for one, score in several if score < gate.threshold] for several in scored]
    asked = [place for place, several in enumerate(fluent) if several]
    heard = (
        similarities([(predictions[n], [one.text for one, _ in fluent[n]]) for n in asked]) if asked else None
    )
    fits = dict(zip(asked, heard or [], strict=False))
    return [
        _chosen(result, several, fits.get(place)) if several else result
        for place, (result, several) in enumerate(zip(held_back, fluent, strict=True))
    ]


def with_score_of(prediction: Prediction, text: str) -> Prediction:
    """Return a prediction with what holds of this candidate: its score, and that it is whole."""
    score = max(candidate.score for candidate in prediction.candidates if candidate.text == text)
    # The confidence was of the caption that went; the model that could say it of this one is not here.
    return replace(prediction, score=score, confidence=None, unfinished=False)


def _options(prediction: Prediction) -> list[Candidate]:
    """Return the finished candidates, the most probable first, those that hear the same before the others.

    Candidates with times in them (`caption --timestamps`) are no options.
    """
    heard = sound_events(prediction.caption), people(prediction.caption)
    texts = dict.fromkeys(one.text for one in prediction.candidates)
    best = {
        text: max((one for one in prediction.candidates if one.text == text), key=lambda one: one.score)
        for text in texts
    }
    whole = [
        one
        for one in best.values()
        if not one.unfinished and not count_marks(one.text) and one.text != prediction.caption
    ]
    return sorted(
        whole, key=lambda one: ((sound_events(one.text), people(one.text)) != heard, -one.score, one.text)
    )


def _chosen(
    result: Correction, fluent: Sequence[tuple[Candidate, float]], fits: Sequence[float | ScorerError] | None
) -> Correction:
    place = 0
    similarity = None
    if fits is not None:
        known = {n: value for n, value in enumerate(fits) if not isinstance(value, ScorerError)}
        # A program that fails is asked again; where it cannot read the sound the probabilities decide.
        failed = [
            one for one in fits if isinstance(one, ScorerError) and not isinstance(one, UnreadSoundError)
        ]
        if failed and not known:
            return keep(result, f"{NO_ANSWER} of the sound scorer ({failed[0]})")
        place = max(known, key=known.__getitem__, default=0)
        similarity = known.get(place)
    candidate, score = fluent[place]
    return replace(
        result,
        after=candidate.text,
        accepted=True,
        reason=CHOSEN,
        score_after=score,
        answer=candidate.text,
        similarity_after=similarity,
    )
