"""Settings of `aac-llm reinforce`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from aac_llm.config.model import ModelConfig
from aac_llm.config.train import AugmentConfig, TrainConfig, ValidationConfig

Reward = Literal["cider", "consensus", "events", "fluency"]


@dataclass(frozen=True, kw_only=True)
class ReinforceValidationConfig(ValidationConfig):
    """Validation during training: rewards and scores of the most probable captions, and the loss."""

    metric: Literal["reward", "cider_d", "loss"] = "reward"  # type: ignore[assignment]  # one choice more
    """Score that decides which checkpoint is the best; `reward`: what is trained for, but for consensus."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric == "reward" and self.max_clips < 1:
            raise ValueError(
                f"validation.metric reward needs captions, got validation.max_clips {self.max_clips}; "
                "raise it or set validation.metric loss"
            )


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(TrainConfig):
    """Train a captioner further by rewards: it draws captions, and learns from those better than the others.

    GRPO (arXiv:2402.03300); with `--baseline greedy --scale_rewards none --beta 0` self-critical training
    (arXiv:1612.00563).
    """

    verb: ClassVar[str] = "reinforce"

    init_from: str = field()
    """Trained captioner to start from (folder, run folder or hub id); it is also the reference of beta."""
    model: ModelConfig = field(default_factory=ModelConfig, init=False)
    """That of init_from."""
    augment: AugmentConfig = field(default_factory=AugmentConfig, init=False)
    """None: a caption is drawn from what is learned from."""
    rewards: tuple[Reward, ...] = ("cider", "events", "fluency")
    """Each from 0 to 1: `cider` (CIDEr-D against the references, a tenth of it), `consensus` (the same
    against the other captions drawn of the clip), `events` (F1 of the events named), `fluency`."""
    reward_weights: tuple[float, ...] = ()
    """A weight for each reward; none: plain sum."""
    fluency_model: str | None = None
    """For reward fluency: a detector, its folder, .ckpt file or published name (none: rules)."""
    num_rollouts: int = 8
    """Captions drawn of a clip, which are compared with each other."""
    max_new_tokens: int = 30
    """Longest caption drawn, in tokens."""
    temperature: float = 1.0
    """Sampling temperature, also that of the log-probabilities that are learned from."""
    baseline: Literal["group", "greedy"] = "group"
    """What a caption's reward is compared with: the mean of the clip's captions (GRPO), or the reward of
    the most probable caption (self-critical)."""
    scale_rewards: Literal["group", "none"] = "group"
    """Divide by the deviation of the rewards of the clip's captions, or not."""
    beta: float = 0.04
    """Weight of the KL divergence from the reference, which is the model at the start; 0: no reference."""
    loss: Literal["grpo", "bnpo", "dr_grpo"] = "grpo"
    """How tokens are averaged: within each caption, then over captions; over all tokens of the batch; over
    max_new_tokens, so that length does not matter."""
    epochs: int = 1
    """Passes over the training clips."""
    validation: ReinforceValidationConfig = field(default_factory=ReinforceValidationConfig)
    """Scores during training, the first before it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_rollouts", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}: captions must differ")
        if not self.beta >= 0:
            raise ValueError(f"beta must not be negative, got {self.beta}")
        if self.data.timestamps:
            raise ValueError(
                f"data.timestamps must be 0, got {self.data.timestamps}: plain captions are rewarded, times "
                "are learned by train"
            )
        self._check_rewards()
        self._check_groups()

    def _check_rewards(self) -> None:
        if not self.rewards or len(set(self.rewards)) < len(self.rewards):
            raise ValueError(f"rewards: name at least one, and each once, got {', '.join(self.rewards)}")
        if self.reward_weights and len(self.reward_weights) != len(self.rewards):
            raise ValueError(
                f"reward_weights: expected {len(self.rewards)}, one a reward, got {len(self.reward_weights)}"
            )
        if self.fluency_model is not None and "fluency" not in self.rewards:
            raise ValueError("fluency_model goes with the reward fluency: add it to rewards")
        english = {"events", "fluency"}.intersection(self.rewards)
        if english and not self.data.language.startswith("eng"):
            raise ValueError(
                f"rewards {', '.join(sorted(english))} know English only, got data.language "
                f"{self.data.language}; set rewards to cider or consensus"
            )
        if self.rewards == ("consensus",) and self.data.validation and self.validation.metric == "reward":
            raise ValueError(
                "validation.metric reward: consensus is between captions, a single one has none; set "
                "validation.metric cider_d or loss"
            )

    def _check_groups(self) -> None:
        if self.num_rollouts < 2 and (self.baseline, self.scale_rewards) != ("greedy", "none"):
            raise ValueError(
                f"num_rollouts must be at least 2 to compare captions, got {self.num_rollouts}; one is "
                "enough for baseline greedy with scale_rewards none"
            )
        if "consensus" in self.rewards and (self.baseline == "greedy" or self.num_rollouts < 2):
            raise ValueError(
                "rewards consensus needs baseline group and num_rollouts 2 or more: it compares the captions "
                "drawn of a clip with each other"
            )

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each reward."""
        return self.reward_weights or (1.0,) * len(self.rewards)

    @property
    def captions_per_pass(self) -> int:
        """Captions in a forward pass on each device."""
        return self.batch_size * self.num_rollouts
