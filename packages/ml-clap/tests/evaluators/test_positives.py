"""Equal captions as right answers: ranks and precisions by hand; plain retrieval where none is equal."""

import numpy as np
import pytest
import torch
from ml_clap.evaluators import retrieval
from ml_clap.evaluators.positives import clips_with, rank_equal_captions
from ml_clap.evaluators.retrieval import Ranking, rank_audio_to_text, rank_text_to_audio


def draw(clips: int, captions: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    generator = torch.Generator().manual_seed(seed)
    owner = [*range(clips), *torch.randint(clips, (captions - clips,), generator=generator).tolist()]
    return torch.randn(clips, 6, generator=generator), torch.randn(captions, 6, generator=generator), owner


def by_hand(scores: np.ndarray, right: np.ndarray) -> tuple[list[int], list[float]]:
    """Go down each query's list, hit by hit."""
    ranks, precisions = [], []
    for row, is_right in zip(scores, right, strict=True):
        order = np.argsort(-row)
        hits = [bool(is_right[place]) for place in order]
        ranks.append(hits.index(True))
        found = [sum(hits[: place + 1]) / (place + 1) for place in range(min(10, len(hits))) if hits[place]]
        precisions.append(sum(found) / min(10, sum(hits)))
    return ranks, precisions


@pytest.mark.parametrize(("clips", "captions", "texts"), [(7, 20, 3), (30, 45, 4), (12, 12, 12)])
@pytest.mark.parametrize("block", [2**24, 40])
def test_ranks_and_precisions_are_those_by_hand(
    clips: int, captions: int, texts: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "BLOCK_SCORES", block)
    audio, embeddings, owner = draw(clips, captions, clips)
    words = [f"text {number % texts}" for number in range(captions)]
    scores = (
        torch.nn.functional.normalize(embeddings, dim=1) @ torch.nn.functional.normalize(audio, dim=1).T
    ).numpy()
    has = {(words[place], clip) for place, clip in enumerate(owner)}
    right = np.array([[(text, clip) in has for clip in range(clips)] for text in words])
    np.testing.assert_array_equal(clips_with(words, owner, clips).numpy(), right)
    for found, (hand_scores, hand_right) in zip(
        rank_equal_captions(audio, embeddings, owner, words),
        ((scores, right), (scores.T, right.T)),
        strict=True,
    ):
        ranks, precisions = by_hand(hand_scores, hand_right)
        assert found.ranks.tolist() == ranks
        assert found.precision == pytest.approx(precisions)


def test_without_equal_captions_it_is_plain_retrieval() -> None:
    audio, embeddings, owner = draw(9, 21, 0)
    words = [str(number) for number in range(21)]
    plain = rank_text_to_audio(audio, embeddings, owner), rank_audio_to_text(audio, embeddings, owner)
    for found, expected in zip(rank_equal_captions(audio, embeddings, owner, words), plain, strict=True):
        for name in Ranking.__dataclass_fields__:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)


def test_a_labelled_set_is_no_longer_all_wrong() -> None:
    """Two classes of three equal clips: plain retrieval ties everywhere, and a tie is no hit."""
    audio = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
    words = ["dog"] * 3 + ["rain"] * 3
    assert (rank_text_to_audio(audio, audio, range(6)).ranks > 0).all()
    to_audio, to_text = rank_equal_captions(audio, audio, list(range(6)), words)
    assert to_audio.ranks.tolist() == to_text.ranks.tolist() == [0] * 6
    assert to_audio.precision.tolist() == [1.0] * 6


def test_a_text_for_each_caption_is_needed() -> None:
    with pytest.raises(ValueError, match="the text of each of 2 captions, got 1"):
        rank_equal_captions(torch.eye(2), torch.eye(2), [0, 1], ["one"])
