"""The GRPO objective as pure functions, and the settings under which TRL computes the same.

With the probability ratio r = pi_theta(o_t) / pi_old(o_t) of each token of the G rollouts o_i of a question,
GRPO maximizes (DeepSeekMath, arXiv:2402.03300, equation 3; arXiv:2503.11197 trains with it)

    1/G sum_i 1/|o_i| sum_t { min[r_it A_i, clip(r_it, 1 - eps, 1 + eps) A_i] - beta KL_it }

where the advantage A_i is the reward of rollout i relative to its group, and KL_it the unbiased estimator of
the divergence from the reference (equation 4).

In training the loss runs inside TRL's trainer (`r1_aqa.trainers.grpo_trainer`), which also gathers over
processes and logs. `tests/trainers/test_grpo.py` shows that both give the same loss and gradients for every
loss that the settings offer, and that they are those of the published trainer.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from trl import GRPOConfig

from r1_aqa.config.train import GRPOTrainConfig
from r1_aqa.trainers.trl_settings import trl_values

LossName = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]

ADVANTAGE_EPS = 1e-4
"""Added to the deviation of the rewards, so that a group without a difference has advantages of 0."""
SAPO_TEMPERATURES = 1.0, 1.05
"""Temperatures of SAPO's gate for advantages above 0, and for others (arXiv:2511.20347)."""
VESPO_SHAPES = (2.0, 3.0), (3.0, 2.0)
"""k and lambda of VESPO's weight for advantages from 0 on, and for others (arXiv:2602.10693)."""


def group_advantages(
    rewards: Tensor, num_rollouts: int, scale: Literal["group", "batch", "none"] = "group"
) -> Tensor:
    """Return how much better each rollout is than its group: A_i = (R_i - mean(R)) / (std(R) + eps).

    Args:
        rewards: `(rollouts,)`, those of a question side by side.
        num_rollouts: rollouts of a question, G.
        scale: divide by the sample deviation (divisor G - 1) of the group or of the whole batch, or not at
            all (Dr. GRPO, arXiv:2503.20783).

    Returns:
        `(rollouts,)`.
    """
    groups = rewards.view(-1, num_rollouts)
    centered = groups - groups.mean(1, keepdim=True)
    if scale == "none":
        return centered.flatten()
    deviation = groups.std(1, keepdim=True) if scale == "group" else rewards.std()
    return (centered / (deviation + ADVANTAGE_EPS)).flatten()


def grpo_loss(
    log_probs: Tensor,
    old_log_probs: Tensor | None,
    ref_log_probs: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip: float = 0.2,
    clip_high: float | None = None,
    beta: float = 0.04,
    loss: LossName = "grpo",
    sequence_ratio: bool = False,
    correct_kl: bool = False,
    max_length: int | None = None,
    num_tokens: Tensor | float | None = None,
) -> Tensor:
    """Return the loss of a batch of rollouts, a scalar: the negative of the objective above.

    Args:
        log_probs: `(rollouts, length)`, of the policy, with gradients.
        old_log_probs: `(rollouts, length)`, of the policy that sampled; None: it is the same policy, so that
            all ratios are 1 and carry the gradient alone.
        ref_log_probs: `(rollouts, length)`, of the reference; may be None if `beta` is 0.
        advantages: `(rollouts,)`, see `group_advantages`.
        mask: `(rollouts, length)`, 1 for tokens up to and including the end token.
        clip: ratios are clipped to 1 - clip ...
        clip_high: ... 1 + clip_high; None: as the lower. For `cispo` the upper bound itself.
        beta: weight of the divergence from the reference.
        loss: how tokens are averaged, and what takes the place of clipping:
            `grpo` within each rollout, then over rollouts; `bnpo` over all tokens of the batch;
            `dr_grpo` over the longest length that was allowed (arXiv:2503.20783);
            `dapo` over all tokens of the update (arXiv:2503.14476);
            `cispo` as dapo, the clipped ratio a weight of the log-probability (arXiv:2506.13585);
            `sapo` as grpo, a smooth gate in place of clipping (arXiv:2511.20347);
            `luspo` the sum of a rollout's tokens, not their mean, then over rollouts (arXiv:2602.05261);
            `vespo` as dapo, a smooth weight of the whole rollout in place of clipping (arXiv:2602.10693).
        sequence_ratio: one ratio for a whole rollout, the geometric mean (GSPO, arXiv:2507.18071).
        correct_kl: weight the divergence by the ratio, so that its gradient is unbiased (arXiv:2512.02556).
        max_length: longest rollout that was allowed, for `dr_grpo`; None: the batch's length.
        num_tokens: tokens of the whole update on this device, for `dapo` and `cispo`; None: the batch's.
    """
    advantages = advantages[:, None]  # (rollouts, 1)
    high = clip if clip_high is None else clip_high
    old_log_probs = log_probs.detach() if old_log_probs is None else old_log_probs
    log_ratio = log_probs - old_log_probs
    weight = vespo_weight(log_ratio.detach(), advantages, mask) if loss == "vespo" else None
    if sequence_ratio:
        log_ratio = ((log_ratio * mask).sum(1) / mask.sum(1).clamp(min=1))[:, None]
    ratio = log_ratio.exp()  # (rollouts, length), or (rollouts, 1) for a whole rollout

    if loss == "cispo":
        objective = ratio.clamp(max=high).detach() * advantages * log_probs
    elif weight is not None:
        objective = weight * advantages * log_probs
    elif loss == "sapo":
        above, below = SAPO_TEMPERATURES
        temperature = torch.where(advantages > 0, above, below)
        objective = torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature * advantages
    else:
        # The minimum takes the clipped ratio only where that makes the objective smaller: the policy has
        # already moved so far in the direction of the advantage that it should go no further.
        objective = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + high) * advantages)

    if beta:
        assert ref_log_probs is not None, "beta is not 0: give ref_log_probs"
        objective = objective - beta * kl_divergence(log_probs, ref_log_probs, ratio if correct_kl else None)

    total = (objective * mask).sum(1)  # (rollouts,)
    if loss in ("grpo", "sapo"):
        # A rollout without a token that counts (dropped, or cut and ignored) is a term of 0.
        return -(total / mask.sum(1).clamp(min=1)).mean()
    if loss == "bnpo":
        return -total.sum() / mask.sum().clamp(min=1)
    if loss == "luspo":
        return -total.mean()
    if loss == "dr_grpo":
        return -total.sum() / (len(mask) * (max_length or mask.shape[1]))
    return -total.sum() / torch.as_tensor(mask.sum() if num_tokens is None else num_tokens).clamp(min=1)


def vespo_weight(log_ratio: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """Return VESPO's weight of each rollout, `(rollouts, 1)`: w^k exp(lambda (1 - w)), 1 for w = 1.

    Args:
        log_ratio: `(rollouts, length)`, logarithm of the ratio of each token.
        advantages: `(rollouts, 1)`.
        mask: `(rollouts, length)`, 1 for tokens that count.
    """
    # w is the ratio of the whole rollout, not its geometric mean; bounds keep it from over- and underflow.
    log_w = (log_ratio.clamp(-20, 20) * mask).sum(1, keepdim=True).clamp(math.log(1e-8), 20)
    (k_above, lambda_above), (k_below, lambda_below) = VESPO_SHAPES
    k = torch.where(advantages >= 0, k_above, k_below)
    strength = torch.where(advantages >= 0, lambda_above, lambda_below)
    return (strength + k * log_w - strength * log_w.exp()).exp()


def kl_divergence(log_probs: Tensor, ref_log_probs: Tensor, ratio: Tensor | None = None) -> Tensor:
    """Return the k3 estimator of each token's divergence: pi_ref / pi - log(pi_ref / pi) - 1, never negative.

    Args:
        log_probs: `(rollouts, length)`, of the policy.
        ref_log_probs: `(rollouts, length)`, of the reference.
        ratio: probabilities relative to the policy that sampled, by which to weight; None: 1.
    """
    difference = ref_log_probs - log_probs
    divergence = difference.exp() - difference - 1
    return divergence if ratio is None else divergence * ratio


def grpo_arguments(config: GRPOTrainConfig, **trainer_arguments: Any) -> GRPOConfig:
    """Return the settings in TRL's form, with the paper's values wherever TRL has another default.

    Raises:
        ValueError: `config.trl` has what TRL does not have, or what does not go with the other settings.
    """
    return GRPOConfig(**trainer_arguments, **grpo_settings(config), **trl_values(config))


def grpo_settings(config: GRPOTrainConfig) -> dict[str, Any]:
    """Return what settings of ours decide in TRL's GRPO, by TRL's names."""
    return {
        "per_device_train_batch_size": config.batch_size * config.num_rollouts,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "steps_per_generation": config.gradient_accumulation_steps * config.minibatches,
        "num_generations": config.num_rollouts,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "top_k": config.top_k,
        "top_p": config.top_p,
        "beta": config.beta,
        "use_bias_correction_kl": config.correct_kl,
        "loss_type": config.loss,
        "importance_sampling_level": "sequence" if config.sequence_ratio else "token",
        "epsilon": config.clip,
        "epsilon_high": config.clip_high,
        "scale_rewards": config.scale_rewards,
        "num_iterations": config.updates_per_rollout,
        "mask_truncated_completions": config.ignore_truncated,
        "reward_weights": list(config.reward_weights) or None,
        "disable_dropout": True,  # rollouts, old and reference log-probabilities would be of other networks
        "use_vllm": config.vllm != "off",
        "vllm_mode": "colocate" if config.vllm == "off" else config.vllm,
        "vllm_server_host": config.vllm_host,
        "vllm_server_port": config.vllm_port,
    }
