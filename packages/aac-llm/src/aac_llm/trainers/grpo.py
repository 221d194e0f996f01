"""The objective of `aac-llm reinforce` as pure functions.

Of each clip G captions o_i are drawn from the policy pi; each gets a reward R_i and an advantage A_i, how
much better it is than the others. GRPO maximizes (DeepSeekMath, arXiv:2402.03300, equation 3)

    1/G sum_i 1/|o_i| sum_t { min[r_it A_i, clip(r_it, 1 - eps, 1 + eps) A_i] - beta KL_it }

with r the probability ratio of the policy and the one that sampled. Captions are learned from once, right
after they were drawn, so that both are the same policy: all ratios are 1, where the clipping does nothing,
and carry the gradient alone. With another baseline than the group's mean this is self-critical training
(arXiv:1612.00563, equation 8). `tests/trainers/test_grpo.py` compares with TRL's formula.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LossName = Literal["grpo", "bnpo", "dr_grpo"]

ADVANTAGE_EPS = 1e-4
"""Added to the deviation of the rewards, so that a group without a difference has advantages of 0."""


def group_advantages(
    rewards: Tensor,
    num_rollouts: int,
    scale: Literal["group", "none"] = "group",
    baseline: Tensor | None = None,
) -> Tensor:
    """Return how much better each caption is than its group: A_i = (R_i - mean(R)) / (std(R) + eps).

    Args:
        rewards: `(rollouts,)`, those of a clip side by side.
        num_rollouts: captions of a clip, G.
        scale: divide by the sample deviation (divisor G - 1) of the group, or not (Dr. GRPO,
            arXiv:2503.20783).
        baseline: `(clips,)`, in place of the group's mean: of self-critical training the reward of the most
            probable caption.

    Returns:
        `(rollouts,)`.
    """
    groups = rewards.view(-1, num_rollouts)
    centered = groups - (groups.mean(1) if baseline is None else baseline)[:, None]
    if scale == "none":
        return centered.flatten()
    return (centered / (groups.std(1, keepdim=True) + ADVANTAGE_EPS)).flatten()


def grpo_loss(
    log_probs: Tensor,
    ref_log_probs: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    *,
    beta: float = 0.04,
    loss: LossName = "grpo",
    max_length: int | None = None,
) -> Tensor:
    """Return the loss of a batch of captions, a scalar: the negative of the objective above.

    Args:
        log_probs: `(rollouts, length)`, of the policy, with gradients.
        ref_log_probs: `(rollouts, length)`, of the reference; may be None if `beta` is 0.
        advantages: `(rollouts,)`, see `group_advantages`.
        mask: `(rollouts, length)`, 1 for tokens up to and including the end token.
        beta: weight of the divergence from the reference.
        loss: how tokens are averaged: `grpo` within each caption, then over captions; `bnpo` over all tokens
            of the batch; `dr_grpo` over the longest length that was allowed (arXiv:2503.20783).
        max_length: longest caption that was allowed, for `dr_grpo`; None: the batch's length.
    """
    ratio = (log_probs - log_probs.detach()).exp()  # 1, with the gradient of the log-probability
    objective = ratio * advantages[:, None]  # (rollouts, length)
    if beta:
        assert ref_log_probs is not None, "beta is not 0: give ref_log_probs"
        objective = objective - beta * kl_divergence(log_probs, ref_log_probs)
    total = (objective * mask).sum(1)  # (rollouts,)
    if loss == "grpo":
        return -(total / mask.sum(1).clamp(min=1)).mean()
    if loss == "bnpo":
        return -total.sum() / mask.sum().clamp(min=1)
    return -total.sum() / (len(mask) * (max_length or mask.shape[1]))


def kl_divergence(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """Return the k3 estimator of each token's divergence: pi_ref / pi - log(pi_ref / pi) - 1, never negative.

    Equation 4 of arXiv:2402.03300.

    Args:
        log_probs: `(rollouts, length)`, of the policy.
        ref_log_probs: `(rollouts, length)`, of the reference.
    """
    difference = ref_log_probs - log_probs
    return difference.exp() - difference - 1


def token_log_probs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probability of each token, `(rollouts, length)` float32.

    Args:
        logits: `(rollouts, length, vocabulary)`.
        tokens: `(rollouts, length)`; where negative (behind a caption's end) the result means nothing.
        temperature: at which the tokens were drawn.
    """
    scaled = logits.float() / temperature
    chosen = scaled.gather(-1, tokens.clamp(min=0)[..., None])[..., 0]
    return chosen - torch.logsumexp(scaled, -1)
