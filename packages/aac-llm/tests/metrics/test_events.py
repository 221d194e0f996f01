"""Sound events: found through paraphrase, kept apart when different, counted when invented."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from aac_llm.metrics.events import event_scores, known_events, sound_events, stem
from audio_common.labels import AUDIOSET_LABELS
from audio_common.scenes.scene import KINDS, Event, Scene, random_scene
from audio_common.scenes.text import NUM_VARIANTS, caption
from hypothesis import given, settings
from hypothesis import strategies as st

EVENT_OF_KIND = {
    "alarm": "alarm",
    "applause": "clapping",
    "bell": "bell",
    "bird": "bird",
    "clock": "clock",
    "dog": "dog",
    "engine": "engine",
    "footsteps": "footsteps",
    "knock": "knock",
    "rain": "rain",
    "siren": "siren",
    "thunder": "thunder",
    "whistle": "whistling",
    "wind": "wind",
}
SAME = [
    ("A dog barks.", "A hound is woofing."),
    ("A dog barks.", "Barking of a dog nearby."),
    ("A man speaks.", "Someone was talking."),
    ("a woman talks to a child", "people are having a conversation"),
    ("Rain is falling.", "Heavy rain poured down."),
    ("Rain is falling.", "Raindrops patter on the ground."),
    ("Waves are crashing on a beach.", "Water washes up along the coast."),
    ("A baby is crying.", "A newborn wails."),
    ("A baby is crying.", "The crying of an infant."),
    ("A clock ticks steadily.", "Regular ticks of a timepiece."),
    ("A person sneezes.", "A man or woman goes achoo."),
    ("A helicopter flies overhead.", "Chopper blades are whirring."),
    ("A chainsaw cuts wood.", "A motor saw roars."),
    ("A chainsaw is running.", "The buzzing of a chainsaw."),
    ("A rooster crows.", "Cock-a-doodle-doo of a rooster."),
    ("A campfire crackles and pops.", "Flames burn in a fireplace."),
    ("birds chirp in the forest", "A bird sings."),
    ("A cat meows", "a kitten is mewing"),
    ("Cars pass by on a highway", "Traffic drives along a busy road"),
    ("someone knocks on a wooden door", "A person raps loudly at a door"),
    ("an audience claps", "loud applause from a crowd"),
    ("a train moves down the tracks", "A locomotive rolls past"),
    ("a person is walking on gravel", "Footsteps crunch on snow"),
    ("Dogs bark, then it rains", "Rain follows the barking of dogs"),
    ("music is playing on a guitar", "Someone strums a ukulele"),
    ("thunder rumbles in the distance", "a thunderstorm booms"),
    ("a phone is ringing", "A telephone rang twice"),
    ("a toilet is flushed", "flushing of a toilet"),
    ("a gun is fired", "gunshots"),
    ("insects buzz at night", "crickets chirped continuously"),
    ("the wind blew strongly", "gusts of wind are howling"),
]
DIFFERENT = [
    ("A dog barks.", "A cat meows."),
    ("A dog barks.", "A dog barks and a man speaks."),
    ("A dog barks.", "A dog barks near a unicorn."),
    ("Rain is falling.", "Rain is falling while thunder rumbles."),
    ("A helicopter flies.", "A bird flies and chirps."),
    ("A rooster crows.", "A crow caws."),
    ("A bell rings.", "A phone rings."),
    ("A baby cries.", "A baby laughs."),
    ("A chainsaw buzzes.", "A bee buzzes."),
    ("A siren wails.", "A newborn wails."),
    ("Water drips into a sink.", "Waves crash."),
    ("a man speaks", "a man sings"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_paraphrases_name_the_same_events(one: str, other: str) -> None:
    assert sound_events(one) == sound_events(other)
    assert sound_events(one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_events_are_told_apart(one: str, other: str) -> None:
    assert sound_events(one) != sound_events(other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", range(NUM_VARIANTS))
@pytest.mark.parametrize("gain_db", [-1.0, -9.0, -18.0])
def test_scene_captions_name_their_kind(kind: str, variant: int, gain_db: float) -> None:
    scene = Scene(events=(Event(kind=kind, onset=0.2, duration=1.5, gain_db=gain_db),), seconds=4.0)
    assert sound_events(caption(scene, "eng_Latn", variant=variant)) == {EVENT_OF_KIND[kind]}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), num_events=st.integers(2, 4), variant=st.integers(0, NUM_VARIANTS - 1))
def test_captions_of_composed_scenes_name_every_kind(seed: int, num_events: int, variant: int) -> None:
    scene = random_scene(seed, num_events=num_events, seconds=10.0, kinds=KINDS)
    kinds = {EVENT_OF_KIND[event.kind] for event in scene.events}
    assert sound_events(caption(scene, "eng_Latn", variant=variant)) == kinds


def test_esc10_captions_name_their_class(shared: Path) -> None:
    captions = json.loads((shared / "data" / "esc10" / "captions.json").read_text(encoding="utf-8"))
    expected = {"dog_bark": "dog", "sea_waves": "waves", "baby_cry": "cry", "clock_tick": "clock"}
    expected |= {"person_sneeze": "sneeze", "fire_crackling": "fire"}
    for kind, languages in captions.items():
        for text in languages["eng_Latn"]:
            assert sound_events(text) == {expected.get(kind, kind)}, text


def test_tense_order_case_and_punctuation_do_not_matter() -> None:
    expected = sound_events("a dog barks while a man is speaking")
    for text in (
        "A MAN SPOKE, AS DOGS BARKED!",
        "barking dog; men speaking",
        "The man's dog had barked. He spoke.",
    ):
        assert sound_events(text) == expected


def test_a_word_is_understood_by_its_clause() -> None:
    assert sound_events("a helicopter buzzes") == {"helicopter"}
    assert sound_events("a buzzing sound") == {"buzz"}
    assert sound_events("a bird whistles, then someone whistles") == {"bird", "whistling"}


def test_unknown_sources_are_events_and_how_or_where_are_not() -> None:
    assert sound_events("A unicorn sings") == {"unicorn", "sing"}
    assert sound_events("The quiet distant sound of something in a large room") == frozenset()
    assert sound_events("") == frozenset()


def test_words_with_a_similar_stem_are_not_confused() -> None:
    assert "mouse" not in sound_events("water drips at a steady rate")
    assert "chewing" not in sound_events("a bit of wind")
    assert sound_events("a type of engine") == {"engine"}
    assert stem("hiss") == stem("hissing") == stem("hisses") != stem("his")


def test_nearly_every_label_of_audioset_is_one_event() -> None:
    # Places, qualities ("Silence", "White noise") and bare materials name no event.
    without = [label for label in AUDIOSET_LABELS if not sound_events(label)]
    assert len(without) < 0.09 * len(AUDIOSET_LABELS), without
    named = [label for label in AUDIOSET_LABELS if len(sound_events(label)) == 1]
    assert len(named) > 0.8 * len(AUDIOSET_LABELS)
    assert len(set(known_events())) == len(known_events())


def test_scores_of_a_hand_made_case() -> None:
    scores = event_scores(
        ["a dog barks and a man speaks", "rain"],
        [["A hound woofs", "a dog barks as it rains"], ["it is raining"]],
    )
    # Two events, one right; three mentions, the two of the dog found.
    np.testing.assert_allclose(scores.clips["precision"], [0.5, 1.0])
    np.testing.assert_allclose(scores.clips["recall"], [2 / 3, 1.0])
    np.testing.assert_allclose(scores.clips["f1"], [2 * 0.5 * (2 / 3) / (0.5 + 2 / 3), 1.0])
    assert scores.precision == pytest.approx(0.75)
    assert scores.num_clips == 2


def test_scores_without_events() -> None:
    nothing = "a sound in the distance"
    scores = event_scores([nothing, nothing, "a dog"], [[nothing], ["a dog barks"], [nothing]])
    np.testing.assert_array_equal(scores.clips["precision"], [1, 0, 0])
    np.testing.assert_array_equal(scores.clips["recall"], [1, 0, 0])
    np.testing.assert_array_equal(scores.clips["f1"], [1, 0, 0])


def test_scores_refuse_lists_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="2 candidates but references of 1 clips"):
        event_scores(["a dog", "a cat"], [["a dog"]])
    with pytest.raises(ValueError, match="at least one clip"):
        event_scores([], [])


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_any_text_has_events_and_matches_itself(text: str) -> None:
    assert all(sound_events(text))
    assert event_scores([text], [[text]]).f1 == 1.0


def test_a_text_of_any_length_is_read_in_time_that_grows_with_its_length() -> None:
    began = time.process_time()
    assert len(sound_events(" ".join(f"w{number}" for number in range(30_000)))) > 20_000
    assert time.process_time() - began < 10
