"""The approximation of SPICE: close to the published SPICE, a number for any text, and never called SPICE."""

import json

import numpy as np
import pytest
from aac_llm.config.evaluate import MetricsConfig
from aac_llm.evaluators.score_table import notes_on_scores, score_texts
from aac_llm.metrics.spice_like import SceneGraph, spice_like
from hypothesis import given, settings
from hypothesis import strategies as st


def test_kept_rows_of_the_golden_set_score_close_to_published_spice(shared):
    """Rules and costs were chosen on the rows of even numbers; these are the others."""
    path = shared / "golden" / "captioning" / "clotho_eval_0_499.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()][1::2]
    published = np.array([row["spice"] for row in rows])
    found = spice_like([row["candidate"] for row in rows], [row["references"] for row in rows])
    assert np.corrcoef(found, published)[0, 1] > 0.92
    assert abs(found.mean() - published.mean()) < 0.005
    # F1 is a fraction of counts, so that the same value means the same counts.
    assert np.mean(np.isclose(found, published, rtol=0, atol=1e-6)) > 0.25


def test_a_score_is_the_f1_of_tuples():
    # Ours: dog, (dog, bark). Theirs: dog, (dog, loud), (dog, bark), garden, (dog, bark in, garden).
    references = [["a loud dog is barking", "the dog is barking in a garden"]]
    np.testing.assert_allclose(spice_like(["a dog is barking"], references), [2 * 2 / (2 + 5)])


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        ("a car is honking", "an automobile is honking"),
        ("people are talking", "people are speaking"),
        ("children play", "a child is playing"),
        ("someone is walking", "a person is walking"),
        ("a noise is heard", "the noises are heard"),
    ],
)
def test_synonyms_and_other_forms_of_a_word_are_the_same(candidate, reference):
    assert spice_like([candidate], [[reference]]) == [1.0]


@pytest.mark.parametrize("reference", ["a cat is meowing", "", "in the", "1 2 3"])
def test_captions_that_share_nothing_score_nothing(reference):
    assert spice_like(["a dog is barking"], [[reference]]) == [0.0]


def test_what_several_references_say_alike_counts_once():
    once = spice_like(["a dog is barking"], [["a dog is barking in a garden"]])
    often = spice_like(["a dog is barking"], [["a dog is barking in a garden"] * 5])
    np.testing.assert_array_equal(once, often)
    graph = SceneGraph([("noise",), ("sound",), ("dissonance",), ("noise", "loud"), ("dissonance", "loud")])
    assert len(graph.nodes) < 3, "noise and dissonance share a synset"
    assert sum(len(one) == 2 for one in graph.tuples()) == 1


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_any_text_has_a_score(candidate, references):
    (score,) = spice_like([candidate], [references])
    assert 0 <= score <= 1


WORDS = "a the dog birds barks chirping is was being and while that which to of in by with loud its 's 2 lot"


@given(st.lists(st.sampled_from(WORDS.split()), max_size=14).map(" ".join))
@settings(max_examples=80, deadline=None)
def test_a_caption_is_as_good_as_itself_where_it_says_anything(text):
    assert spice_like([text], [[text]])[0] in (0.0, 1.0)


def test_a_clip_without_references_is_refused():
    with pytest.raises(ValueError, match="clip 1 has no references"):
        spice_like(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="references for 2 captions, got them for 1"):
        spice_like(["a", "b"], [["a"]])


def test_its_column_is_named_and_spider_like_is_the_mean_with_cider_d():
    candidates = ["A dog barks.", "Rain falls on a roof."]
    references = [["A dog is barking in a garden."], ["Heavy rain falls on the roof of a house."]]
    table = score_texts(candidates, references, ("cider", "spice_like", "spider_like"))
    assert list(table.columns) == ["cider_d", "spice_like", "spider_like"]
    both = (table.columns["cider_d"].clips + table.columns["spice_like"].clips) / 2
    np.testing.assert_allclose(table.columns["spider_like"].clips, both)
    assert table.columns["spice_like"].table is not None, "its interval is drawn"
    assert any(
        "by rules" in line and "spice_like" in line for line in notes_on_scores(table, candidates, references)
    )


def test_captions_in_another_language_have_none():
    settings = MetricsConfig(language="fra_Latn")
    table = score_texts(["un chien aboie"], [["un chien aboie fort"]], ("spice_like", "rouge"), settings)
    assert "spice_like" not in table.columns
    assert "knows English only" in table.unavailable["spice_like"].reason
