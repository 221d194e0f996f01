"""Rollouts behind one reading of their prompt have the logits and gradients that they have one by one."""

import numpy as np
import pytest
import torch
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.log_probs import (
    Prompts,
    completion_logits,
    shared_prefix_logits,
)
from r1_aqa.models.shared_prefix import prefix_attention, prefix_positions
from torch import Tensor

ROWS = torch.tensor([0, 0, 0, 1, 1])  # unlike numbers of rollouts: one place of the second prompt stays empty
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])


@pytest.fixture
def inputs(tiny_audio_llm: AudioLLM) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    texts = [
        tiny_audio_llm.format_chat("What is it?"),
        tiny_audio_llm.format_chat("Is it a dog or is it a cat?"),
    ]
    sounds = [rng.normal(size=n).astype(np.float32) for n in (30_000, 11_000)]
    return tiny_audio_llm.encode(texts, sounds)


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(6, 250, (5, 4), generator=torch.Generator().manual_seed(1))


def as_embeddings(llm: AudioLLM, inputs: dict[str, Tensor]) -> Prompts:
    merged, mask = llm.embed_prompts(inputs), inputs["attention_mask"].bool()
    return Prompts(embeddings=[row[keep] for row, keep in zip(merged, mask, strict=True)])


@pytest.mark.parametrize("kept", [False, True], ids=["features", "kept embeddings"])
def test_logits_are_those_of_the_rollouts_one_by_one(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor], ids: Tensor, kept: bool
) -> None:
    prompts = as_embeddings(tiny_audio_llm, inputs) if kept else Prompts(inputs=inputs)
    arguments = (tiny_audio_llm, prompts, ROWS, ids, MASK)
    with torch.no_grad():
        expected, found = completion_logits(*arguments), shared_prefix_logits(*arguments)
    counted = MASK.bool()
    torch.testing.assert_close(found[counted], expected[counted], atol=2e-5, rtol=1e-4)


def test_gradients_are_those_of_the_rollouts_one_by_one(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor], ids: Tensor
) -> None:
    gradients = []
    for score in (completion_logits, shared_prefix_logits):
        tiny_audio_llm.model.zero_grad()
        logits = score(tiny_audio_llm, Prompts(inputs=inputs), ROWS, ids, MASK)
        (logits.log_softmax(-1) * MASK[..., None]).square().mean().backward()
        gradients.append(
            {n: p.grad.clone() for n, p in tiny_audio_llm.model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    assert any("audio_tower" in name for name in gradients[0])
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-6, rtol=1e-3)


def test_a_rollout_sees_its_prompt_and_itself_alone() -> None:
    prompt = torch.tensor([[False, True, True]])
    tail = torch.tensor([[[True, True], [True, False]]])
    seen = prefix_attention(prompt, tail)[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0],  # padding: itself
        [0, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0],  # first rollout
        [0, 1, 1, 1, 1, 0, 0],
        [0, 1, 1, 0, 0, 1, 0],  # second rollout
        [0, 1, 1, 0, 0, 1, 1],
    ]
    assert prefix_positions(prompt, tail)[0].tolist() == [0, 0, 1, 2, 3, 2, 3]
