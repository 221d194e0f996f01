"""The look of figures: colours for every eye and for print, panels without gaps, intervals, any script."""

import itertools
import logging
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from r1_aqa.figures import arms_of, choose_fonts, draw_chance, draw_curve, in_style, make_panels, save_figure

SIGHT = {
    "all cones": np.eye(3),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
"""What is left of linear RGB (G. Machado, M. Oliveira, L. Fernandes, 2009, severity 1)."""


def colours() -> list[np.ndarray]:
    with in_style():
        names = [look["color"] for look in matplotlib.rcParams["axes.prop_cycle"]]
    values = np.array([matplotlib.colors.to_rgb(name) for name in names])
    return list(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def to_lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_told_apart_by_every_eye(sight: str) -> None:
    seen = [to_lab(np.clip(np.array(SIGHT[sight]) @ colour, 0, 1)) for colour in colours()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


def test_the_first_colours_differ_in_grey_and_lines_by_their_dashes() -> None:
    light = [to_lab(colour)[0] for colour in colours()[:4]]
    assert min(abs(a - b) for a, b in itertools.combinations(light, 2)) > 8
    with in_style():
        cycle = list(matplotlib.rcParams["axes.prop_cycle"])
    assert len({look["linestyle"] for look in cycle[:4]}) == 4


def test_settings_of_the_user_change_nothing_and_are_left_alone() -> None:
    with matplotlib.rc_context({"axes.titlesize": 30, "axes.grid": False}):
        with in_style():
            assert matplotlib.rcParams["axes.titlesize"] == 10
            assert matplotlib.rcParams["axes.grid"]
        assert matplotlib.rcParams["axes.titlesize"] == 30
        assert not matplotlib.rcParams["axes.grid"]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 10, 11])
def test_no_place_of_a_figure_is_empty(count: int) -> None:
    figure, panels = make_panels(count)
    assert len(panels) == count == len(figure.axes)
    boxes = [panel.get_subplotspec() for panel in panels]
    cells = {(row, column) for box in boxes for row in box.rowspan for column in box.colspan}
    grid = boxes[0].get_gridspec()
    assert len(cells) == grid.nrows * grid.ncols == sum(len(box.rowspan) * len(box.colspan) for box in boxes)


def test_a_curve_of_many_values_is_their_mean_with_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    axes = Figure().subplots()
    draw_curve(axes, list(enumerate(rng.normal(3, 1, 400))), has_band=True)
    mean, faint = axes.lines
    assert np.std(mean.get_ydata()) < 0.5 < np.std(faint.get_ydata())
    low, high = (
        axes.collections[0].get_paths()[0].get_extents().y0,
        axes.collections[0].get_paths()[0].get_extents().y1,
    )
    assert 2 < low < 3 < high < 4
    # About two standard errors of 21 values on both sides.
    band = axes.collections[0].get_paths()[0].vertices
    middle = band[np.abs(band[:, 0] - 200) < 0.5, 1]
    assert np.ptp(middle) == pytest.approx(4 / 21**0.5, rel=0.25)


def test_values_that_are_none_or_not_finite_are_left_out() -> None:
    axes = Figure().subplots()
    draw_curve(axes, [(0, 1.0), (1, None), (2, float("nan")), (3, 2.0)], intervals=[(0.5, 1.5), (1.0, 3.0)])
    assert axes.lines[0].get_xydata().tolist() == [[0, 1], [3, 2]]
    assert axes.lines[0].get_marker() == "o"
    assert len(axes.collections) == 1
    draw_curve(axes, [(0, None)])
    assert len(axes.lines) == 1


def test_chance_has_a_name_and_moves_the_scale() -> None:
    axes = Figure().subplots()
    axes.plot([0, 1], [60, 70])
    draw_chance(axes, 25)
    assert axes.get_ylim()[0] < 25
    assert axes.get_legend_handles_labels()[1] == ["chance"]


def test_an_interval_beside_its_value_has_no_negative_arm() -> None:
    assert arms_of([5.0, 1.0], [(6.0, 8.0), None]) == ([0.0, 0.0], [3.0, 0.0])


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_the_same_numbers_give_the_same_file(tmp_path: Path, name: str) -> None:
    for folder in ("one", "two"):
        with in_style():
            figure, (axes,) = make_panels(1)
            axes.plot([1, 2], label="costs $5 and $6")
            axes.legend()
        save_figure(figure, tmp_path / folder / name)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_signs_that_no_font_has_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with in_style():
        figure, (axes,) = make_panels(1)
        axes.set_yticks([0, 1], ["дождь", "\U0010fffd $x"])  # for private use: in no font
    assert choose_fonts(figure) == ["\U0010fffd"]
    with caplog.at_level(logging.WARNING):
        save_figure(figure, tmp_path / "a.png")
    assert "\U0010fffd" in caplog.text
    assert "fonts-noto" in caplog.text
    caplog.clear()
    axes.set_yticks([0, 1], ["дождь", "مطر"])
    save_figure(figure, tmp_path / "a.png")
    assert not caplog.records
