"""Every settings file that is shipped is read by the command that it is for."""

from pathlib import Path

import pytest
import yaml
from r1_aqa import cli
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig, ValidationConfig
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
    assert (paper.batch_size, paper.gradient_accumulation_steps, paper.max_steps) == (1, 2, 1000)
    assert (paper.max_new_tokens, paper.top_k, paper.prompt) == (256, 50, "answer")
    assert (paper.model.strategy, paper.model.freeze_encoder, paper.seed) == ("full", False, 42)
    assert paper.rewards == ("reference_accuracy", "reference_format")
    assert (paper.init_from, paper.precision) == ("Qwen/Qwen2-Audio-7B-Instruct", "bf16")
    assert (paper.loss, paper.correct_kl, paper.zero_advantage) == ("grpo", False, "keep")


def test_the_methods_presets_are_their_papers() -> None:
    dapo, gspo, dr_grpo = (read(CONFIGS / f"{name}.yaml") for name in ("dapo", "gspo", "dr_grpo"))
    assert isinstance(dapo, GRPOTrainConfig)
    assert isinstance(gspo, GRPOTrainConfig)
    assert isinstance(dr_grpo, GRPOTrainConfig)
    assert (dapo.loss, dapo.clip, dapo.clip_high, dapo.beta) == ("dapo", 0.2, 0.28, 0.0)
    assert (dapo.zero_advantage, dapo.num_rollouts, "overlong" in dapo.rewards) == ("resample", 16, True)
    assert (gspo.sequence_ratio, gspo.loss, gspo.clip, gspo.clip_high) == (True, "grpo", 3e-4, 4e-4)
    assert (gspo.minibatches, gspo.beta) == (4, 0.0)
    assert (dr_grpo.loss, dr_grpo.scale_rewards, dr_grpo.beta) == ("dr_grpo", "none", 0.0)


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
    assert path.read_text().startswith("# accelerate launch --config_file packages/r1-aqa/")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_validation_questions_are_those_that_prepare_writes(path: Path) -> None:
    data = read(path).data
    if data.train == (Path("data/avqa.jsonl"),):
        assert data.validation in ((), (data.train[0].with_suffix(".validation.jsonl"),))


def test_impossible_values_name_flag_and_value() -> None:
    required = {"out": Path("o"), "init_from": "m", "data": DataConfig(train=(Path("q"),))}
    for name, value in (("max_steps", 0), ("eval_steps", 0), ("save_steps", -1), ("batch_size", 0)):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
            SFTTrainConfig(**required, **{name: value})
    with pytest.raises(ValueError, match=r"max_grad_norm must be positive or none, got 0.0"):
        SFTTrainConfig(**required, max_grad_norm=0.0)
    with pytest.raises(ValueError, match=r"validation.max_questions must be at least 1, got 0"):
        ValidationConfig(max_questions=0)
    with pytest.raises(ValueError, match=r"data.train: name at least one file"):
        DataConfig(train=())
