"""The objective against TRL's formula, and advantages by hand."""

import pytest
import torch
from aac_llm.trainers.grpo import LossName, group_advantages, grpo_loss, kl_divergence, token_log_probs
from torch import Tensor

ROLLOUTS, LENGTH = 6, 5


def trl_loss(
    log_probs: Tensor, ref_log_probs: Tensor, advantages: Tensor, mask: Tensor, *, beta: float, loss: str
) -> Tensor:
    """TRL 1.16's `GRPOTrainer._compute_loss`, with its names, where rollouts are learned from once."""
    per_token_kl = torch.exp(ref_log_probs - log_probs) - (ref_log_probs - log_probs) - 1
    old_per_token_logps = log_probs.detach()
    coef_1 = torch.exp(log_probs - old_per_token_logps)
    coef_2 = torch.clamp(coef_1, 1 - 0.2, 1 + 0.2)
    per_token_loss1 = coef_1 * advantages.unsqueeze(1)
    per_token_loss2 = coef_2 * advantages.unsqueeze(1)
    per_token_loss = -torch.min(per_token_loss1, per_token_loss2) + beta * per_token_kl
    if loss == "grpo":
        return ((per_token_loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if loss == "bnpo":
        return (per_token_loss * mask).sum() / mask.sum().clamp(min=1.0)
    return (per_token_loss * mask).sum() / (per_token_loss.size(0) * 7)


@pytest.mark.parametrize("loss", ["grpo", "bnpo", "dr_grpo"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_loss_and_gradient_are_those_of_trl(loss: LossName, beta: float) -> None:
    torch.manual_seed(0)
    log_probs = -torch.rand(ROLLOUTS, LENGTH, dtype=torch.float64)
    reference = -torch.rand(ROLLOUTS, LENGTH, dtype=torch.float64)
    advantages = torch.randn(ROLLOUTS, dtype=torch.float64)
    mask = torch.arange(LENGTH) < torch.tensor([1, 5, 3, 2, 4, 5])[:, None]
    found = []
    for compute in (
        lambda x: grpo_loss(x, reference, advantages, mask, beta=beta, loss=loss, max_length=7),
        lambda x: trl_loss(x, reference, advantages, mask, beta=beta, loss=loss),
    ):
        given = log_probs.clone().requires_grad_()
        value = compute(given)
        value.backward()
        found.append((value.detach(), given.grad))
    torch.testing.assert_close(found[0], found[1])


def test_the_gradient_is_that_of_reinforce() -> None:
    """Of one token each: minus the advantage times the gradient of the log-probability, averaged."""
    log_probs = torch.tensor([[-1.0], [-2.0]], requires_grad=True)
    grpo_loss(log_probs, None, torch.tensor([1.0, -0.5]), torch.ones(2, 1), beta=0.0).backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[-0.5], [0.25]]


def test_advantages_are_relative_to_the_group() -> None:
    rewards = torch.tensor([0.0, 1.0, 2.0, 5.0, 5.0, 5.0])
    found = group_advantages(rewards, 3)
    assert found.tolist() == pytest.approx([-0.9999, 0, 0.9999, 0, 0, 0], abs=1e-4)
    assert group_advantages(rewards, 3, "none").tolist() == [-1, 0, 1, 0, 0, 0]


def test_self_critical_advantages_are_relative_to_the_most_probable_caption() -> None:
    """Equation 8 of arXiv:1612.00563: one caption a clip is enough."""
    rewards, greedy = torch.tensor([0.2, 0.9]), torch.tensor([0.5, 0.4])
    assert group_advantages(rewards, 1, "none", greedy).tolist() == pytest.approx([-0.3, 0.5])


def test_divergence_is_that_of_the_distributions_on_average() -> None:
    """k3 has the expectation of KL(policy, reference)."""
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    estimate = (policy * kl_divergence(policy.log(), reference.log())).sum()
    torch.testing.assert_close(estimate, (policy * (policy / reference).log()).sum())


def test_log_probabilities_are_of_the_tempered_distribution() -> None:
    logits = torch.randn(2, 3, 7)
    tokens = torch.tensor([[1, 6, -100], [0, 2, 3]])
    found = token_log_probs(logits, tokens, temperature=0.7)
    expected = (logits / 0.7).log_softmax(-1)
    torch.testing.assert_close(found[1], expected[1].gather(1, tokens[1][:, None])[:, 0])
    torch.testing.assert_close(found[0, :2], expected[0].gather(1, tokens[0, :2, None])[:, 0][:2])
