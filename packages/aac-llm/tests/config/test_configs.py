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
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    words = ["--config_file", str(path), "x.py"]
    args, recipe, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    given = yaml.safe_load(path.read_text())
    kind = given["distributed_type"]
    assert (args.use_fsdp, args.use_deepspeed) == (kind == "FSDP", kind == "DEEPSPEED")
    assert recipe.mixed_precision == "bf16"
    assert given["num_machines"] == (2 if path.stem.endswith("_nodes") else 1)
    assert path.read_text().startswith("# accelerate launch --config_file packages/aac-llm/")
