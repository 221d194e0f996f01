"""Intervals and tests of accuracies."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from r1_aqa.evaluators.statistics import interval, mcnemar, wilson_interval

VERDICTS = st.lists(st.booleans(), min_size=1, max_size=60)


@given(VERDICTS)
@settings(max_examples=30, deadline=None)
def test_the_interval_holds_the_accuracy(verdicts: list[bool]) -> None:
    found = interval(verdicts, draws=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx(np.mean(verdicts))


def test_a_thousand_questions_are_three_points_either_way() -> None:
    verdicts = [True] * 645 + [False] * 355
    found = interval(verdicts)
    assert found.low == pytest.approx(0.645 - 0.0297, abs=0.004)
    assert found.high == pytest.approx(0.645 + 0.0297, abs=0.004)


def test_questions_about_one_clip_are_drawn_together() -> None:
    verdicts = [True, True, True, True, False, False, False, False] * 5
    clips = [str(i // 4) for i in range(40)]
    alone, together = interval(verdicts), interval(verdicts, clips)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


@given(st.integers(1, 40))
def test_none_right_is_no_proof_that_none_ever_will_be(count: int) -> None:
    wilson = 1.96**2 / (count + 1.96**2)  # the upper end for 0 of `count`
    none, everything = interval([False] * count), interval([True] * count)
    assert (none.low, none.high) == (0.0, pytest.approx(wilson, rel=1e-3))
    assert (everything.low, everything.high) == (pytest.approx(1 - wilson, rel=1e-3), 1.0)


def test_one_clip_with_many_questions_is_one_draw() -> None:
    found = interval([True] * 10, ["a.wav"] * 10)
    assert found.low == pytest.approx(0.2065, abs=1e-3)  # Wilson's for 1 of 1


def test_mcnemar_is_the_exact_binomial_test() -> None:
    """9 against 1: 2 * (C(10,0) + C(10,1)) / 2^10."""
    first = [True] * 9 + [False] + [True] * 5
    second = [False] * 9 + [True] + [True] * 5
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (9, 1)
    assert found.p_value == pytest.approx(22 / 1024)


@given(VERDICTS)
@settings(max_examples=20, deadline=None)
def test_a_model_does_not_differ_from_itself(verdicts: list[bool]) -> None:
    assert mcnemar(verdicts, verdicts).p_value == 1.0


def test_unlike_question_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 and 2 verdicts"):
        mcnemar([True], [True, False])
    with pytest.raises(ValueError, match="no verdict"):
        interval([])


def test_a_small_group_has_wilsons_interval() -> None:
    found = interval([True] * 7 + [False] * 3)
    known = scipy.stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == (pytest.approx(known.low), pytest.approx(known.high))
    assert wilson_interval([True] * 70 + [False] * 30).low == pytest.approx(
        scipy.stats.binomtest(70, 100).proportion_ci(method="wilson").low
    )


def test_clips_with_many_questions_count_for_less_in_a_small_group() -> None:
    verdicts = [True, True, True, True, False, False, False, False] * 5
    alone = wilson_interval(verdicts)
    together = wilson_interval(verdicts, [str(number // 4) for number in range(40)])
    # Ten clips whose four questions stand or fall together: no more than ten questions.
    ten = wilson_interval([True, False] * 5)
    assert together.high - together.low > ten.high - ten.low > alone.high - alone.low


def test_intervals_of_small_clustered_groups_hold_the_truth() -> None:
    """In 95 % of draws, within what 300 draws can tell: 20 clips of 4 questions, of which 80 % are right."""
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(20), 4).astype(str).tolist()
    held = 0
    for _ in range(300):
        chance = rng.beta(0.8 * 7 / 3, 0.2 * 7 / 3, 20)  # correlation of 0.3 within a clip
        verdicts = (rng.random((20, 4)) < chance[:, None]).ravel().tolist()
        found = wilson_interval(verdicts, clips)
        held += found.low <= 0.8 <= found.high
    assert held / 300 > 0.95 - 2 * (0.95 * 0.05 / 300) ** 0.5
