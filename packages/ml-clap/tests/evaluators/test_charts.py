"""Figures: of the kind that their name says, with their numbers."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ml_clap.evaluators.figures import check_figure_path, plot_bars, plot_heat_map, save_figure


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_a_figure_is_what_its_name_says(tmp_path: Path, name: str, start: bytes) -> None:
    figure = plot_heat_map([[1.0]], ["a"], ["b"], "title", "%")
    check_figure_path(tmp_path / name)
    save_figure(figure, tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes().startswith(start)


def test_a_kind_of_figure_that_is_not_there_is_refused() -> None:
    check_figure_path(None)
    for name in ("a.doc", "a"):
        with pytest.raises(ValueError, match=r"should end in one of .*\.png"):
            check_figure_path(Path(name))


def test_a_heat_map_shows_every_number_while_there_are_few() -> None:
    values = np.arange(12).reshape(3, 4) * 8.0
    axes = plot_heat_map(values.tolist(), list("abc"), list("defg"), "title", "%").axes[0]
    assert [each.get_text() for each in axes.texts] == [f"{value:.0f}" for value in values.ravel()]
    assert [each.get_text() for each in axes.get_xticklabels()] == list("defg")
    assert [each.get_text() for each in axes.get_yticklabels()] == list("abc")
    many = plot_heat_map(np.zeros((2, 60)).tolist(), list("ab"), [str(n) for n in range(60)], "title", "%")
    assert not many.axes[0].texts


def test_bars_stand_side_by_side_at_their_heights() -> None:
    panels = {"one": {"x": [10.0, 20.0], "y": [30.0, 40.0]}, "two": {"x": [1.0, 2.0], "y": [3.0, 4.0]}}
    # The second interval lies beside its value, as that of very few clips may.
    figure = plot_bars(panels, ["eng", "fra"], {"one": {"x": [(5.0, 15.0), (21.0, 25.0)]}}, "%")
    first, second = figure.axes
    # In the axes' own units; each bar a rectangle.
    boxes = [bar.get_path().get_extents(bar.get_patch_transform()) for bar in first.patches]
    assert [box.height for box in boxes] == pytest.approx([10.0, 20.0, 30.0, 40.0])
    heights = [bar.get_path().get_extents(bar.get_patch_transform()).height for bar in second.patches]
    assert heights == pytest.approx([1.0, 2.0, 3.0, 4.0])
    edges = sorted((box.x0, box.x1) for box in boxes)
    assert all(left[1] <= right[0] + 1e-9 for left, right in pairwise(edges))
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]


def test_matplotlib_is_loaded_when_something_is_drawn() -> None:
    heavy = "{'matplotlib', 'torch'} & set(sys.modules)"
    script = f"import sys, ml_clap.evaluators.report; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
