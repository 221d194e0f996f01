"""Curves of one and of several trainings."""

import json
from pathlib import Path

import matplotlib.image
from r1_aqa.trainers.curves import read_log, write_curves


def write_log(path: Path, count: int, **values: float) -> Path:
    rows = [{"step": step, **{name: value * step for name, value in values.items()}} for step in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_panel_for_each_value_that_was_logged(tmp_path: Path) -> None:
    one = write_log(tmp_path / "one.jsonl", 30, reward=0.1)
    two = write_log(tmp_path / "two.jsonl", 30, reward=0.1, kl=0.01, loss=0.5)
    assert write_curves(one, tmp_path / "one.png")
    assert write_curves({"SFT": one, "GRPO": two}, tmp_path / "two.png")
    narrow, wide = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert wide.shape[1] > 2.5 * narrow.shape[1]
    assert narrow[..., :3].std() > 0.01  # something is drawn


def test_a_run_has_its_color_in_every_panel(tmp_path: Path) -> None:
    one = write_log(tmp_path / "one.jsonl", 30, loss=0.5)
    two = write_log(tmp_path / "two.jsonl", 30, reward=0.1, loss=0.2)
    assert write_curves({"SFT": one, "GRPO": two}, tmp_path / "both.png")
    picture = (matplotlib.image.imread(tmp_path / "both.png")[..., :3] * 255).round().astype(int)
    first = picture[:, : picture.shape[1] // 2].reshape(-1, 3).tolist()  # the panel that SFT did not log
    below = picture[picture.shape[0] // 5 :, : picture.shape[1] // 2].reshape(-1, 3).tolist()
    assert [255, 127, 14] in first  # GRPO's orange
    assert [31, 119, 180] not in below  # SFT's blue is in the legend alone


def test_nothing_logged_draws_nothing(tmp_path: Path) -> None:
    assert not write_curves(tmp_path / "missing.jsonl", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_half_a_line_left_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", 2, loss=1.0)
    path.write_text(path.read_text() + '{"step": 2, "lo')
    assert [row["step"] for row in read_log(path)] == [0, 1]
