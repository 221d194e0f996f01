"""Audio dependence: what counts as answered without sound, by luck, and which questions then depend on it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from r1_aqa.data.dependence import (
    dependence_of,
    is_answered,
    is_dependent,
    is_marked_dependent,
    luck,
    option_probabilities,
    options_of,
    rotations,
    share_above_chance,
    why_not_probed,
    with_dependence,
)
from r1_aqa.data.questions import Question


def ask(**changes: Any) -> Question:
    known = {"choices": ("rain", "wind", "fire"), "answer": "wind"} | changes
    return Question(id="q", audio=Path("a.wav"), question="What is heard?", **known)


def test_every_option_stands_once_in_every_place() -> None:
    orders = rotations(["a", "b", "c", "d"])
    assert all(sorted(place) == ["a", "b", "c", "d"] for place in zip(*orders, strict=True))


def test_a_liking_for_a_place_is_no_knowledge() -> None:
    options, places = ["a", "b", "c"], np.array([2.0, -1.0, 0.3])
    scores = [[places[order.index(option)] for option in options] for order in rotations(options)]
    found = option_probabilities(scores)
    np.testing.assert_allclose(found, 1 / 3)
    assert not any(is_answered(found, right) for right in range(3))
    # What is known beside the liking remains: the second option is twice as likely.
    known = option_probabilities(np.array(scores) + np.log([1, 2, 1]))
    np.testing.assert_allclose(known, [0.25, 0.5, 0.25])
    assert [is_answered(known, right) for right in range(3)] == [False, True, False]


@pytest.mark.parametrize(("probes", "options", "share"), [(1, 4, 0.5), (2, 4, 0.5), (3, 4, 0.5), (3, 2, 1.0)])
def test_luck_is_what_guessing_probes_reach(probes: int, options: int, share: float) -> None:
    rng = np.random.default_rng(0)
    right = (rng.integers(options, size=(20_000, probes)) == 0).mean(1)
    measured = np.mean([not is_dependent(value, share) for value in right])
    assert luck(probes, options, share) == pytest.approx(measured, abs=0.01)


def test_fewer_than_the_share_of_the_probes_must_answer() -> None:
    knows, not_ = [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]
    both = with_dependence(ask(), {"a": knows, "b": not_}, 0.5)
    assert not is_marked_dependent(both)
    assert dependence_of(both) == {
        "is_dependent": False,
        "answered": 0.5,
        "probability": 0.45,
        "probes": {"a": 0.8, "b": 0.1},
    }
    assert is_marked_dependent(with_dependence(ask(), {"a": knows, "b": not_}, 1.0))
    assert is_marked_dependent(with_dependence(ask(), {"a": knows, "b": not_, "c": not_}, 0.5))
    assert not is_marked_dependent(with_dependence(ask(), {"a": knows, "b": knows, "c": not_}, 2 / 3))
    assert not is_marked_dependent(ask())


def test_letters_and_doubled_options_are_taken_off() -> None:
    assert options_of(ask(choices=("(A) Man", "(B) Woman"), answer="(B) Woman")) == (("Man", "Woman"), 1)
    assert options_of(ask(choices=("a", "b", "a", "c"), answer="c")) == (("a", "b", "c"), 2)


def test_what_cannot_be_probed_says_why() -> None:
    assert why_not_probed(ask()) is None
    assert why_not_probed(ask(answer=None)) == "its answer is not known"
    assert why_not_probed(ask(choices=(), answer="wind")) == "it has no options"
    assert why_not_probed(ask(choices=("wind", "wind"))) == "it has no options"


@pytest.mark.parametrize("column", [True, {"is_dependent": 1}, {"is_dependent": True, "probability": "high"}])
def test_another_column_of_the_name_is_refused(column: Any) -> None:
    with pytest.raises(ValueError, match="question q: audio_dependence: expected what prepare"):
        dependence_of(ask(extra={"audio_dependence": column}))


@pytest.mark.parametrize(("silent", "share"), [(1.0, 0.0), (0.25, 1.0), (0.1, 1.0), (0.625, 0.5)])
def test_what_is_right_by_chance_does_not_count_as_known(silent: float, share: float) -> None:
    found = share_above_chance({"value": silent, "low": silent, "high": 1.0, "count": 8}, 0.25)
    assert found == {"value": pytest.approx(share), "low": 0.0, "high": pytest.approx(share), "count": 8}
