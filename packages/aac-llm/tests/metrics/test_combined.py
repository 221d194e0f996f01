"""SPIDEr, FER, SPIDEr-FL and FENSE from their parts."""

import json

import numpy as np
import pytest
from aac_llm.metrics.combined import fense, fluency_errors, spider, spider_fl
from hypothesis import given, settings
from hypothesis import strategies as st

numbers = st.lists(st.floats(0, 10), min_size=1, max_size=8)


def test_formulas_by_hand():
    cider, spice, similarity, error = [1.0, 0.4], [0.2, 0.2], [0.5, 0.8], [0.95, 0.9]
    np.testing.assert_allclose(spider(cider, spice), [0.6, 0.3])
    np.testing.assert_array_equal(fluency_errors(error), [1, 0])  # 0.9 itself is fluent
    np.testing.assert_allclose(spider_fl(cider, spice, error), [0.06, 0.3])
    np.testing.assert_allclose(fense(similarity, error), [0.05, 0.8])


def test_published_clips_and_their_means(shared):
    folder = shared / "golden" / "captioning"
    rows = [json.loads(line) for line in (folder / "clotho_eval_0_499.jsonl").read_text().splitlines()]
    corpus = json.loads((folder / "clotho_eval_0_499_corpus.json").read_text())
    column = {
        name: np.array([row[name] for row in rows]) for name in rows[0] if name not in ("fname", "references")
    }
    error = column["fer_error_prob"]
    found = {
        "spider": spider(column["cider_d"], column["spice"]),
        "fer": fluency_errors(error),
        "spider_fl": spider_fl(column["cider_d"], column["spice"], error),
        "fense": fense(column["sbert_sim"], error),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, column[name], rtol=0, atol=1e-12, err_msg=name)
        assert values.mean() == pytest.approx(corpus[name], abs=1e-9)


@given(numbers, st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_an_error_never_adds_to_a_score(values, error):
    errors = [error] * len(values)
    assert (fense(values, errors) <= np.array(values)).all()
    assert (spider_fl(values, values, errors) <= spider(values, values)).all()
