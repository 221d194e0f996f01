"""Curves of a training: validation over updates, with its interval, chance and the best one."""

from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from matplotlib.figure import Figure
from ml_clap.trainers import curves
from ml_clap.trainers.curves import plot_curves

UPDATES = [
    {"step": n, "loss": 5.0 / n, "lr": 0.1, "grad_norm": 1.0, "temperature": 0.07} for n in range(1, 60)
]


def validations(languages: int) -> list[dict[str, Any]]:
    return [
        {"step": step, "metric": "mAP@10", "score": score, "interval": [score - 5, score + 5], "chance": 2.0}
        | {"scores": {f"{place:03}": score + place for place in range(languages)}}
        for step, score in ((20, 30.0), (40, 50.0), (60, 40.0))
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    found: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: found.append(figure))
    return found


@pytest.mark.parametrize(("languages", "lines"), [(1, 1), (4, 5), (9, 10)])
def test_validation_stands_over_updates(drawn: list[Figure], languages: int, lines: int) -> None:
    plot_curves([*UPDATES, *validations(languages)], Path("a.png"))
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    assert list(panels) == ["Loss", "Validation", "Learning rate", "Gradient norm", "Temperature"]
    axes = panels["Validation"]
    steps = [list(line.get_xdata()) for line in axes.lines]
    assert steps.count([20, 40, 60]) == lines
    named = [text.get_text() for text in axes.get_legend().texts]
    assert named[-2:] == ["best, 50.0", "chance"]
    assert ("each of 9 languages" in named) == (languages == 9)
    assert len(axes.collections) == 1  # the interval
    assert all(axes.get_title("left") and axes.get_xlabel() == "update" for axes in drawn[0].axes)


def test_an_older_log_without_interval_and_chance_is_drawn_too(drawn: list[Figure]) -> None:
    old = [{"step": 1, "metric": "mAP@10", "score": 3.0, "scores": {"eng_Latn": 3.0}}]
    plot_curves([*UPDATES, *old], Path("a.png"))
    assert not drawn[0].axes[1].collections


def test_nothing_logged_draws_nothing_and_something_a_picture(tmp_path: Path) -> None:
    plot_curves([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    plot_curves(UPDATES, tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png")[..., :3].std() > 0.01
