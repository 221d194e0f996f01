"""Scores of events in time: sed_eval's numbers, and what is no event at all."""

from __future__ import annotations

import random

import numpy as np
import pytest
from aac_llm.data.timestamps import TimedEvent
from aac_llm.metrics.timestamps import (
    f1_of_counts,
    label_events,
    largest_matching,
    share_of_counts,
    timestamp_scores,
)

LABELS = ("dog", "rain", "bell")
Events = list[TimedEvent]


def event(text: str, onset: float, offset: float) -> TimedEvent:
    return TimedEvent(text, onset, offset)


def draw_clips(seed: int, number: int = 40) -> list[tuple[Events, Events]]:
    """Draw what was written and what was there; SED_EVAL's numbers are of these clips."""
    rng = random.Random(seed)
    clips = []
    for _ in range(number):
        there: list[tuple[str, float, float]] = []
        for _ in range(rng.randint(0, 4)):
            onset = round(rng.uniform(0, 8), 1)
            there.append((rng.choice(LABELS), onset, round(onset + rng.uniform(0.3, 4), 1)))
        said = []
        for label, onset, offset in there:
            chance = rng.random()
            if chance < 0.7:
                a = max(0, round(onset + rng.choice([0, 0.1, 0.15, -0.1, 0.3]), 2))
                b = round(offset + rng.choice([0, 0.1, 0.3, -0.15, 0.6]), 2)
                if b > a:
                    said.append((label if rng.random() < 0.9 else rng.choice(LABELS), a, b))
            if chance < 0.15:
                said.append((label, onset, offset))
        if rng.random() < 0.2:
            said.append((rng.choice(LABELS), 1.0, 2.0))
        clips.append(([event(*one) for one in said], [event(*one) for one in there]))
    return clips


def test_numbers_are_those_of_sed_eval() -> None:
    """sed_eval 0.2.1 on the same clips: EventBasedMetrics(t_collar=0.2, percentage_of_length=0.2,
    event_matching_type="optimal"), with and without evaluate_offset, and SegmentBasedMetrics(1.0)."""
    said, there = zip(*draw_clips(0), strict=True)
    scores = timestamp_scores(said, there)
    assert scores.event_f1 == pytest.approx(0.5333333333333333)
    assert scores.event_precision == pytest.approx(0.5238095238095238)
    assert scores.event_recall == pytest.approx(0.5432098765432098)
    assert scores.event_macro_f1 == pytest.approx(0.5268727373990533)
    assert scores.onset_f1 == pytest.approx(0.6303030303030304)
    assert scores.segment_f1 == pytest.approx(0.7943262411347518)


def test_an_event_is_found_within_the_collar_and_a_fifth_of_its_length() -> None:
    wanted = [event("a dog barks", 1.0, 6.0)]
    for said, is_found in (
        (event("a hound woofs", 1.2, 5.0), 1.0),  # collar and a fifth exactly
        (event("a dog barks", 1.21, 6.0), 0.0),
        (event("a dog barks", 1.0, 4.9), 0.0),
        (event("rain falls", 1.0, 6.0), 0.0),
    ):
        assert timestamp_scores([[said]], [wanted]).event_f1 == is_found, said
    # Of a short event the collar, not a fifth.
    assert timestamp_scores([[event("a dog", 0.0, 0.7)]], [[event("a dog", 0.0, 0.5)]]).event_f1 == 1.0


def test_no_event_is_found_twice_and_the_largest_matching_counts() -> None:
    one, twice = [event("a dog", 1.0, 2.0)], [event("a dog", 1.0, 2.0), event("a dog", 1.1, 2.1)]
    scores = timestamp_scores([twice], [one])
    assert (scores.event_precision, scores.event_recall) == (0.5, 1.0)
    # A greedy pairing of the first would leave the second alone.
    assert largest_matching([[True, True], [True, False], [False, False]]) == 2
    assert largest_matching([]) == 0


def test_a_text_of_two_events_is_two_and_unknown_words_are_a_label() -> None:
    labels = [one.label for one in label_events([event("a dog barks while rain falls", 0.0, 1.0)])]
    assert labels == ["dog", "rain"]
    assert [one.label for one in label_events([event("the", 0.0, 1.0)])] == ["the"]


def test_hallucination_is_of_labels_that_are_not_in_the_clip() -> None:
    said = [[event("a dog", 0.0, 1.0), event("rain falls", 0.0, 1.0)], [event("a dog", 0.0, 1.0)], []]
    there = [[event("a dog barks", 5.0, 6.0)], [], []]
    scores = timestamp_scores(said, there)
    assert scores.hallucination == pytest.approx(2 / 3)
    # Of two clips without events one has an event written.
    assert scores.empty_hallucination == 0.5
    assert timestamp_scores(said[:1], there[:1]).empty_hallucination is None


def test_nothing_said_of_nothing_is_right() -> None:
    scores = timestamp_scores([[]], [[]])
    assert (scores.event_f1, scores.segment_f1, scores.event_macro_f1, scores.hallucination) == (1, 1, 1, 0)
    assert timestamp_scores([[]], [[event("a dog", 0, 1)]]).event_f1 == 0.0


def test_scores_are_of_the_tables_sums_so_that_clips_can_be_drawn() -> None:
    said, there = zip(*draw_clips(1), strict=True)
    scores = timestamp_scores(said, there)
    assert f1_of_counts(scores.tables["event"].sum(axis=0)) == pytest.approx(scores.event_f1)
    assert share_of_counts(scores.tables["hallucination"].sum(axis=0)) == scores.hallucination
    assert scores.tables["segment"].shape == (40, 3)
    draws = np.stack([scores.tables["event"].sum(axis=0)] * 2)
    assert f1_of_counts(draws).tolist() == [pytest.approx(scores.event_f1)] * 2


def test_as_many_clips_of_both_and_at_least_one() -> None:
    with pytest.raises(ValueError, match="2 clips with written events, but references of 1"):
        timestamp_scores([[], []], [[]])
    with pytest.raises(ValueError, match="at least one clip"):
        timestamp_scores([], [])
