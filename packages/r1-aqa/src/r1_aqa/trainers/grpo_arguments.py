"""The settings of `r1-aqa train grpo` as TRL wants them."""

from __future__ import annotations

from typing import Any

from trl import GRPOConfig

from r1_aqa.config.train import GRPOTrainConfig


def grpo_arguments(config: GRPOTrainConfig, **trainer_arguments: Any) -> GRPOConfig:
    """The settings in TRL's form; what the paper fixed and TRL has another default for is spelt out."""
    return GRPOConfig(
        **trainer_arguments,
        per_device_train_batch_size=config.batch_size * config.num_rollouts,
        gradient_accumulation_steps=config.gradient_accumulation,
        num_generations=config.num_rollouts,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        beta=config.beta,
        use_bias_correction_kl=config.correct_kl,
        loss_type=config.loss,
        importance_sampling_level="sequence" if config.sequence_ratio else "token",
        epsilon=config.clip,
        epsilon_high=config.clip_high,
        scale_rewards=config.scale_rewards,
        num_iterations=config.updates_per_rollout,
        mask_truncated_completions=config.ignore_truncated,
        reward_weights=list(config.reward_weights) or None,
        disable_dropout=True,  # rollouts, old and reference log-probabilities would be of other networks
        use_vllm=config.vllm != "off",
        vllm_mode="colocate",
    )
