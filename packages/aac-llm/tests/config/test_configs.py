"""Every settings file that is shipped is read by the command that it is for."""

from pathlib import Path

import pytest
import yaml
from aac_llm.cli import read
from aac_llm.config.train import TrainConfig

CONFIGS = Path(__file__).resolve().parent.parent.parent / "src" / "aac_llm" / "recipes"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_training_settings_are_read(path: Path) -> None:
    settings = read(["train", "--config", str(path)])
    assert isinstance(settings, TrainConfig)
    assert isinstance(settings.learning_rate, float)


def test_stages_have_the_authors_numbers() -> None:
    found = {}
    for stage in ("pretrain", "audiocaps", "clotho"):
        words = ["train", "--config", str(CONFIGS / f"{stage}.yaml")]
        settings = read(words)
        found[stage] = (
            settings.data.max_seconds,
            settings.batch_size,
            settings.learning_rate,
            settings.epochs,
        )
        assert settings.warmup_ratio == 0.13
        assert settings.weight_decay == 1e-6
        assert settings.model.lora.rank == 8
    assert found == {
        "pretrain": (10.0, 24, 5e-5, 15),
        "audiocaps": (10.0, 32, 5e-6, 30),
        "clotho": (30.0, 32, 5e-6, 30),
    }


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_its_settings(path: Path) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(yaml_file=str(path))
    assert config.mixed_precision == "bf16"
    assert yaml.safe_load(path.read_text())["distributed_type"] in ("FSDP", "DEEPSPEED")
