"""How long sound is heard, and how the captions of its windows become one."""

import math

import pytest
from aac_llm.data.predictions import NO_SOUND, Candidate, CaptionPart
from aac_llm.data.timestamps import TimedEvent
from aac_llm.models.confidence import Calibration
from aac_llm.models.long_sound import join_captions, merge_events, plan_listening
from aac_llm.models.prediction import predict, unread_events
from aac_llm.models.windows import Segment


def test_windows_are_of_the_trained_length_or_of_what_fits():
    assert plan_listening(math.inf, None).whole_seconds == math.inf
    assert plan_listening(math.inf, 10.0).whole_seconds == 10.5
    assert plan_listening(math.inf, 10.0).hop_seconds == 8.0
    # The context is a wall, the trained length is not.
    assert plan_listening(10.2, 10.0).whole_seconds == 10.2
    assert plan_listening(6.0, 10.0).window_seconds == 6.0
    assert plan_listening(0.9, None).window_seconds == 0.0


def parts(*texts):
    return [CaptionPart(8.0 * n, 8.0 * n + 10, text) for n, text in enumerate(texts)]


def test_captions_of_windows_are_said_in_order_neighbours_once_and_silence_not():
    assert join_captions(parts("A dog barks.", "a dog barks", NO_SOUND, "rain", "a dog barks")) == (
        "A dog barks.; rain; a dog barks"
    )
    assert join_captions(parts(NO_SOUND, NO_SOUND)) == NO_SOUND


def test_an_event_that_two_windows_hear_is_one():
    first = [TimedEvent("A dog barks", 1.0, 3.0), TimedEvent("rain falls", 6.0, 10.0)]
    second = [TimedEvent("rain falls", 8.0, 13.0), TimedEvent("a dog barks", 15.0, 16.0)]
    third = [TimedEvent("rain falls", 16.0, 20.0)]  # too late to be the same rain
    assert merge_events([first, second, third]) == (
        TimedEvent("A dog barks", 1.0, 3.0),
        TimedEvent("rain falls", 6.0, 13.0),
        TimedEvent("a dog barks", 15.0, 16.0),
        TimedEvent("rain falls", 16.0, 20.0),
    )
    # Without a gap, cut by the window's end.
    halves = [[TimedEvent("rain", 2.0, 10.0)], [TimedEvent("rain", 10.1, 14.0)]]
    assert merge_events(halves) == (TimedEvent("rain", 2.0, 14.0),)


def test_two_events_within_a_window_stay_two():
    barks = [TimedEvent("bark", 0.0, 1.0), TimedEvent("bark", 1.1, 2.0)]
    assert merge_events([barks]) == tuple(barks)


def segment(start, text, score=-0.5):
    return Segment(0, start, start + 10.0, (Candidate(text, score),))


def test_a_long_sound_has_the_events_of_its_windows_from_its_own_beginning():
    heard = [
        segment(0.0, "[6.0-10.0] rain falls"),
        segment(8.0, "[0.0-3.0] rain falls, [5.0-99.0] wind blows"),
    ]
    found = predict(heard, id="a", audio=None, timestamps=True)
    assert found.timestamps == (TimedEvent("rain falls", 6.0, 11.0), TimedEvent("wind blows", 13.0, 18.0))
    assert found.caption == "rain falls, wind blows"
    assert [part.text for part in found.parts] == ["rain falls", "rain falls, wind blows"]


def test_score_and_confidence_of_a_long_sound_are_means_of_what_was_heard():
    calibration = Calibration(slope=1.0, intercept=0.0, criterion="", num_clips=30, share_right=0.5)
    heard = [segment(0.0, "rain", 0.0), segment(8.0, "wind", -2.0), segment(16.0, NO_SOUND, 0.0)]
    found = predict(heard, id="a", audio=None, calibration=calibration)
    assert found.score == -1.0
    assert found.confidence == pytest.approx((0.5 + 1 / (1 + math.exp(2))) / 2)
    assert found.parts[2].confidence == 1.0


@pytest.mark.parametrize(
    ("text", "caption", "unread"),
    [
        ("", NO_SOUND, 0),
        ("a dog barks", "a dog barks", 1),
        ("rain [", "rain", 1),
        ("[2.0-1.0] rain", NO_SOUND, 1),
    ],
)
def test_a_timed_text_without_events_is_still_a_caption(text, caption, unread):
    found = predict([segment(0.0, text)], id="a", audio=None, timestamps=True)
    assert (found.caption, found.timestamps) == (caption, ())
    assert unread_events(Candidate(text, 0.0), segment(0.0, text)) == unread


def test_a_plain_caption_keeps_its_brackets():
    assert predict([segment(0.0, "music [loud]")], id="a", audio=None).caption == "music [loud]"
