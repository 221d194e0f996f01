"""Confidences: the fit finds the sigmoid that made the answers, and few clips give no certainty."""

import math

import numpy as np
import pytest
from aac_llm.metrics.calibration import calibration_error, fit_sigmoid, ranking


def drawn(slope, intercept, size=4000):
    random = np.random.default_rng(0)
    scores = random.normal(-0.7, 0.3, size)
    return scores, random.random(size) < 1 / (1 + np.exp(-slope * scores - intercept))


def test_the_sigmoid_that_made_the_answers_is_found():
    slope, intercept = fit_sigmoid(*drawn(6.0, 4.0))
    assert slope == pytest.approx(6.0, rel=0.1)
    assert intercept == pytest.approx(4.0, rel=0.1)


def test_the_fit_is_a_minimum():
    scores, right = drawn(3.0, 1.0, 200)
    slope, intercept = fit_sigmoid(scores, right)
    count = right.sum()
    targets = np.where(right, (count + 1) / (count + 2), 1 / (len(right) - count + 2))

    def loss(a, b):
        logits = a * scores + b
        return (np.logaddexp(0, logits) - targets * logits).sum()

    around = [(slope + x, intercept + y) for x in (-0.01, 0, 0.01) for y in (-0.01, 0, 0.01)]
    assert min(around, key=lambda pair: loss(*pair)) == (slope, intercept)


@pytest.mark.parametrize("right", [True, False])
def test_clips_that_are_all_right_or_all_wrong_give_no_certainty(right):
    slope, intercept = fit_sigmoid([-0.1 * n for n in range(30)], [right] * 30)
    assert slope == 0.0
    assert 1 / (1 + math.exp(-intercept)) == pytest.approx(31 / 32 if right else 1 / 32)


def test_few_clips_or_a_slope_the_wrong_way_give_the_share_that_is_right():
    few = fit_sigmoid([-1.0, -0.1], [False, True])
    assert few == (0.0, pytest.approx(0.0))
    scores, right = drawn(6.0, 4.0, 300)
    slope, intercept = fit_sigmoid(-scores, right)
    assert slope == 0.0
    assert 1 / (1 + math.exp(-intercept)) == pytest.approx(right.mean(), abs=0.02)


def test_scores_that_part_right_from_wrong_perfectly_stay_finite():
    slope, intercept = fit_sigmoid([-1.0] * 50 + [-0.1] * 50, [False] * 50 + [True] * 50)
    assert 0 < slope < 1000
    assert math.isfinite(intercept)


def test_the_calibration_error_is_zero_where_confidences_keep_their_word():
    assert calibration_error([0.25] * 4, [True, False, False, False]) == 0.0
    assert calibration_error([0.9] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.4)


def test_the_ranking_counts_pairs():
    assert ranking([0.9, 0.5, 0.5, 0.1], [True, True, False, False]) == pytest.approx(3.5 / 4)
    assert math.isnan(ranking([0.5], [True]))


@pytest.mark.parametrize(("scores", "right"), [([], []), ([math.nan], [True]), ([0.0], [True, False])])
def test_scores_that_make_no_sense_are_an_error(scores, right):
    with pytest.raises(ValueError, match="as many finite scores"):
        fit_sigmoid(scores, right)
