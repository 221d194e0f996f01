"""The threshold: false alarms on captions that it was not made of are as rare as was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from aac_llm.metrics.fluency_calibration import THRESHOLD, Standard, calibrate, detect


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_new_captions_are_false_alarms_as_rarely_as_was_asked_for(share: float) -> None:
    generator = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        threshold = calibrate(generator.beta(1, 9, size=150), share)
        rates.append((generator.beta(1, 9, size=500) >= threshold).mean())
    # floor(share * 151) / 151 is what split conformal prediction promises on average.
    expected = int(share * 151) / 151
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / 20)
    assert np.mean(rates) <= share + 4 * np.std(rates) / 20


def test_too_few_captions_put_the_threshold_above_all_of_them() -> None:
    assert calibrate([0.2, 0.1], 0.01) > 0.2
    for scores in ([], [0.1]):
        with pytest.raises(ValueError, match="expected scores and 0 < false_alarms < 1"):
            calibrate(scores, 0.0 if scores else 0.1)


def test_a_caption_at_the_threshold_is_held_to_be_wrong() -> None:
    found = detect([0.1, 0.5], {"wrong_order": [0.5, 0.9, 0.4], "missing_verb": []}, 0.5)
    assert (found.false_alarms, found.num_fluent) == (1, 2)
    assert found.found == {"wrong_order": 2, "missing_verb": 0}
    assert found.made == {"wrong_order": 3, "missing_verb": 0}


def test_counts_add_up_and_a_kind_that_was_not_made_has_no_recall() -> None:
    one = detect([0.1], {"wrong_order": [0.9], "missing_verb": []}, 0.5)
    both = one + one
    assert (both.num_fluent, both.found["wrong_order"]) == (2, 2)
    assert both.recall == {"wrong_order": 1.0}


def test_a_kind_that_people_never_show_is_found_below_where_another_one_is_usual() -> None:
    generator = np.random.default_rng(0)
    # Log-odds of people: never near the first kind of error, often near the second.
    people = generator.normal([-4, 0], [0.5, 2], size=(400, 2))
    standard = Standard.fit(people, 0.01)
    assert (standard.score(people) >= THRESHOLD).mean() <= 0.01
    first, second, usual = standard.score([[1, 0], [-4, 1], [-4, 0]])
    assert first >= THRESHOLD > second > usual
    new = generator.normal([-4, 0], [0.5, 2], size=(20_000, 2))
    assert (standard.score(new) >= THRESHOLD).mean() < 0.02
    assert standard.score([[1e9, -1e9]]).tolist() == [1.0]  # no overflow
