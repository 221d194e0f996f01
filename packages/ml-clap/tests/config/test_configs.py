"""Every recipe that is shipped can be run: it parses into its settings, and differs from them on purpose."""

from pathlib import Path

import pytest
import yaml
from ml_clap import cli
from ml_clap.config.train import TrainConfig

CONFIGS = sorted(
    (Path(__file__).resolve().parent.parent.parent / "src" / "ml_clap" / "recipes").glob("*.yaml")
)


def settings_of(path: Path) -> TrainConfig:
    settings = cli.read(["train", "--config", str(path)])
    assert isinstance(settings, TrainConfig)
    return settings


def test_the_recipes_are_there() -> None:
    assert {path.stem for path in CONFIGS} == {"audiocaps", "clotho", "esc10", "pretrain"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_recipe_parses_and_writes_below_runs(path: Path) -> None:
    assert settings_of(path).out.is_relative_to(Path("runs") / path.stem)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_recipe_names_its_own_command(path: Path) -> None:
    assert f"--config {path.stem}\n" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["pretrain", "audiocaps", "clotho"])
def test_the_papers_recipes_mark_where_values_come_from(name: str) -> None:
    path = next(path for path in CONFIGS if path.stem == name)
    unmarked = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(("learning_rate", "batch_size", "epochs", "  language_rate", "max_grad_norm"))
        and not any(mark in line for mark in ("[repo default", "[ancestor recipe", "[ours"))
    ]
    assert not unmarked


def test_no_recipe_has_numbers_that_yaml_reads_as_words() -> None:
    for path in CONFIGS:
        rate = yaml.safe_load(path.read_text(encoding="utf-8"))["learning_rate"]
        assert isinstance(rate, float), f"{path.name}: write {rate} with a point"
