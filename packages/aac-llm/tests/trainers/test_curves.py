"""Curves of a training: what was logged, validation with its interval, no empty panel."""

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from aac_llm.trainers import curves
from aac_llm.trainers.curves import plot_curves
from matplotlib.figure import Figure


def write_log(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_panel_for_each_value_that_says_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: drawn.append(figure))
    rows: list[dict[str, Any]] = [{"step": n, "loss": 9.0 / n, "learning_rate": 0.01} for n in range(1, 20)]
    ends = {"eval_cider_d_low": 0.4, "eval_cider_d_high": 0.9}
    rows += [
        {"step": n, "eval_loss": 1.0, "eval_cider_d": 0.7, "eval_unfinished": 0.0, **ends} for n in (9, 19)
    ]
    plot_curves(write_log(tmp_path / "log.jsonl", rows), tmp_path / "a.png")
    panels = {axes.get_title("left"): axes for axes in drawn[0].axes}
    assert list(panels) == ["Loss", "CIDEr-D, validation", "Learning rate"]  # unfinished is always 0
    assert [text.get_text() for text in panels["Loss"].get_legend().texts] == ["training", "validation"]
    (band,) = panels["CIDEr-D, validation"].collections
    box = band.get_paths()[0].get_extents()
    assert (box.x0, box.x1, box.y0, box.y1) == pytest.approx((9, 19, 0.4, 0.9))
    assert all(axes.get_xlabel() == "update" for axes in panels.values())


def test_nothing_logged_draws_nothing_and_something_a_picture(tmp_path: Path) -> None:
    plot_curves(tmp_path / "missing.jsonl", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    plot_curves(write_log(tmp_path / "log.jsonl", [{"step": 1, "loss": 2.0}]), tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png")[..., :3].std() > 0.01
