"""Training from shards keeps the contract of a run: stopped anywhere, it ends as if it had not been.

SIGKILL is tried by `tests/kill_kit`.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ml_clap import cli
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.config.train import TrainConfig
from ml_clap.data.shards import packing
from ml_clap.data.shards.index import ENDING
from ml_clap.trainers import trainer as module
from ml_clap.trainers.processes import TrainingError
from ml_clap.trainers.run_folder import read_log
from ml_clap.trainers.train import train
from safetensors.torch import load_file

pytest.importorskip("webdataset")
UPDATES = 7
"""Off the boundary of an epoch, and of `save_steps`."""


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe with its 24 training clips in five shards, its 8 validation clips in another."""
    folder = tmp_path_factory.mktemp("streaming")
    settings = yaml.safe_load(tiny_recipe.read_text())
    manifest = Path(settings["data"]["train"][0])
    packing.prepare_shards(PrepareShardsConfig(source=manifest, out=folder / "shards", max_samples=5))
    settings["data"] |= {
        "train": [f"file://{folder}/shards/train-{{000000..000004}}.tar"],
        "validation": [f"{folder}/shards/validation-000000.tar", f"{folder}/shards/validation-000001.tar"],
        "shard_streams": 2,
        "shard_buffer": 24,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def settings_of(recipe: Path, out: Path, *words: str) -> TrainConfig:
    command = ["train", "--config", str(recipe), "--out", str(out), "--max_steps", str(UPDATES)]
    settings = cli.read([*command, *words])
    assert isinstance(settings, TrainConfig)
    return settings


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(settings_of(recipe, out)).bad_files == {}
    return out


def assert_same_run(one: Path, other: Path) -> None:
    assert read_log(one / "log.jsonl") == read_log(other / "log.jsonl")
    for name in ("last", "best"):
        expected, got = (load_file(out / name / "model.safetensors") for out in (one, other))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected), name


class Stop(BaseException):
    """As a kill: nobody catches it."""


def stop_at_update(patch: pytest.MonkeyPatch, step: int) -> None:
    real: Callable[..., Any] = module.save_checkpoint

    def stopped(out: Path, number: int, *arguments: Any, **named: Any) -> None:
        real(out, number, *arguments, **named)
        if number == step:
            raise Stop

    patch.setattr(module, "save_checkpoint", stopped)


@pytest.mark.parametrize("num_workers", ["0", "1"])
def test_a_run_stopped_in_mid_epoch_ends_as_the_one_that_was_not(
    recipe: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: str
) -> None:
    config = settings_of(recipe, tmp_path / "run", "--save_steps", "2")
    for step in (2, 6):
        with monkeypatch.context() as patch:
            stop_at_update(patch, step)
            with pytest.raises(Stop):
                train(config)
    assert train(settings_of(recipe, config.out, "--data.num_workers", num_workers)).step == UPDATES
    assert_same_run(whole, config.out)


def test_shards_gone_or_damaged_are_named_and_end_nothing(
    recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Path(yaml.safe_load(recipe.read_text())["data"]["validation"][0]).parent
    shutil.copytree(source, tmp_path / "shards")
    first, second, third = sorted((tmp_path / "shards").glob("train-*.tar"))[:3]
    lines = Path(f"{first}{ENDING}").read_bytes().splitlines()
    offset = json.loads(lines[1])["offset"]
    content = bytearray(first.read_bytes())
    content[offset : offset + 4] = b"none"
    first.write_bytes(content)
    Path(f"{second}{ENDING}").unlink()
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    third.write_bytes(b"no tar")
    Path(f"{third}{ENDING}").unlink()
    config = settings_of(recipe, tmp_path / "run", "--max_steps", "8")
    config = replace(config, data=replace(config.data, train=(tmp_path / "shards",), train_splits=("train",)))
    result = train(config)
    named = {path.relative_to(tmp_path / "shards").as_posix(): why for path, why in result.bad_files.items()}
    assert named.keys() == {f"{first.name}/{json.loads(lines[1])['audio']}", second.name, third.name}
    assert "is damaged" in named[second.name]
    assert sum(record.message.startswith("not used: ") for record in caplog.records) == 2
    assert result.step == 8
    assert json.loads((config.out / "finished.json").read_text())["bad_files"]


def test_manifests_and_shards_train_together_with_texts_encoded_before(
    recipe: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    manifest = Path(yaml.safe_load(tiny_recipe.read_text())["data"]["train"][0])
    config = settings_of(
        recipe, tmp_path / "run", "--max_steps", "2", "--precompute_text", "--model.freeze_text"
    )
    data = replace(config.data, train=(*config.data.train, manifest), train_splits=("validation", "train"))
    trainer = module.Trainer(replace(config, data=data))
    assert len(trainer.data.clips) == 24 + 32
    assert "56 clips" in trainer.data.summary()
    trainer.run()


def test_other_processes_or_a_smaller_buffer_are_no_continuation(recipe: Path, whole: Path) -> None:
    from ml_clap.trainers.processes import check_same_run, run_settings

    config = settings_of(recipe, whole)
    two = replace(config, batch_size=config.batch_size // 2)
    with pytest.raises(TrainingError, match="processes was 1, is 2"):
        check_same_run(run_settings(config, 1), run_settings(two, 2), whole)
    smaller = replace(config, data=replace(config.data, shard_buffer=8))
    with pytest.raises(TrainingError, match=r"data\.shard_buffer was 24, is 8"):
        check_same_run(run_settings(config, 1), run_settings(smaller, 1), whole)
