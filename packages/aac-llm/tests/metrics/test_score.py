import subprocess
import sys

import numpy as np
import pytest
from aac_llm.metrics import DocumentFrequencies, cider_d, pairwise_cider_d, score_captions
from aac_llm.metrics.bleu import bleu
from aac_llm.metrics.diversity import diversity
from aac_llm.metrics.rouge import common_subsequence, rouge_l
from aac_llm.metrics.tokenizer import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = ["a", "dog", "barks", "rain", "falls", "loudly", "the", "and"]
TRICKY = ["dog", "don't", "it's", "well-known", "5:30", "p.m.", "cannot,", "(loud)", "dogs'", "1/2"]
CAPTIONS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
CLIPS = st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=4)), min_size=1, max_size=6)
quick = settings(max_examples=30, deadline=None)


@quick
@given(clips=CLIPS, seed=st.integers(0, 99))
def test_permuting_clips_permutes_their_scores(clips, seed):
    order = np.random.default_rng(seed).permutation(len(clips))
    scores = score_captions([c for c, _ in clips], [r for _, r in clips])
    moved = score_captions([clips[i][0] for i in order], [clips[i][1] for i in order])
    for name, values in scores.clips.items():
        np.testing.assert_allclose(moved.clips[name], values[order], atol=1e-9)


@quick
@given(clips=CLIPS)
def test_scores_are_finite_and_bounded(clips):
    scores = score_captions([c for c, _ in clips], [r for _, r in clips])
    for name, values in scores.clips.items():
        assert ((values >= 0) & (values <= (10 if name == "cider_d" else 1) + 1e-9)).all(), name


@quick
@given(words=st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=9), other=CAPTIONS)
def test_a_candidate_equal_to_one_reference_scores_one(words, other):
    text = " ".join(f"w{word}" for word in words)
    assert bleu([text], [[other, text]])[1] == pytest.approx(1, abs=1e-6)
    assert rouge_l([text], [[other, text]])[0] == pytest.approx(1)


@quick
@given(first=st.text("abc", max_size=9), second=st.text("abc", max_size=9))
def test_common_subsequence_equals_the_table_of_the_textbook(first, second):
    table = np.zeros((len(first) + 1, len(second) + 1), int)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert common_subsequence(list(first), list(second)) == table[-1, -1]


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_can_be_tokenised(text):
    assert all(word and word == "".join(word.split()) for word in tokenize(text))


@quick
@given(words=st.lists(st.sampled_from(TRICKY)))
def test_tokens_of_a_caption_are_their_own_tokens(words):
    tokens = tokenize(" ".join(words))
    assert tokenize(" ".join(tokens)) == tokens


def test_an_empty_candidate_scores_zero():
    scores = score_captions(["", "rain falls"], [["a dog barks"], ["rain falls hard"]])
    assert all(values[0] == 0 for values in scores.clips.values())


def test_an_unknown_metric_and_a_clip_without_references_are_refused():
    with pytest.raises(ValueError, match="bleurt"):
        score_captions(["a"], [["a"]], metrics=["bleurt"])
    with pytest.raises(ValueError, match="clip 1: expected at least one reference"):
        score_captions(["a", "b"], [["a"], []])
    with pytest.raises(TypeError, match="list of references"):
        score_captions(["a"], ["a"])


def test_document_frequencies_of_the_references_change_nothing():
    references = [["rain falls", "it rains hard"], ["a dog barks", "one dog"], ["a bell rings"]]
    candidates = ["it rains", "a dog barks", "the bell"]
    given = DocumentFrequencies.from_references(references)
    np.testing.assert_allclose(cider_d(candidates, references, given)[1], cider_d(candidates, references)[1])


def test_pairwise_similarity_is_symmetric_and_prefers_what_is_shared():
    found = pairwise_cider_d(["a dog barks twice", "a dog barks", "rain falls hard outside"])
    np.testing.assert_allclose(found, found.T)
    assert found[0, 1] > 1 > found[0, 2]
    assert found[0, 0] == pytest.approx(10)


def test_diversity_of_one_caption_repeated_and_of_captions_without_a_common_word():
    same, other = diversity(["a dog barks"] * 4), diversity(["a dog", "rain falls"])
    assert same["self_similarity"] == pytest.approx(1)
    assert other["self_similarity"] == pytest.approx(0, abs=1e-9)
    assert (same["unique_captions"], other["unique_captions"], other["vocabulary"]) == (0.25, 1, 4)


def test_the_metrics_load_neither_torch_nor_transformers():
    code = (
        "import sys, aac_llm.metrics as m; m.score_captions(['a'], [['a']]);"
        "print({'torch', 'transformers'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
