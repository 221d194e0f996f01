"""Log-probabilities of completions, with each prompt's sound encoded once for all its rollouts.

TRL repeats a prompt for each of its G rollouts, mel features and all, and the model would encode the same
clip G times in every pass. Here a pass is given the distinct prompts. On their way from the encoder into the
language model they are laid out for the rollouts and the completions are appended, and only the positions
that predict a completion reach the language model's head: the logits of a prompt of 750 audio tokens over
156,000 words are never there. Everything happens inside one call of the model, so that what wraps it (DDP,
FSDP, DeepSpeed, peft) works as always, and gradients reach whatever is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from r1_aqa.models.audio_llm import Family, head_of, keep_last, language_model


@dataclass(frozen=True)
class Prompts:
    """Distinct prompts of a batch: as features, or as what the frozen encoder made of them.

    Attributes:
        inputs: the processor's tensors, padded on the left; None when `embeddings` are given.
        embeddings: a tensor `(length, width)` for each prompt, without padding; None when `inputs` are given.
    """

    inputs: dict[str, Tensor] | None = None
    embeddings: Sequence[Tensor] | None = None

    def __post_init__(self) -> None:
        if (self.inputs is None) == (self.embeddings is None):
            raise ValueError("give the prompts either as inputs or as embeddings")


def completion_logits(
    model: nn.Module,
    family: Family,
    prompts: Prompts,
    rows: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
) -> Tensor:
    """Logits that predict each token of the completions: `(rollouts, length, vocabulary)`.

    Args:
        model: the audio LLM, bare or wrapped.
        family: what kind it is.
        prompts: the distinct prompts.
        rows: `(rollouts,)` int64, the prompt of each rollout.
        completion_ids: `(rollouts, length)` int64, padded on the right.
        completion_mask: `(rollouts, length)`, 1 for tokens that count.
    """
    length = completion_ids.shape[1]
    bare = unwrap(model)
    tail = embedding_of(bare)(completion_ids)  # (rollouts, length, width)
    with keep_last(head_of(bare, family), length + 1):
        if prompts.embeddings is not None:
            heads, mask = pad_left([prompts.embeddings[row] for row in rows.tolist()])
            merged = torch.cat([heads.to(tail), tail], 1)
            logits = model(
                inputs_embeds=merged,
                attention_mask=torch.cat([mask.to(completion_mask), completion_mask], 1),
                use_cache=False,
            ).logits
        else:
            assert prompts.inputs is not None
            with _lay_out(language_model(bare, family), prompts.inputs, rows, tail, completion_mask):
                logits = model(**prompts.inputs, use_cache=False).logits
    return logits[:, :-1]


def completion_log_probs(logits: Tensor, completion_ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token that was sampled, `(rollouts, length)`, at the sampling temperature.

    Row by row: the logits in float32 of all rows at once would be several times the logits' memory.
    """
    picked = [
        (row.float() / temperature).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        for row, ids in zip(logits, completion_ids, strict=True)
    ]
    return torch.stack(picked)


def entropies(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of each prediction, `(rollouts, length)`; without gradients."""
    with torch.no_grad():
        rows = [(row.float() / temperature).log_softmax(-1) for row in logits]
        return torch.stack([-(row.exp() * row).sum(-1) for row in rows])


def pad_left(embeddings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`(rows, longest, width)` with zeros before the shorter ones, and the mask of what counts."""
    longest = max(len(each) for each in embeddings)
    padded = torch.stack([nn.functional.pad(each, (0, 0, longest - len(each), 0)) for each in embeddings])
    lengths = torch.tensor([len(each) for each in embeddings], device=padded.device)
    mask = torch.arange(longest, device=padded.device) >= longest - lengths[:, None]
    return padded, mask.long()


def unwrap(model: nn.Module) -> nn.Module:
    """The model of transformers or peft inside what accelerate, DDP or DeepSpeed put around it."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


def embedding_of(model: nn.Module) -> nn.Module:
    """The embedding of text tokens."""
    return model.get_input_embeddings()  # type: ignore[operator]


@contextmanager
def _lay_out(
    inner: nn.Module, inputs: dict[str, Tensor], rows: Tensor, tail: Tensor, tail_mask: Tensor
) -> Iterator[None]:
    """Within it the language model is given prompt and completion of each rollout."""
    mask = torch.cat([inputs["attention_mask"][rows].to(tail_mask), tail_mask], 1)

    def expand(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        merged = kwargs["inputs_embeds"][rows]
        kwargs |= {"inputs_embeds": torch.cat([merged, tail.to(merged)], 1), "attention_mask": mask}
        return args, kwargs | {"position_ids": None}

    handle = inner.register_forward_pre_hook(expand, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
