"""Charts: of the kind that their name says, with numbers, intervals and chance."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ml_clap.evaluators.chance import chance_of_precision, chance_of_recall
from ml_clap.evaluators.charts import Series, check_figure_path, plot_estimates, plot_heat_map
from ml_clap.evaluators.result_charts import plot_confusion, plot_languages, plot_retrieval, plot_zero_shot
from ml_clap.evaluators.results import Consistency, Estimate, RetrievalReport, RetrievalResult, ZeroShotReport
from ml_clap.evaluators.retrieval import rank_audio_to_text, rank_text_to_audio
from ml_clap.evaluators.statistics import average_metrics, bootstrap, summarize
from ml_clap.evaluators.zero_shot import measure_accuracy
from ml_clap.figures import save_figure


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_a_figure_is_what_its_name_says(tmp_path: Path, name: str, start: bytes) -> None:
    figure = plot_heat_map([[1.0]], ["a"], ["b"], "title", "%")
    check_figure_path(tmp_path / name)
    save_figure(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes().startswith(start)


def test_a_kind_of_figure_that_is_not_there_is_refused() -> None:
    check_figure_path(None)
    for name in ("a.doc", "a"):
        with pytest.raises(ValueError, match=r"heat_map: a.* should end in one of .*\.png"):
            check_figure_path(Path(name), "heat_map")


def test_a_heat_map_shows_every_number_while_there_are_few() -> None:
    values = np.arange(12).reshape(3, 4) * 8.0
    axes = plot_heat_map(values.tolist(), list("abc"), list("defg"), "title", "%").axes[0]
    assert [each.get_text() for each in axes.texts] == [f"{value:.0f}" for value in values.ravel()]
    assert [each.get_text() for each in axes.get_xticklabels()] == list("defg")
    assert [each.get_text() for each in axes.get_yticklabels()] == list("abc")
    many = plot_heat_map(np.zeros((2, 60)).tolist(), list("ab"), [str(n) for n in range(60)], "title", "%")
    assert not many.axes[0].texts


def test_estimates_stand_with_interval_and_chance_in_the_row_of_their_name() -> None:
    # The second interval lies beside its value, as that of very few clips may.
    one = Series(values=[10.0, 20.0], intervals=[(5.0, 15.0), (21.0, 25.0)], chances=[1.0, 2.0])
    figure = plot_estimates({"first": {"x": one, "y": Series(values=[30.0, 40.0])}}, ["eng", "fra"], "%")
    (axes,) = figure.axes
    x, y = (line.get_xydata() for line in axes.lines if line.get_marker() in "os")
    assert (x[:, 0].tolist(), y[:, 0].tolist()) == ([10.0, 20.0], [30.0, 40.0])
    assert np.round([x[:, 1], y[:, 1]]).tolist() == [[0, 1], [0, 1]]
    assert (x[:, 1] < y[:, 1]).all()
    intervals, chances = axes.collections
    assert [segment[:, 0].tolist() for segment in intervals.get_segments()] == [[5.0, 15.0], [20.0, 25.0]]
    assert [segment[0, 0] for segment in chances.get_segments()] == [1.0, 2.0]
    assert [text.get_text() for text in figure.legends[0].texts] == ["chance", "x", "y"]


@pytest.mark.parametrize(("candidates", "right"), [(6, 1), (6, 2), (12, 1), (11, 2)])
def test_chance_is_the_mean_over_every_order(candidates: int, right: int) -> None:
    # In every set of places that the right ones may take, from 0, all are as likely.
    places = list(itertools.combinations(range(candidates), right))
    for cutoff in (1, 5, 10):
        found = 100 * sum(ranks[0] < cutoff for ranks in places) / len(places)
        assert found == pytest.approx(chance_of_recall(cutoff, candidates, right))
    sums = [sum(j / (rank + 1) for j, rank in enumerate(ranks, 1) if rank < 10) / right for ranks in places]
    assert 100 * sum(sums) / len(places) == pytest.approx(chance_of_precision(candidates, right))


@pytest.fixture(scope="module")
def report() -> RetrievalReport:
    generator = torch.Generator().manual_seed(0)
    audio, owner = torch.randn(20, 16, generator=generator), np.arange(20).repeat(2)
    metrics = []
    for rank in (rank_text_to_audio, rank_audio_to_text):
        texts = [audio[owner] + noise * torch.randn(40, 16, generator=generator) for noise in (0.5, 1.5)]
        rankings = [rank(audio, text, owner) for text in texts]
        by_language, average = bootstrap(rankings, num_samples=20)
        own = [
            dataclasses.replace(summarize(ranking), intervals=intervals)
            for ranking, intervals in zip(rankings, by_language, strict=True)
        ]
        metrics.append((own, dataclasses.replace(average_metrics(own), intervals=average)))
    languages = {
        code: RetrievalResult(metrics[0][0][place], metrics[1][0][place], 0)
        for place, code in enumerate(("eng_Latn", "fra_Latn"))
    }
    one = Estimate(1.0)
    common = Consistency(one, one, one, {1: one, 10: one}, one, one, [[100.0, 40.0], [40.0, 100.0]], 40, 2)
    return RetrievalReport(languages, RetrievalResult(metrics[0][1], metrics[1][1], 0), common, 20, (), 1.0)


def test_retrieval_shows_each_language_and_the_average_above_chance(report: RetrievalReport) -> None:
    figure = plot_retrieval(report)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["eng_Latn", "fra_Latn", "average"]
    for axes, metrics in zip(figure.axes, ("text_to_audio", "audio_to_text"), strict=True):
        points = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() in "os"]
        results = [getattr(one, metrics) for one in (*report.languages.values(), report.average)]
        assert points == [[one.r1 for one in results], [one.r10 for one in results]]
        assert len(axes.collections) == 4  # intervals and chance of both
    (chance,) = {segment[0, 0] for segment in figure.axes[0].collections[1].get_segments()}
    assert chance == pytest.approx(5.0)  # R@1 among 20 clips


def test_languages_have_a_heat_map_of_metrics_and_one_of_common_hits(report: RetrievalReport) -> None:
    first, second = plot_languages(report).axes[:2]
    values = np.array(first.images[0].get_array())
    assert values.shape == (4, 10)  # two languages, average, chance; five metrics both ways
    assert values[0, 0] == report.languages["eng_Latn"].text_to_audio.r1
    assert values[1, 9] == report.languages["fra_Latn"].audio_to_text.map10
    assert values[3, :3] == pytest.approx([5.0, 25.0, 50.0])
    assert {"Text to audio", "Audio to text"} <= {text.get_text() for text in first.texts}
    assert np.array(second.images[0].get_array()).tolist() == [[100.0, 40.0], [40.0, 100.0]]
    alone = dataclasses.replace(report, consistency=None)
    assert len(plot_languages(alone).axes) == 2  # the map and its scale


def test_classes_are_drawn_with_accuracy_interval_chance_and_confusion() -> None:
    truth = np.repeat(np.arange(3), [4, 4, 0])
    right = np.eye(4)[truth]
    taken = right.copy()
    taken[:2] = [0, 0, 0, 1]  # two dogs are taken for a cat, of which there is no sound
    labels = ["dog", "rain", "saw", "cat"]
    languages = {
        "eng_Latn": measure_accuracy(right, truth, labels),
        "fra_Latn": measure_accuracy(taken, truth, labels),
    }
    found = ZeroShotReport(labels, languages, 87.5, 8, [], (), average_interval=(70.0, 95.0))
    axes = plot_zero_shot(found).axes[0]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["eng_Latn  100.0 % (68-100)", "fra_Latn  75.0 % (41-93)", "average  87.5 % (70-95)"]
    assert "guessing has 25.0 %" in axes.get_title("left")
    axes = plot_confusion(found).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dog (4)", "rain (4)"]
    assert np.array(axes.images[0].get_array()).tolist() == [[75, 0, 0, 25], [0, 100, 0, 0]]
    assert "mean of 2 languages" in axes.get_title("left")


def test_matplotlib_is_loaded_when_something_is_drawn() -> None:
    heavy = "{'matplotlib', 'torch'} & set(sys.modules)"
    for module in ("evaluators.report", "figures"):
        script = f"import sys, ml_clap.{module}; sys.exit(bool({heavy}))"
        assert subprocess.run([sys.executable, "-c", script]).returncode == 0
