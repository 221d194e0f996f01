"""The scale of similarities: unrelated and equal captions are where the published encoder has them."""

import numpy as np
import pytest
from aac_llm.metrics.similarity_scale import UNRELATED, UNRELATED_SIMILARITY, baseline, rescale
from scipy.stats import spearmanr


class Encoder:
    """Random vectors with a common part, as of an encoder that finds all captions alike."""

    def __init__(self, common):
        self.common = common

    def encode(self, texts):
        vectors = np.random.default_rng(0).normal(size=(len(texts), 64))
        vectors[:, 0] += self.common
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("common", [0.0, 8.0, 40.0])
def test_unrelated_captions_and_equal_ones_are_where_they_are_for_every_encoder(common):
    encoder = Encoder(common)
    vectors = encoder.encode(UNRELATED)
    cosines = rescale(vectors @ vectors.T, baseline(encoder))
    assert cosines[np.triu_indices(len(UNRELATED), 1)].mean() == pytest.approx(UNRELATED_SIMILARITY)
    np.testing.assert_allclose(np.diag(cosines), 1)


def test_what_is_better_stays_better():
    cosines = np.random.default_rng(1).uniform(0.7, 1, 50)
    found = rescale(cosines, 0.8)
    assert spearmanr(cosines, found)[0] == pytest.approx(1)
    np.testing.assert_allclose(np.diff(found), np.diff(cosines) * (1 - UNRELATED_SIMILARITY) / 0.2)


def test_an_encoder_that_finds_all_captions_equal_is_refused():
    with pytest.raises(ValueError, match="tells captions apart"):
        rescale([1.0], 1.0)


def test_the_unrelated_captions_differ():
    assert len(set(UNRELATED)) == 40
