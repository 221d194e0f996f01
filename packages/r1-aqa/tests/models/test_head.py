"""Log-probabilities read at the head are those of whole logits, and whole logits are never there."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from r1_aqa.models import log_probs
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.head import plain_logits, reading_head
from r1_aqa.models.log_probs import (
    Prompts,
    completion_log_probs,
    completion_logits,
    entropies,
    head_log_probs,
    score_completions,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

ROWS = torch.tensor([0, 0, 1])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])


@pytest.fixture
def prompts(tiny_audio_llm: AudioLLM) -> Prompts:
    rng = np.random.default_rng(0)
    texts = [tiny_audio_llm.format_chat(text) for text in ("What is it?", "Which of these is heard first?")]
    sounds = [rng.normal(0, 0.1, size).astype(np.float32) for size in (20_000, 50_000)]
    return Prompts(inputs=tiny_audio_llm.encode(texts, sounds))


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(10, 300, (3, 4), generator=torch.Generator().manual_seed(1))


def test_chunks_have_the_gradients_of_whole_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(3, 5, 8, generator=generator), torch.randn(11, 8, generator=generator)
    ids = torch.randint(11, (3, 5), generator=generator)
    gradients = []
    for chunk in (0, 4, 15, 99):
        states, head = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if chunk:
            found, bits = head_log_probs(
                lambda x, head=head: x @ head.T,
                states,
                ids,
                temperature=0.7,
                chunk=chunk,
                with_entropies=True,
            )
        else:
            logits = states @ head.T
            found, bits = completion_log_probs(logits, ids, 0.7), entropies(logits, 0.7)
        (found * torch.arange(15).view(3, 5)).sum().backward()
        assert not bits.requires_grad
        gradients.append((found.detach(), bits, states.grad, head.grad))
    for other in gradients[1:]:
        for value, expected in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


class Widest(TorchDispatchMode):
    """Counts the rows of the tensors that are as wide as the vocabulary."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vocabulary, self.width, self.rows = vocabulary, width, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else [found]:
            if isinstance(value, Tensor) and value.shape[-1:] == (self.vocabulary,):
                rows = value.numel() // self.vocabulary
                self.rows = max(self.rows, 0 if rows == self.width else rows)  # but for the head's weight
        return found


@pytest.mark.parametrize("share", [False, True], ids=["a row each", "shared prefix"])
def test_a_model_never_has_the_logits_of_all_tokens(
    tiny_audio_llm: AudioLLM, prompts: Prompts, ids: Tensor, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_audio_llm.model
    text = model.config.get_text_config()
    vocabulary = text.vocab_size
    monkeypatch.setattr(log_probs, "CHUNK_LOGITS", 3 * vocabulary)
    gradients = []
    for way in ("whole", "chunks"):
        model.zero_grad()
        with Widest(vocabulary, text.hidden_size) as seen:
            if way == "whole":
                values = completion_log_probs(
                    completion_logits(tiny_audio_llm, prompts, ROWS, ids, MASK), ids
                )
            else:
                values, _ = score_completions(tiny_audio_llm, prompts, ROWS, ids, MASK, share_prefix=share)
            (values * MASK).sum().backward()
        assert seen.rows == (12 if way == "whole" else 3)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any("audio_tower" in name for name in gradients[0])
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-4)


class Scaled(nn.Module):
    """Heeds one setting of the two."""

    def __init__(self) -> None:
        super().__init__()
        text = SimpleNamespace(logits_scaling=3.0, final_logit_softcapping=2.0)
        self.config = SimpleNamespace(get_text_config=lambda: text)

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.config.get_text_config().logits_scaling


def test_what_a_model_does_after_its_head_is_done_at_it() -> None:
    model, logits = Scaled(), torch.tensor([3.0, -30.0])
    expected = model(logits)
    with plain_logits(model) as scale:
        torch.testing.assert_close(scale(logits), expected)
        torch.testing.assert_close(model(logits), logits)
    torch.testing.assert_close(model(logits), expected)


def test_a_model_that_does_something_unknown_after_its_head_is_refused(
    tiny_audio_llm: AudioLLM, prompts: Prompts, ids: Tensor
) -> None:
    class Doubled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.module, self.config = model, model.config

        def forward(self, **inputs: Any) -> Any:
            found = self.module(**inputs)
            found.logits = found.logits * 2
            return found

    tiny_audio_llm.model = Doubled(tiny_audio_llm.model)
    with pytest.raises(ValueError, match="after the head in a way that r1-aqa does not know"):
        score_completions(tiny_audio_llm, prompts, ROWS, ids, MASK)


def test_a_head_is_itself_again_after_the_block() -> None:
    head = nn.Linear(2, 3)
    hidden = torch.ones(1, 2)
    expected = head(hidden)
    with reading_head(head, lambda project, hidden: project(hidden) + 1):
        torch.testing.assert_close(head(hidden), expected + 1)
    assert torch.equal(head(hidden), expected)
