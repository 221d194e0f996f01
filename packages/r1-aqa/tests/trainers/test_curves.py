"""Curves of one and of several trainings."""

import json
from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.figure import Figure
from r1_aqa.trainers import curves
from r1_aqa.trainers.curves import ROLLED_OUT, VALIDATED, read_log, write_curves


def write_log(path: Path, count: int, **values: float) -> Path:
    rows = [{"step": step, **{name: value * step for name, value in values.items()}} for step in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    found: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: found.append(figure))
    return found


def titles(figure: Figure) -> list[str]:
    return [axes.get_title("left") for axes in figure.axes]


def test_a_panel_for_each_value_that_was_logged(tmp_path: Path, drawn: list[Figure]) -> None:
    one = write_log(tmp_path / "one.jsonl", 30, reward=0.1)
    two = write_log(tmp_path / "two.jsonl", 30, reward=0.1, kl=0.01, loss=0.5, entropy=0.0)
    assert write_curves(one, tmp_path / "one.png")
    assert write_curves({"SFT": one, "GRPO": two}, tmp_path / "two.png")
    assert [titles(figure) for figure in drawn] == [["Reward"], ["Reward", "KL divergence", "Loss"]]


def test_a_run_has_its_look_in_every_panel(tmp_path: Path, drawn: list[Figure]) -> None:
    one = write_log(tmp_path / "one.jsonl", 30, loss=0.5)
    two = write_log(tmp_path / "two.jsonl", 30, reward=0.1, loss=0.2)
    assert write_curves({"SFT": one, "GRPO": two}, tmp_path / "both.png")
    reward, loss = drawn[0].axes
    sft, grpo = drawn[0].legends[0].get_lines()
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["SFT", "GRPO"]
    assert (sft.get_color(), sft.get_linestyle()) != (grpo.get_color(), grpo.get_linestyle())
    assert [line.get_color() for line in loss.lines] == [sft.get_color(), grpo.get_color()]
    assert [line.get_color() for line in reward.lines] == [grpo.get_color()]  # SFT logged none


def test_accuracies_have_their_interval_and_chance(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [{"step": step, ROLLED_OUT: 0.4 + step % 3 / 10} for step in range(60)]
    rows += [
        {"step": step, VALIDATED: 0.5, f"{VALIDATED}_low": 0.4, f"{VALIDATED}_high": 0.7} for step in (0, 59)
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_curves(path, tmp_path / "a.png", chances={VALIDATED: 0.25, ROLLED_OUT: 0.3})
    validated, rolled_out = drawn[0].axes
    box = validated.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == pytest.approx((0.4, 0.7))
    assert len(rolled_out.collections) == 1
    for axes, chance in ((validated, 0.25), (rolled_out, 0.3)):
        assert axes.lines[-1].get_ydata()[0] == chance
        assert [text.get_text() for text in axes.get_legend().texts] == ["chance"]
        assert axes.yaxis.get_major_formatter().format_ticks([0.5]) == ["50 %"]


def test_the_picture_is_written(tmp_path: Path) -> None:
    write_curves(write_log(tmp_path / "one.jsonl", 30, reward=0.1), tmp_path / "one.png")
    assert matplotlib.image.imread(tmp_path / "one.png")[..., :3].std() > 0.01


def test_nothing_logged_draws_nothing(tmp_path: Path) -> None:
    assert not write_curves(tmp_path / "missing.jsonl", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_half_a_line_left_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", 2, loss=1.0)
    path.write_text(path.read_text() + '{"step": 2, "lo')
    assert [row["step"] for row in read_log(path)] == [0, 1]
