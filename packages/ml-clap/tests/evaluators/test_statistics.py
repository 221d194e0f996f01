"""Intervals of retrieval metrics: seeded, over clips, as wide as theory says, never empty; consistency."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.evaluators.results import METRICS
from ml_clap.evaluators.retrieval import Ranking, rank_text_to_audio
from ml_clap.evaluators.statistics import average_metrics, bootstrap, estimate, summarize, wilson


def ranking_of(seed: int, clips: int, most: int, noise: float = 1.0) -> Ranking:
    """Text to audio among random clips with 1 to `most` captions each."""
    generator = np.random.default_rng(seed)
    audio = generator.normal(size=(clips, 8)).astype(np.float32)
    owner = np.repeat(np.arange(clips), generator.integers(1, most + 1, size=clips))
    captions = audio[owner] + noise * generator.normal(size=(len(owner), 8)).astype(np.float32)
    return rank_text_to_audio(torch.from_numpy(audio), torch.from_numpy(captions.astype(np.float32)), owner)


def test_intervals_are_seeded_and_hold_the_estimate() -> None:
    ranking = ranking_of(1, 60, 5)
    (interval,), average = bootstrap([ranking], num_samples=300, seed=4)
    assert bootstrap([ranking], num_samples=300, seed=4)[0] == [interval]
    assert bootstrap([ranking], num_samples=300, seed=5)[0] != [interval]
    assert average == interval
    metrics = summarize(ranking)
    for name in METRICS:
        low, high = interval[name]
        assert low <= getattr(metrics, name) <= high
    assert interval["r1"][0] < interval["r1"][1]


def test_intervals_resample_clips_and_not_captions() -> None:
    """Captions of a clip that stand or fall together: ten times as many of them tell nothing more."""
    hit = np.arange(50) % 2
    one = Ranking(hit * 60, 1.0 - hit, hit, np.arange(50), 50)
    ranks, precision, top1, clips = (
        np.repeat(each, 10) for each in (hit * 60, 1.0 - hit, hit, np.arange(50))
    )
    ten = Ranking(ranks, precision, top1, clips, 50)
    (of_one,), _ = bootstrap([one], num_samples=400)
    (of_ten,), _ = bootstrap([ten], num_samples=400)
    for name in METRICS:
        assert of_ten[name] == pytest.approx(of_one[name]), name


def test_an_interval_has_the_width_that_theory_gives() -> None:
    generator = np.random.default_rng(0)
    ranks = np.where(generator.random(400) < 0.3, 0, 99)
    ranking = Ranking(ranks, np.zeros(400), np.zeros(400), np.arange(400), 100)
    (interval,), _ = bootstrap([ranking], num_samples=2000)
    share = (ranks == 0).mean()
    assert np.diff(interval["r1"]) == pytest.approx(
        100 * 2 * 1.96 * np.sqrt(share * (1 - share) / 400), rel=0.1
    )
    assert wilson(int((ranks == 0).sum()), 400) == pytest.approx(interval["r1"], abs=1.0)


@pytest.mark.parametrize(
    ("successes", "low", "high"), [(0, 0.0, 39.03), (6, 60.97, 100.0), (3, 18.76, 81.24)]
)
def test_wilsons_interval_is_the_textbooks(successes: int, low: float, high: float) -> None:
    assert wilson(successes, 6) == pytest.approx((low, high), abs=0.01)


def test_an_interval_of_nothing_right_is_not_empty() -> None:
    """Six clips of two captions, all wrong: other queries may well find something."""
    clips = np.repeat(np.arange(6), 2)
    none = Ranking(np.full(12, 70), np.zeros(12), np.zeros(12, int), clips, 100)
    (interval,), average = bootstrap([none], num_samples=100)
    for name in ("r1", "r5", "r10", "r50", "map10"):
        assert interval[name] == average[name] == wilson(0, 6)  # clips count, not captions
    assert interval["medr"] == (71.0, 71.0)
    every = replace(none, ranks=np.zeros(12, int), precision=np.ones(12))
    (interval,), _ = bootstrap([every], num_samples=100)
    assert interval["r1"] == wilson(6, 6)


def test_an_interval_of_clips_that_are_all_half_right_is_not_empty() -> None:
    half = Ranking(
        np.tile([0, 70], 6), np.tile([1.0, 0.0], 6), np.zeros(12, int), np.repeat(np.arange(6), 2), 100
    )
    (interval,), _ = bootstrap([half], num_samples=100)
    assert interval["r1"] == wilson(3, 6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_draw_weighs_as_if_its_clips_were_repeated(seed: int) -> None:
    ranking = ranking_of(seed, 12, 4, noise=3.0)
    picked = np.random.default_rng(seed).integers(12, size=12)
    queries = np.concatenate([np.flatnonzero(ranking.clips == clip) for clip in picked])
    repeated = replace(ranking, ranks=ranking.ranks[queries], precision=ranking.precision[queries])
    (interval,), _ = bootstrap([ranking], num_samples=1, seed=seed)
    for name in METRICS:
        assert interval[name] == pytest.approx((getattr(summarize(repeated), name),) * 2)


def test_the_average_keeps_what_languages_share() -> None:
    """Equal languages: their average varies as each does, not less, as it would with draws of their own."""
    ranking = ranking_of(2, 50, 3, noise=2.0)
    each, average = bootstrap([ranking] * 4, num_samples=200)
    assert average["r1"] == pytest.approx(each[0]["r1"])
    metrics = summarize(ranking)
    assert average_metrics([metrics, replace(metrics, r1=0.0)]).r1 == pytest.approx(metrics.r1 / 2)


def test_languages_without_a_drawn_clip_do_not_spoil_the_interval() -> None:
    everywhere = ranking_of(3, 30, 3)
    once = Ranking(np.array([2]), np.array([1 / 3]), np.array([0]), np.array([7]), 30)
    (_, interval), average = bootstrap([everywhere, once], num_samples=50)
    assert interval["meanr"] == (3.0, 3.0)
    assert np.isfinite(average["r1"]).all()


def test_clips_of_one_recording_are_drawn_together() -> None:
    """Ten clips of each of five recordings, alike: their interval is that of five clips."""
    hit = np.repeat(np.array([0, 1, 0, 1, 1]), 10)
    fifty = Ranking((1 - hit) * 60, hit.astype(float), hit, np.arange(50), 50)
    five = Ranking(fifty.ranks[::10], fifty.precision[::10], fifty.top1[::10], np.arange(5), 50)
    (clustered,), average = bootstrap([fifty], recordings=np.repeat(np.arange(5), 10))
    (plain,), _ = bootstrap([fifty])
    (of_five,), _ = bootstrap([five])
    assert clustered["r1"] == average["r1"] == pytest.approx(of_five["r1"])
    assert np.diff(clustered["r1"]) > 2 * np.diff(plain["r1"])


def test_an_estimate_is_a_mean_with_the_interval_of_its_clusters() -> None:
    values, clusters = np.repeat([0.0, 100.0, 0.0, 100.0, 100.0], 10), np.repeat(np.arange(5), 10)
    found = estimate(values, clusters, num_samples=500, seed=3)
    assert found == estimate(values, clusters, num_samples=500, seed=3)
    assert found.value == 60.0
    assert found.interval is not None
    assert np.diff(found.interval) > 2 * np.diff(estimate(values, np.arange(50)).interval)
    assert estimate(values, clusters, num_samples=0).interval is None
    assert estimate(np.array([np.nan, 1.0, 3.0]), np.arange(3), num_samples=0).value == 2.0
    assert estimate(np.zeros(6), np.arange(6), is_percentage=True).interval == wilson(0, 6)
    assert str(estimate(np.ones(3), np.arange(3), num_samples=10)) == "1.0 (1.0-1.0)"
