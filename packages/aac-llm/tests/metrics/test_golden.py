"""Scores and tokens equal coco-caption's: own sentences (golden/make_metrics.py), and the shared rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from aac_llm.metrics import score_captions, tokenize
from aac_llm.metrics.cider import CiderD
from aac_llm.metrics.combined import fense, fluency_errors, spider, spider_fl

GOLDEN = json.loads(Path(__file__).parent.parent.joinpath("golden").joinpath("metrics.json").read_text())
NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d")


@pytest.mark.parametrize("case", GOLDEN["tokens"], ids=lambda case: case["text"][:30])
def test_tokens_equal_those_of_coco_captions_tokeniser(case):
    assert tokenize(case["text"]) == case["tokens"]


def test_scores_of_own_sentences_equal_pycocoevalcap():
    candidates = [clip["candidate"] for clip in GOLDEN["clips"]]
    scores = score_captions(candidates, [clip["references"] for clip in GOLDEN["clips"]])
    for name in NAMES:
        np.testing.assert_allclose(scores.clips[name], GOLDEN["scores"][name], atol=1e-9, err_msg=name)
        assert scores.corpus[name] == pytest.approx(GOLDEN["corpus"][name], abs=1e-9), name


def test_shared_rows_score_as_published(shared):
    folder = shared / "golden" / "captioning"
    rows = [json.loads(line) for line in (folder / "clotho_eval_0_499.jsonl").read_text().splitlines()]
    corpus = json.loads((folder / "clotho_eval_0_499_corpus.json").read_text())
    references = [row["references"] for row in rows]
    scores = score_captions([row["candidate"] for row in rows], references)
    assert scores.num_clips == corpus["clips"] == 500
    for name in NAMES:
        np.testing.assert_allclose(scores.clips[name], [row[name] for row in rows], atol=1e-6, err_msg=name)
        assert scores.corpus[name] == pytest.approx(corpus[name], abs=1e-6), name
    given = CiderD(references)([row["candidate"] for row in rows])[0]
    assert given == pytest.approx(corpus["cider_d"], abs=1e-6)


def test_shared_rows_are_left_unchanged_by_the_tokeniser(shared):
    path = shared / "golden" / "captioning" / "clotho_eval_0_499.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    texts = [text for row in rows for text in (row["candidate"], *row["references"])]
    assert [" ".join(tokenize(text)) for text in texts] == texts


def test_combined_metrics_of_shared_rows_are_the_published_ones(shared):
    path = shared / "golden" / "captioning" / "clotho_eval_0_499.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    column = {
        name: np.array([row[name] for row in rows])
        for name in rows[0]
        if name not in ("fname", "references", "candidate")
    }
    errors = column["fer_error_prob"]
    np.testing.assert_array_equal(fluency_errors(errors), column["fer"])
    np.testing.assert_allclose(spider(column["cider_d"], column["spice"]), column["spider"], atol=1e-12)
    np.testing.assert_allclose(
        spider_fl(column["cider_d"], column["spice"], errors), column["spider_fl"], atol=1e-12
    )
    np.testing.assert_allclose(fense(column["sbert_sim"], errors), column["fense"], atol=1e-12)
