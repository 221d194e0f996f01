"""The gate: broken captions are held back, sound ones pass, and surprise is of the text alone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from aac_llm.config.correct import CorrectionConfig
from aac_llm.correction.gate import (
    both_gate,
    faults,
    rule_gate,
    rule_scores,
    threshold_used,
    with_default_detector,
)
from audio_common.scenes.scene import KINDS, random_scene
from audio_common.scenes.text import NUM_VARIANTS, caption
from hypothesis import given, settings
from hypothesis import strategies as st

BROKEN = [
    ("a dog dog barks and and", {"doubled word", "dangling end"}),
    ("rain is falling on a", {"dangling end"}),
    ("birds chirp in the background birds chirp in the background", {"repeated phrase"}),
    ("a man speaks and a man speaks", {"repeated phrase"}),
    ("a dog barks loudly and then a man talks as a dog barks loudly", {"repeated phrase"}),
    ("birds sing and birds chirp and birds", {"repeated word"}),
    ("a car passes by, followed by", {"dangling end"}),
    ("someone is using", {"cut off"}),
    ("and a bell rings", {"starts amid a sentence"}),
    ("a the dog barks", {"missing word"}),
    ("a man is and a woman speaks", {"missing word"}),
    ("a young man are talking", {"disagreement"}),
    ("people is talking", {"disagreement"}),
    ("a dog barks a man speaks", {"two events run together"}),
    ("birds are chirping in a park a man is talking", {"two events run together"}),
    ("a dog and a man speaks", {"no verb"}),
    ("two dogs while a man speaks", {"no verb"}),
    ("a dog is loudly and a man speaks", {"no verb"}),
    ("a barks dog and a man speaks", {"wrong word order"}),
    ("dog the barks loudly", {"wrong word order"}),
    ("two bark dogs", {"wrong word order"}),
    ("a dog loudly barks loudly", {"repeated adverb"}),
    ("two dogs barks", {"disagreement"}),
    ("a man speaks while a dog bark", {"disagreement"}),
    ("a dog <unk> barks", {"no text"}),
    ("rain falls,, on a roof", {"no text"}),
    ("a dog (small barks", {"unbalanced"}),
    ("", {"no words"}),
    ("...", {"no words"}),
]
SOUND = [
    "A dog barks.",
    "a man speaks and a woman laughs",
    "The sound of steady rainfall.",
    "a person walks by while birds chirp in the background",
    "Rain, then thunder, and then wind.",
    "a very very loud engine",
    "a clock goes tick tick",
    "A door is opened and is then closed",
    "a flock of birds is chirping",
    "someone turns the radio on",
    "waves crash for a while",
    "A person's dog (a small one) barks",
    "a man and a woman speak",
    "a dog and a cat are playing",
    "the police are coming",
    "as an animal croaks the insects chirp",
    "birds of different species chirp",
    "a dog barks loudly and a man speaks loudly",
    "a man whose dog barks is talking",
    "the sounds of a crowd",
    "a person walks on leaves that rustle",
    "cars drive by one after another",
]


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_a_broken_caption_is_held_back_for_its_fault(text: str, expected: set[str]) -> None:
    assert expected <= set(faults(text))
    gate = rule_gate()
    assert gate.score([text])[0] >= gate.threshold


@pytest.mark.parametrize("text", SOUND)
def test_a_sound_caption_has_no_fault(text: str) -> None:
    assert faults(text) == {}


def test_captions_of_scenes_pass() -> None:
    texts = [
        caption(
            random_scene(seed, num_events=1 + seed % 4, seconds=10.0, kinds=KINDS),
            "eng_Latn",
            variant=variant,
        )
        for seed in range(60)
        for variant in range(NUM_VARIANTS)
    ]
    # A scene may have the same event twice ("a bell rings, then a bell rings").
    singular = [text for text in texts if "repeated phrase" not in faults(text)]
    gate = rule_gate()
    assert len(singular) > 0.9 * len(texts)
    assert (gate.score(singular) < gate.threshold).all()


def test_more_faults_score_higher() -> None:
    scores = rule_scores(["a dog barks", "a dog dog barks", "a dog dog barks and"])
    assert scores[0] == 0
    np.testing.assert_allclose(scores[1:], [0.9, 1 - 0.1 * 0.1])


def test_a_threshold_can_be_given() -> None:
    assert rule_gate().threshold == 0.5
    assert rule_gate(0.95).threshold == 0.95


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=120))
def test_any_text_has_a_score_between_0_and_1(text: str) -> None:
    assert 0 <= rule_scores([text])[0] <= 1


@pytest.mark.parametrize("text", ["a dog barks ", "<", "w{} ", ", "])
def test_a_text_of_any_length_is_scored_in_time_that_grows_with_its_length(text: str) -> None:
    began = time.process_time()
    rule_scores(["".join(text.format(number) for number in range(30_000))])
    assert time.process_time() - began < 10


def test_the_detector_in_the_default_place_is_the_default_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAC_LLM_CACHE", str(tmp_path))
    auto, rules = CorrectionConfig(), CorrectionConfig(gate="rules")
    assert with_default_detector(auto).gate_used == "rules"
    assert threshold_used(with_default_detector(auto)) == 0.5
    folder = tmp_path / "fluency"
    folder.mkdir()
    assert with_default_detector(auto).gate_used == "rules"  # not whole
    (folder / "fluency.json").write_text('{"kinds": ["wrong_order"], "threshold": 0.25}')
    for gate, used, threshold in (("auto", "both", 0.5), ("both", "both", 0.5), ("fluency", "fluency", 0.25)):
        found = with_default_detector(CorrectionConfig(gate=gate))
        assert (found.gate_used, found.fluency_model) == (used, str(folder))
        assert threshold_used(found) == threshold
    with_threshold = with_default_detector(CorrectionConfig(threshold=0.7))
    assert (with_threshold.gate_used, threshold_used(with_threshold)) == ("fluency", 0.7)
    named = CorrectionConfig(gate="fluency", fluency_model="echecker_clotho_audiocaps_base")
    assert with_default_detector(named) is named
    assert threshold_used(named) == 0.9
    assert with_default_detector(rules) is rules


def test_gate_fluency_without_a_detector_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAC_LLM_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"there is none in .*fluency, where `aac-llm fluency --out"):
        with_default_detector(CorrectionConfig(gate="fluency"))


def test_either_the_rules_or_the_detector_hold_a_caption_back() -> None:
    texts = ["a dog barks", "a dog dog barks", "a fine caption", "what only the detector sees"]
    scores = {"a fine caption": 0.89, "what only the detector sees": 0.95}
    gate = both_gate(lambda captions: np.array([scores.get(text, 0.1) for text in captions]), 0.9)
    assert (gate.score(texts) >= gate.threshold).tolist() == [False, True, False, True]
    assert gate.score(["a dog dog barks"]) == rule_scores(["a dog dog barks"])
    assert gate.score(["a fine caption"])[0] == pytest.approx(0.5 * 0.89 / 0.9)
