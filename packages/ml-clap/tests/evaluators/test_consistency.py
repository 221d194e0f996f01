"""Consistency across languages: ranks, shared hits and translations, by hand."""

import numpy as np
import pytest
import torch
from ml_clap.evaluators.consistency import LanguageHits, first_hits, measure_consistency


def hits(ranks: list[int], first: list[list[int]], captions: torch.Tensor) -> LanguageHits:
    return LanguageHits(np.array(ranks), np.array(first), captions)


def test_first_hits_are_the_clips_of_highest_cosine() -> None:
    audio = torch.tensor([[1.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    assert first_hits(audio, torch.tensor([[2.0, 0.1], [0.0, 1.0]]), most=2).tolist() == [[0, 2], [1, 2]]
    assert first_hits(audio, torch.ones(1, 2)).shape == (1, 3)


def test_ranks_hits_and_translations_are_compared_query_by_query() -> None:
    english = hits([0, 4], [[3, 1, 2, 0, 7], [5, 6, 7, 8, 9]], torch.eye(3)[:2])
    # The second caption's French translation is nearer to the first English one.
    french = hits(
        [2, 4], [[3, 1, 2, 0, 4], [6, 5, 0, 1, 2]], torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0]])
    )
    found = measure_consistency([english, french], np.arange(2))
    assert (found.rank_std.value, found.rank_variance.value) == (0.5, 0.5)
    assert found.same_top1.value == 50.0
    assert found.overlap[1].value == 50.0
    assert found.overlap[5].value == pytest.approx(100 * (4 / 5 + 2 / 5) / 2)
    assert 10 not in found.overlap  # there are five hits
    assert found.overlap_by_pair == [[100.0, pytest.approx(60.0)], [pytest.approx(60.0), 100.0]]
    # From English both find theirs; of the French, the second finds the first English one before its own.
    assert found.translation_r1.value == 75.0
    assert found.translation_rank.value == pytest.approx((1 + 1 + 1 + 2) / 4)
    assert (found.num_queries, found.num_languages) == (2, 2)


def test_equal_languages_agree_in_all() -> None:
    one = hits([3, 0, 1], [[0, 1], [1, 2], [2, 0]], torch.eye(3))
    found = measure_consistency([one] * 3, np.arange(3), num_samples=20)
    assert (found.rank_std.value, found.rank_variance.value, found.translation_rank.value) == (0.0, 0.0, 1.0)
    assert found.same_top1.value == found.overlap[1].value == found.translation_r1.value == 100.0
    assert found.rank_std.interval == (0.0, 0.0)
    assert found.same_top1.interval is not None
    assert found.same_top1.interval[0] < 100.0  # three clips are not all clips


def test_other_counts_of_captions_cannot_be_compared() -> None:
    one = hits([0], [[0]], torch.eye(2)[:1])
    with pytest.raises(ValueError, match="at least two languages"):
        measure_consistency([one], np.arange(1))
    with pytest.raises(ValueError, match=r"\[1, 2\] captions"):
        measure_consistency([one, hits([0, 1], [[0], [1]], torch.eye(2))], np.arange(1))
