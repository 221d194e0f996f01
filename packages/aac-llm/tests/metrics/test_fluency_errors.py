"""Errors made by rules: of the kind that was asked for, the same for a seed, and none where none fits."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from aac_llm.metrics.fluency_errors import KINDS, is_adverb, is_finite, make_error, strip_punctuation
from hypothesis import given, settings
from hypothesis import strategies as st

CAPTION = "A dog barks loudly and a man is using a saw in the background."
PLAIN = strip_punctuation(CAPTION)


def every(text: str, kind: str) -> set[str]:
    """All that the rules make of a caption."""
    made = {make_error(text, kind, Random(seed)) for seed in range(60)}
    return {error for error in made if error is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_differs_from_the_caption_and_is_the_same_for_a_seed(kind: str) -> None:
    for seed in range(20):
        error = make_error(CAPTION, kind, Random(seed))
        assert error not in (None, PLAIN)
        assert error == make_error(CAPTION, kind, Random(seed))


def test_a_tail_goes_on_and_never_ends() -> None:
    for error in every(CAPTION, "incomplete_tail"):
        assert error.split()[-1] in {"and", "a", "the", "then", "as", "with", "of", "by", "while"}
        assert error.startswith("a dog barks loudly and")


def test_an_event_is_said_again() -> None:
    for error in every(CAPTION, "repeated_event"):
        added = error.removeprefix(PLAIN).split()
        assert error.startswith(PLAIN)
        assert " ".join(added[-3:]) in PLAIN


def test_an_adverb_stands_twice() -> None:
    for error in every(CAPTION, "repeated_adverb"):
        assert Counter(error.split())["loudly"] == 2
    for error in every("a dog barks", "repeated_adverb"):  # without one, one is added
        (adverb,) = [word for word, count in Counter(error.split()).items() if count == 2]
        assert is_adverb(adverb)


def test_a_conjunction_is_left_out_where_clauses_need_it() -> None:
    assert every(CAPTION, "missing_conjunction") == {PLAIN.replace("loudly and a man", "loudly a man")}
    assert every("a bell rings and then a man talks", "missing_conjunction") == {"a bell rings a man talks"}
    # People write these.
    assert every("a loud and clear tone", "missing_conjunction") == set()
    assert every("a man talks while walking", "missing_conjunction") == set()


def test_a_verb_is_left_out_where_the_rest_is_no_caption() -> None:
    assert every(CAPTION, "missing_verb") == {
        PLAIN.replace("barks ", ""),
        PLAIN.replace("is using ", ""),
    }
    for fine in ("birds are chirping in the background", "a dog barks", "birds sing in a tree"):
        assert every(fine, "missing_verb") == set()


def test_a_wrong_order_has_the_same_words() -> None:
    for error in every(CAPTION, "wrong_order"):
        assert Counter(error.split()) == Counter(PLAIN.split())


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of incomplete_tail.*got 'typo'"):
        make_error(CAPTION, "typo", Random(0))


def test_verbs_and_adverbs_are_told_from_other_words() -> None:
    assert all(map(is_finite, ("barks", "crashes", "cries", "has")))
    assert not any(map(is_finite, ("dogs", "bark", "glass")))
    assert not any(map(is_adverb, ("family", "fly", "early")))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.sampled_from(KINDS), st.integers(0, 9))
def test_any_text_has_an_error_of_a_kind_or_none(text: str, kind: str, seed: int) -> None:
    error = make_error(text, kind, Random(seed))
    assert error is None or error.split() != strip_punctuation(text).split()
