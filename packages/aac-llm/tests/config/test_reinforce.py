"""What `aac-llm reinforce` refuses, and that what it does not take is no flag."""

from pathlib import Path
from typing import Any

import pytest
from aac_llm.cli import read
from aac_llm.command_line import UsageError
from aac_llm.config.reinforce import ReinforceConfig, ReinforceValidationConfig
from aac_llm.config.train import DataConfig

WORDS = ["reinforce", "--init_from", "m", "--data.train", "t.jsonl", "--out", "o"]


def make(**settings: Any) -> ReinforceConfig:
    data = settings.pop("data", DataConfig(train=(Path("t"),), validation=(Path("v"),)))
    return ReinforceConfig(out=Path("o"), init_from="m", data=data, **settings)


def test_the_start_is_needed_and_model_and_masks_are_no_flags() -> None:
    assert read(WORDS).init_from == "m"
    with pytest.raises(UsageError, match="--init_from missing"):
        read([WORDS[0], *WORDS[3:]])
    for flag in ("--model.decoder", "--augment.time_masks"):
        with pytest.raises(UsageError, match="unknown flag"):
            read([*WORDS, flag, "1"])


def test_self_critical_training_takes_one_caption_a_clip() -> None:
    words = ["--baseline", "greedy", "--scale_rewards", "none", "--beta", "0", "--num_rollouts", "1"]
    assert read([*WORDS, *words]).num_rollouts == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_rollouts": 1}, "num_rollouts must be at least 2 to compare"),
        ({"num_rollouts": 0}, "num_rollouts must be at least 1"),
        ({"temperature": 0.0}, "captions must differ"),
        ({"beta": -1.0}, "beta must not be negative"),
        ({"rewards": ()}, "name at least one"),
        ({"rewards": ("cider", "cider")}, "each once"),
        ({"rewards": ("cider",), "reward_weights": (1.0, 2.0)}, "expected 1, one a reward, got 2"),
        ({"rewards": ("cider",), "fluency_model": "d"}, "add it to rewards"),
        ({"rewards": ("consensus",)}, "set validation.metric cider_d or loss"),
        ({"rewards": ("consensus", "cider"), "baseline": "greedy"}, "consensus needs baseline group"),
        ({"data": DataConfig(train=(Path("t"),), timestamps=0.5)}, "times are learned by train"),
        ({"data": DataConfig(train=(Path("t"),), language="fra_Latn")}, "events, fluency know English only"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_the_reward_needs_captions_of_validation() -> None:
    with pytest.raises(ValueError, match="metric reward needs captions"):
        ReinforceValidationConfig(max_clips=0)
    assert ReinforceValidationConfig(metric="loss", max_clips=0).metric == "loss"
