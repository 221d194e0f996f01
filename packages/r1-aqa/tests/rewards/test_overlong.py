"""The soft over-long penalty, by hand from DAPO's equation 13."""

import pytest
from r1_aqa.rewards.overlong import overlong_penalty
from r1_aqa.rewards.rewards import load_rewards


@pytest.mark.parametrize(
    ("length", "penalty"),
    [(0, 0), (16_384, 0), (18_432, -0.5), (20_480, -1), (20_481, -1), (16_385, -1 / 4096)],
)
def test_the_penalty_is_that_of_the_paper(length: int, penalty: float) -> None:
    assert overlong_penalty(length, 20_480, 4096) == pytest.approx(penalty)


def test_the_reward_counts_tokens_up_to_the_settings_limit() -> None:
    (reward,) = load_rewards(["overlong"], max_new_tokens=10, overlong_margin=4)
    assert reward(["x"] * 3, completion_ids=[[1] * 6, [1] * 9, [1] * 10]) == [0, -0.75, -1]
    (reward,) = load_rewards(["overlong"], max_new_tokens=20_480)  # a fifth of it, as in the paper
    assert reward(["x"], completion_ids=[[1] * 18_432]) == [-0.5]
    assert reward.__name__ == "overlong_reward"
