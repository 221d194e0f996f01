"""Every settings file that is shipped is read by the command that it is for."""

from pathlib import Path

import pytest
import yaml
from r1_aqa import cli
from r1_aqa.config.train import GRPOTrainConfig, SFTTrainConfig
from r1_aqa.rewards.rewards import load_rewards

CONFIGS = Path(__file__).resolve().parent.parent.parent / "src" / "r1_aqa" / "recipes"


def read(path: Path) -> GRPOTrainConfig | SFTTrainConfig:
    """With the command in the file's first line."""
    words = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# r1-aqa ").split()
    assert words[-1] == path.stem
    return cli.read(words)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_training_settings_are_read(path: Path) -> None:
    settings = read(path)
    assert isinstance(settings.learning_rate, float)
    if isinstance(settings, GRPOTrainConfig):
        assert len(load_rewards(settings.rewards)) == len(settings.rewards)


def test_the_papers_preset_has_the_papers_numbers() -> None:
    paper = read(CONFIGS / "paper.yaml")
    assert isinstance(paper, GRPOTrainConfig)
    assert (paper.beta, paper.num_rollouts, paper.temperature, paper.learning_rate) == (0.04, 8, 1.0, 1e-6)
    assert (paper.batch_size, paper.gradient_accumulation, paper.max_steps) == (1, 2, 1000)
    assert (paper.max_new_tokens, paper.top_k, paper.prompt) == (256, 50, "answer")
    assert (paper.model.strategy, paper.model.freeze_encoder, paper.seed) == ("full", False, 42)
    assert paper.rewards == ("reference_accuracy", "reference_format")
    assert (paper.loss, paper.correct_kl, paper.zero_advantage) == ("grpo", False, "keep")


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_its_settings(path: Path) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(yaml_file=str(path))
    assert config.mixed_precision == "bf16"
    assert yaml.safe_load(path.read_text())["distributed_type"] in ("FSDP", "DEEPSPEED")
