import numpy as np
import pytest
from aac_llm.captioning.rerank import cider_similarity, consensus, mean_similarity, sentence_similarity
from aac_llm.data.predictions import Candidate
from hypothesis import given, settings
from hypothesis import strategies as st

captions = st.lists(st.sampled_from(["a", "dog", "barks", "rain", "falls", "and"]), min_size=1, max_size=6)
candidates = st.lists(
    st.builds(Candidate, captions.map(" ".join), st.sampled_from([-0.1, -0.5, -2.0])), min_size=1, max_size=6
)


def scored(*texts):
    return [Candidate(text, -0.1 * number) for number, text in enumerate(texts)]


def test_the_medoid_is_chosen():
    points = {"a": 0.0, "b": 1.0, "c": 1.2, "d": 1.5, "e": 9.0}

    def similarity(sentences):
        values = np.array([points[sentence] for sentence in sentences])
        return -np.abs(values[:, None] - values[None])

    # Sums of distances: a 12.7, b 9.7, c 9.5, d 9.8, e 31.3.
    assert consensus(scored(*points), similarity).text == "c"


def test_the_caption_that_says_what_no_other_says_loses_although_it_is_more_probable():
    alike = ["a dog barks while birds sing", "a dog barks and birds sing", "birds sing while a dog barks"]
    assert consensus(scored("a siren wails while a man speaks", *alike), cider_similarity()).text in alike


def test_common_words_of_a_training_set_count_for_less():
    few = ["the sound of rain", "the sound of wind", "loud thunder in rain", "rain"]
    references = [
        ["the sound of rain"],
        ["the sound of wind"],
        ["the sound of a dog"],
        ["the sound of a fan"],
    ]
    assert consensus(scored(*few), cider_similarity()).text == "the sound of rain"
    plain, weighted = cider_similarity()(few), cider_similarity(references)(few)
    assert weighted[0, 1] < 0.1 * plain[0, 1]  # they share but common words
    assert weighted[2, 3] > weighted[0, 1]  # they share a rare one


def test_without_any_agreement_the_most_probable_one_is_chosen():
    assert consensus(scored("rain", "wind", "dogs"), cider_similarity()).text == "rain"


@settings(max_examples=50, deadline=None)
@given(items=candidates, random=st.randoms())
def test_the_choice_does_not_depend_on_the_order(items, random):
    shuffled = random.sample(items, len(items))
    assert consensus(items, cider_similarity()) == consensus(shuffled, cider_similarity())


@settings(max_examples=30, deadline=None)
@given(items=candidates)
def test_the_choice_is_one_of_the_candidates_and_a_majority_wins(items):
    similarity = cider_similarity()
    assert consensus(items, similarity) in items
    word = Candidate("one two three four", -5.0)
    assert consensus([*items, *[word] * (len(items) + 1)], similarity) == word


def test_sentence_embeddings_decide_by_their_cosine():
    class Encoder:
        def encode(self, texts):
            angles = {"north": 0.0, "north east": 0.6, "east": 1.5}
            return np.array([[np.cos(angles[text]), np.sin(angles[text])] for text in texts])

    assert (
        consensus(scored("north", "east", "north east"), sentence_similarity(Encoder())).text == "north east"
    )


def test_mean_similarity_leaves_out_the_diagonal():
    values = np.array([[99.0, 1.0, 3.0], [1.0, 99.0, 5.0], [3.0, 5.0, 99.0]])
    np.testing.assert_allclose(mean_similarity(values), [2.0, 3.0, 4.0])


@pytest.mark.parametrize("values", [np.ones((2, 3)), np.ones((1, 1)), np.full((2, 2), np.nan)])
def test_impossible_similarities_are_an_error(values):
    with pytest.raises(ValueError, match="expected finite similarities"):
        mean_similarity(values)


def test_captions_that_differ_by_punctuation_or_case_vote_as_one():
    spellings = [
        Candidate("A dog barks!", -0.5),
        Candidate("a dog, barks", -0.4),
        Candidate("a Dog barks", -0.6),
    ]
    others = [Candidate("rain falls on a roof", -0.1), Candidate("rain falls on leaves", -0.2)]
    seen = []

    def similarity(sentences):
        seen.append(list(sentences))
        return np.array([[float(one == other) for other in sentences] for one in sentences])

    # Three spellings of one caption agree, and the most probable of them is taken.
    assert consensus([*others, *spellings], similarity) == spellings[1]
    assert seen[0][2:] == ["a dog, barks"] * 3


def test_of_events_with_times_the_words_decide():
    timed = [Candidate(f"[0.{n}-1.{n}] a dog barks", -0.1 * n) for n in range(3)]
    assert consensus([Candidate("[0.0-1.0] rain falls", -0.01), *timed], cider_similarity()) == timed[0]


def test_no_candidate_is_an_error():
    with pytest.raises(ValueError, match="at least one candidate"):
        consensus([], cider_similarity())
