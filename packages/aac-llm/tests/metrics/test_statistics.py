import numpy as np
import pytest
from aac_llm.metrics.bleu import bleu_counts, bleu_from_sums
from aac_llm.metrics.ngrams import CaptionSet
from aac_llm.metrics.statistics import bootstrap_interval, compare_systems, wilson_interval


def test_interval_of_equal_scores_is_that_score():
    found = bootstrap_interval([0.5] * 20, draws=50)
    assert (found.value, found.low, found.high, found.num_clips) == (0.5, 0.5, 0.5, 20)


def test_none_of_six_is_not_surely_none():
    found = bootstrap_interval([0.0] * 6)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(0.3903, abs=1e-4)  # Wilson's: z^2 / (n + z^2)
    assert bootstrap_interval([1.0] * 6).low == pytest.approx(1 - found.high)


def test_a_proportion_has_the_interval_of_wilson():
    found = bootstrap_interval([1.0, 0.0, 0.0, 1.0, 0.0])
    assert (found.low, found.high) == wilson_interval(2, 5)


def test_two_systems_that_agree_on_six_clips_may_differ_on_others():
    found = compare_systems([0.0] * 6, [0.0] * 6, draws=50)
    assert (found.difference, found.p_value) == (0, 1)
    assert found.low == -found.high < -0.3


def test_one_clip_has_no_spread_and_no_significance():
    found = compare_systems([0.5], [0.2], draws=50)
    assert (found.low, found.high, found.p_value) == (pytest.approx(0.3), pytest.approx(0.3), 1.0)


def test_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap_interval(values, draws=4000)
    half = 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(2)
    intervals = [bootstrap_interval(generator.normal(size=60), draws=300, seed=i) for i in range(200)]
    assert 0.88 <= np.mean([interval.low <= 0 <= interval.high for interval in intervals]) <= 0.99


def test_same_seed_gives_the_same_interval():
    values = np.arange(30.0)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_swapping_systems_flips_the_sign_and_keeps_the_p_value():
    generator = np.random.default_rng(0)
    first, second = generator.random(50), generator.random(50)
    one, other = compare_systems(first, second), compare_systems(second, first)
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == other.p_value


def test_p_value_of_a_system_and_itself_is_one():
    assert compare_systems(np.arange(9.0), np.arange(9.0), draws=99).p_value == 1


def test_p_value_of_six_wins_of_six_is_that_of_the_sign_test():
    found = compare_systems(np.ones(6), np.zeros(6), draws=20000)
    assert found.p_value == pytest.approx(2 / 64, abs=0.005)


def test_p_value_never_is_zero():
    assert compare_systems(np.ones(100), np.zeros(100), draws=99).p_value == 0.01


def test_corpus_bleu_is_drawn_from_counts():
    texts = ["a dog barks at a cat", "rain falls on the roof now", "a man speaks to a crowd"] * 5
    references = [["a dog barks at the cat"], ["the rain falls on the roof"], ["a man speaks to people"]] * 5
    table = bleu_counts(CaptionSet.from_captions(texts, references)).table()

    def bleu_2(sums):
        return bleu_from_sums(sums[..., :-1])[..., 1]

    found = bootstrap_interval(table, statistic=bleu_2, draws=200)
    assert found.value == pytest.approx(float(bleu_from_sums(table.sum(axis=0))[1]))
    assert found.low < found.value < found.high
    assert compare_systems(table, table, statistic=bleu_2, draws=20).difference == 0


@pytest.mark.parametrize("values", [[], [np.nan], [[[1.0]]]])
def test_values_that_cannot_be_drawn_are_refused(values):
    with pytest.raises(ValueError, match="expected finite values"):
        bootstrap_interval(values)


def test_scores_of_different_clips_are_refused():
    with pytest.raises(ValueError, match="same clips"):
        compare_systems([1.0, 2.0], [1.0])
