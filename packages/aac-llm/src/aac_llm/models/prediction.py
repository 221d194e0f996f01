"""From what a captioner made of a sound to its prediction: caption, events, score and confidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from aac_llm.data.predictions import NO_SOUND, Candidate, CaptionPart, Prediction
from aac_llm.data.timestamps import TimedEvent, count_marks, parse_timed
from aac_llm.models.confidence import Calibration
from aac_llm.models.long_sound import join_captions, merge_events
from aac_llm.models.windows import Segment

Choose = Callable[[Sequence[Candidate]], Candidate]
"""Chooses the caption among candidates."""


def most_probable(candidates: Sequence[Candidate]) -> Candidate:
    """Choose the first candidate."""
    return candidates[0]


def predict(
    segments: Sequence[Segment],
    *,
    id: str,
    audio: str | None,
    timestamps: bool = False,
    choose: Choose = most_probable,
    calibration: Calibration | None = None,
    references: tuple[str, ...] = (),
) -> Prediction:
    """Make the prediction of a sound of what was heard in it, or in its windows.

    Args:
        segments: one, of the whole sound, or its overlapping windows in order.
        id: of the sound.
        audio: its path.
        timestamps: the captions are events with their times.
        choose: the caption among the candidates.
        calibration: of the model.
        references: the manifest's captions.
    """
    chosen = [choose(segment.candidates) for segment in segments]
    events = [
        timed_events(one, segment) if timestamps else ()
        for one, segment in zip(chosen, segments, strict=True)
    ]
    texts = [
        _words(candidate, found) if timestamps else candidate.text
        for candidate, found in zip(chosen, events, strict=True)
    ]
    parts = tuple(
        CaptionPart(
            segment.start,
            segment.end,
            text,
            one.score,
            # The calibration is of texts that can be read.
            None if timestamps and unread_events(one, segment) else _confidence(one, calibration),
        )
        for segment, text, one in zip(segments, texts, chosen, strict=True)
    )
    merged = merge_events(events)
    whole = Prediction(
        id=id,
        audio=audio,
        caption=_all_words(merged) or join_captions(parts) if len(parts) > 1 else texts[0],
        unfinished=any(candidate.unfinished for candidate in chosen),
        timestamps=merged,
        score=_mean([part.score for part in _heard(parts)]),
        confidence=_mean([part.confidence for part in _heard(parts)]),
        references=references,
    )
    if len(parts) > 1:
        return replace(whole, parts=parts)
    candidates = segments[0].candidates
    return replace(whole, candidates=tuple(candidates) if len(candidates) > 1 else ())


def timed_events(candidate: Candidate, segment: Segment) -> tuple[TimedEvent, ...]:
    """Return the events that a timed caption of a segment names, with times from the sound's beginning."""
    shifted = [
        event.shifted(segment.start) for event in parse_timed(candidate.text, segment.end - segment.start)
    ]
    # 0.2 s after 9.6 s is 9.8 s, not 9.799999999999999.
    return tuple(TimedEvent(one.text, round(one.onset, 3), round(one.offset, 3)) for one in shifted)


def unread_events(candidate: Candidate, segment: Segment) -> int:
    """Count the events that a timed caption sets out to name and that make no sense; words alone are one."""
    if candidate.text == NO_SOUND or not candidate.text.strip():
        return 0
    return max(1, count_marks(candidate.text)) - len(timed_events(candidate, segment))


def _words(chosen: Candidate, events: Sequence[TimedEvent]) -> str:
    # Without an event that can be read the text is one without times, or there was nothing to be heard.
    return _all_words(events) or chosen.text.partition("[")[0].strip() or NO_SOUND


def _all_words(events: Sequence[TimedEvent]) -> str:
    return ", ".join(event.text for event in sorted(events, key=lambda event: (event.onset, event.offset)))


def _confidence(chosen: Candidate, calibration: Calibration | None) -> float | None:
    if chosen.text == NO_SOUND:
        return 1.0  # measured, not guessed
    return None if calibration is None else calibration.confidence(chosen.score)


def _heard(parts: Sequence[CaptionPart]) -> Sequence[CaptionPart]:
    """Return the parts that the caption is made of: silence is told only where there is nothing else."""
    return [part for part in parts if part.text != NO_SOUND] or parts


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
