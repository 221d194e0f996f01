"""Ranks and the metrics of them: the reference's numbers, a naive version, ties, invariances."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.evaluators import retrieval
from ml_clap.evaluators.results import METRICS
from ml_clap.evaluators.retrieval import Ranking, rank_audio_to_text, rank_text_to_audio
from ml_clap.evaluators.statistics import summarize

GOLDEN = Path(__file__).parent.parent / "golden"
CASES = json.loads((GOLDEN / "metrics_cases.json").read_text("utf-8"))
Case = tuple[np.ndarray, np.ndarray, np.ndarray]
RANKERS = {"t2a": rank_text_to_audio, "a2t": rank_audio_to_text}


@pytest.mark.parametrize("direction", RANKERS)
@pytest.mark.parametrize("case", CASES)
def test_ranks_and_metrics_equal_the_reference(case: str, direction: str) -> None:
    arrays = np.load(GOLDEN / "metrics_cases.npz")
    audio, captions = (torch.from_numpy(arrays[f"{case}.{name}"]) for name in ("audio", "captions"))
    owner = np.arange(len(captions)) // CASES[case]["captions_per_clip"]
    ranking = RANKERS[direction](audio, captions, owner)
    np.testing.assert_array_equal(ranking.ranks, arrays[f"{case}.{direction}.ranks"])
    np.testing.assert_array_equal(ranking.top1, arrays[f"{case}.{direction}.top1"])
    metrics = summarize(ranking)
    for name, value in CASES[case][direction].items():
        assert getattr(metrics, name.lower()) == pytest.approx(value, rel=1e-13), name


def naive(audio: np.ndarray, captions: np.ndarray, owner: np.ndarray) -> dict[str, dict[str, float]]:
    """The metrics by sorting each row of the whole score matrix; without ties."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (audio, captions)]
    scores = unit[1].astype(np.float64) @ unit[0].T.astype(np.float64)  # (captions, clips)
    t2a = [sorted(range(len(audio)), key=lambda i: -row[i]).index(owner[j]) for j, row in enumerate(scores)]
    a2t, precision = [], []
    for clip, column in enumerate(scores.T):
        order = sorted(range(len(captions)), key=lambda j: -column[j])
        places = [place for place, caption in enumerate(order) if owner[caption] == clip]
        a2t.append(places[0])
        hits = [(k + 1) / (place + 1) for k, place in enumerate(places) if place < 10]
        precision.append(sum(hits) / len(places))
    text_precision = [1 / (rank + 1) if rank < 10 else 0.0 for rank in t2a]
    return {"t2a": naive_summary(t2a, text_precision), "a2t": naive_summary(a2t, precision)}


def naive_summary(ranks: list[int], precision: list[float]) -> dict[str, float]:
    metrics = {f"r{k}": 100 * sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5, 10, 50)}
    metrics["medr"] = int(np.median(ranks)) + 1
    metrics["meanr"] = sum(ranks) / len(ranks) + 1
    metrics["map10"] = 100 * sum(precision) / len(precision)
    return metrics


def random_case(seed: int, clips: int, most: int, noise: float = 1.0) -> Case:
    """Clips with 1 to `most` captions each, the captions in random order."""
    generator = np.random.default_rng(seed)
    audio = generator.normal(size=(clips, 8)).astype(np.float32)
    owner = np.repeat(np.arange(clips), generator.integers(1, most + 1, size=clips))
    generator.shuffle(owner)
    captions = audio[owner] + noise * generator.normal(size=(len(owner), 8)).astype(np.float32)
    return audio, captions.astype(np.float32), owner


def both_ways(audio: np.ndarray, captions: np.ndarray, owner: np.ndarray) -> dict[str, Ranking]:
    tensors = torch.from_numpy(audio), torch.from_numpy(captions)
    return {name: rank(*tensors, owner) for name, rank in RANKERS.items()}


def smallest_gap(case: Case) -> float:
    """Between a right score and a wrong one of the same query; the metrics count less than 1e-6 as a tie."""
    audio, captions, owner = case
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (audio, captions)]
    scores = unit[1].astype(np.float64) @ unit[0].T.astype(np.float64)
    wrong = np.where(owner[:, None] == np.arange(len(audio)), np.inf, scores)
    right = scores[np.arange(len(owner)), owner]
    gaps = np.concatenate([np.abs(wrong - right[:, None]).ravel(), np.abs(wrong[:, owner] - right).ravel()])
    return float(gaps.min())


cases = st.builds(random_case, st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 13)).filter(
    lambda case: smallest_gap(case) > 5e-6
)


@settings(max_examples=40, deadline=None)
@given(case=cases)
def test_metrics_equal_sorting_every_row(case: Case) -> None:
    expected = naive(*case)
    for direction, ranking in both_ways(*case).items():
        metrics = summarize(ranking)
        for name, value in expected[direction].items():
            assert getattr(metrics, name) == pytest.approx(value), (direction, name)


@settings(max_examples=25, deadline=None)
@given(case=cases, seed=st.integers(0, 1000))
def test_metrics_do_not_depend_on_the_order_of_clips_and_captions(case: Case, seed: int) -> None:
    audio, captions, owner = case
    generator = np.random.default_rng(seed)
    clips, texts = generator.permutation(len(audio)), generator.permutation(len(captions))
    place = np.argsort(clips)
    shuffled = both_ways(audio[clips], captions[texts], place[owner[texts]])
    for direction, ranking in both_ways(*case).items():
        ours, theirs = summarize(ranking), summarize(shuffled[direction])
        for name in METRICS:
            assert getattr(theirs, name) == pytest.approx(getattr(ours, name)), name


@settings(max_examples=25, deadline=None)
@given(case=cases, scale=st.floats(0.01, 100.0))
def test_only_the_direction_of_an_embedding_counts(case: Case, scale: float) -> None:
    audio, captions, owner = case
    scaled = both_ways(audio * np.float32(scale), captions, owner)
    for direction, ranking in both_ways(*case).items():
        np.testing.assert_array_equal(scaled[direction].ranks, ranking.ranks)


@settings(max_examples=25, deadline=None)
@given(case=cases, block=st.integers(1, 300))
def test_blocks_do_not_change_ranks(case: Case, block: int) -> None:
    whole = both_ways(*case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK_SCORES", block)
        for direction, ranking in both_ways(*case).items():
            np.testing.assert_array_equal(ranking.ranks, whole[direction].ranks)
            np.testing.assert_array_equal(ranking.precision, whole[direction].precision)


@settings(max_examples=25, deadline=None)
@given(case=cases)
def test_metrics_keep_their_bounds(case: Case) -> None:
    for ranking in both_ways(*case).values():
        metrics = summarize(ranking)
        assert 0 <= metrics.r1 <= metrics.r5 <= metrics.r10 <= metrics.r50 <= 100
        assert 0 <= metrics.map10 <= 100 + 1e-9
        assert 1 <= metrics.medr <= metrics.num_candidates
        assert 1 <= metrics.meanr <= metrics.num_candidates


@pytest.mark.parametrize("jitter", [0.0, 1e-8])
def test_embeddings_that_tell_nothing_apart_find_nothing(jitter: float) -> None:
    generator = np.random.default_rng(0)
    same = generator.normal(size=32)
    audio = (same + jitter * generator.normal(size=(40, 32))).astype(np.float32)
    captions = (same + jitter * generator.normal(size=(200, 32))).astype(np.float32)
    rankings = both_ways(audio, captions, np.arange(200) // 5)
    np.testing.assert_array_equal(rankings["t2a"].ranks, 39)
    np.testing.assert_array_equal(rankings["a2t"].ranks, 195)
    for ranking in rankings.values():
        assert summarize(ranking).r1 == summarize(ranking).r10 == summarize(ranking).map10 == 0.0


def test_a_tie_counts_against_the_model_wherever_it_stands() -> None:
    audio = torch.eye(3)
    captions = torch.stack([audio[0] + audio[1], audio[1], audio[2]])  # the first fits clips 0 and 1 equally
    for owner in ([0, 1, 2], [1, 0, 2]):
        # With the second owner its own clip stands after the one it ties with.
        assert rank_text_to_audio(audio, captions, owner).ranks[0] == 1


def test_the_same_caption_of_another_clip_is_a_tie() -> None:
    audio = torch.eye(4)
    captions = torch.stack([audio[0], audio[0], audio[1], audio[2], audio[3]])
    ranking = rank_audio_to_text(audio, captions, [0, 1, 1, 2, 3])
    assert ranking.ranks.tolist() == [1, 0, 0, 0]
    # The second of clip 1's captions (cosine 0) ties with those of clips 0, 2 and 3, and comes after them.
    assert ranking.precision.tolist() == pytest.approx([1 / 2, (1 / 1 + 2 / 5) / 2, 1.0, 1.0])


def test_equal_captions_of_one_clip_are_no_tie() -> None:
    audio = torch.eye(3)
    ranking = rank_audio_to_text(audio, audio.repeat_interleave(4, dim=0), np.arange(12) // 4)
    assert ranking.ranks.tolist() == [0, 0, 0]
    np.testing.assert_allclose(ranking.precision, 1.0)


def test_average_precision_reads_ten_hits_of_all_captions() -> None:
    audio = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    captions = torch.cat([audio[:1].repeat(12, 1), audio[1:]])
    ranking = rank_audio_to_text(audio, captions, [0] * 12 + [1])
    np.testing.assert_allclose(ranking.precision, [10 / 12, 1.0])


def test_the_median_rank_is_the_lower_whole_one() -> None:
    ranking = Ranking(np.array([0, 3]), np.zeros(2), np.zeros(2), np.arange(2), 10)
    assert summarize(ranking).medr == 2  # 0-based ranks 0 and 3, median 1.5


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ([0, 1, 1], "2 clips have no caption, the first is row 2"),
        ([0, 1, 4], "from 0 to 3"),
        ([0, 1], "of 3"),
    ],
)
def test_captions_must_fit_the_clips(owner: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_audio_to_text(torch.eye(4), torch.eye(3, 4), owner)


def test_embeddings_that_are_not_finite_are_refused() -> None:
    audio = torch.eye(2)
    audio[1, 1] = torch.nan
    with pytest.raises(ValueError, match="audio embeddings are not all finite"):
        rank_text_to_audio(audio, torch.eye(2), [0, 1])
    with pytest.raises(ValueError, match=r"got \(2, 2\) and \(2, 3\)"):
        rank_text_to_audio(torch.eye(2), torch.eye(2, 3), [0, 1])
