"""Log-probabilities of completions, with each prompt's audio encoded once for all its rollouts.

TRL repeats a prompt for each of its G rollouts, mel features and all, and the model would encode the same
clip G times in every pass. Here a pass is given the distinct prompts. On their way from the encoder into the
language model the completions are appended, and only the positions that predict a completion reach the
language model's head: the logits of a prompt of 750 audio tokens over 156,000 words are never there.
Everything happens inside one call of the model, so that what wraps it (DDP, FSDP, DeepSpeed, peft) works as
always, and gradients reach whatever is trained.

Two ways give the same logits and gradients (`tests/models/test_log_probs.py`):

* `completion_logits`: each rollout is a row, the prompt's embeddings before it;
* `shared_prefix_logits`: each prompt is a row, all its rollouts one after another behind it. A mask lets each
  rollout see the prompt and itself, and its positions go on where the prompt ends. A question about ten
  seconds of audio is some 300 tokens, an answer ten: the language model reads the prompt once, not G times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from r1_aqa.models.audio_llm import AudioLLM, keep_last
from r1_aqa.models.chat import pad_left


@dataclass(frozen=True)
class Prompts:
    """Distinct prompts of a batch: as features, or as the embeddings that the frozen encoder made of them.

    Attributes:
        inputs: the processor's tensors, padded on the left; None when `embeddings` are given.
        embeddings: a tensor `(length, width)` for each prompt, without padding; None when `inputs` are given.
    """

    inputs: dict[str, Tensor] | None = None
    embeddings: Sequence[Tensor] | None = None

    def __post_init__(self) -> None:
        if (self.inputs is None) == (self.embeddings is None):
            raise ValueError("give the prompts either as inputs or as embeddings")

    def __len__(self) -> int:
        return len(self.embeddings if self.inputs is None else self.inputs["input_ids"])  # type: ignore[arg-type]


def completion_log_probs(logits: Tensor, completion_ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probability of each sampled token, `(rollouts, length)`, at the sampling temperature.

    Row by row: the logits in float32 of all rows at once would be several times the logits' memory.
    """
    picked = [
        (row.float() / temperature).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        for row, ids in zip(logits, completion_ids, strict=True)
    ]
    return torch.stack(picked)


def entropies(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the entropy in nats of each prediction, `(rollouts, length)`; without gradients."""
    with torch.no_grad():
        rows = [(row.float() / temperature).log_softmax(-1) for row in logits]
        return torch.stack([-(row.exp() * row).sum(-1) for row in rows])


# -- a row for each rollout -----------------------------------------------------------------------------


def completion_logits(
    llm: AudioLLM, prompts: Prompts, rows: Tensor, completion_ids: Tensor, completion_mask: Tensor
) -> Tensor:
    """Return the logits that predict each token of the completions: `(rollouts, length, vocabulary)`.

    Args:
        llm: the audio LLM; its model bare or wrapped.
        prompts: the distinct prompts.
        rows: `(rollouts,)` int64, the prompt of each rollout.
        completion_ids: `(rollouts, length)` int64, padded on the right.
        completion_mask: `(rollouts, length)`, 1 for tokens that count.
    """
    tail = llm.embedding()(completion_ids)  # (rollouts, length, width)
    # One position more than the completion has: the prompt's last one predicts its first token.
    with keep_last(llm.head(), completion_ids.shape[1] + 1):
        if prompts.embeddings is not None:
            heads, mask = pad_left([prompts.embeddings[row] for row in rows.tolist()])
            logits = llm.model(
                inputs_embeds=torch.cat([heads.to(tail), tail], 1),
                attention_mask=torch.cat([mask.to(completion_mask), completion_mask], 1),
                use_cache=False,
            ).logits
        else:
            assert prompts.inputs is not None
            mask = prompts.inputs["attention_mask"][rows].to(completion_mask)
            mask = torch.cat([mask, completion_mask], 1)

            def expand(kwargs: dict[str, Any]) -> dict[str, Any]:
                merged = kwargs["inputs_embeds"][rows]
                whole = torch.cat([merged, tail.to(merged)], 1)
                # Positions were counted for the prompts; the language model counts anew.
                return {"inputs_embeds": whole, "attention_mask": mask, "position_ids": None}

            with _given(llm.language_model(), expand):
                logits = llm.model(**prompts.inputs, use_cache=False).logits
    return logits[:, :-1]


@contextmanager
def _given(inner: nn.Module, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
    """Call the language model with other keyword arguments, within the block."""

    def replace(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return args, kwargs | change(kwargs)

    # A hook: the family itself merges the audio, and only what comes after is changed.
    handle = inner.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


# -- a row for each prompt ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Places of rollouts in the rows of their prompts.

    Attributes:
        slots: `(rollouts, 2)` the row of each rollout, and its place among the rollouts of this row.
        places: rollouts in a row; rows with fewer are filled up with masked ones.
    """

    slots: Tensor
    places: int


def lay_out(rows: Tensor) -> Layout:
    """Return places for rollouts whose prompts are `rows`, in their order."""
    count: dict[int, int] = {}
    slots = []
    for row in rows.tolist():
        slots.append((row, count.get(row, 0)))
        count[row] = count.get(row, 0) + 1
    return Layout(torch.tensor(slots, device=rows.device), max(count.values()))


def prefix_attention(prompt_mask: Tensor, tail_mask: Tensor) -> Tensor:
    """Return which position sees which: `(prompts, T, T)` bool for T = prompt length + places * length.

    Args:
        prompt_mask: `(prompts, prompt length)` bool, padded on the left.
        tail_mask: `(prompts, places, length)` bool, padded on the right.
    """
    _prompts, places, length = tail_mask.shape
    size = prompt_mask.shape[1]
    device = prompt_mask.device
    # The rollout that a position belongs to, -1 for the prompt.
    owner = torch.cat(
        [
            torch.full((size,), -1, device=device),
            torch.arange(places, device=device).repeat_interleave(length),
        ]
    )
    order = torch.arange(len(owner), device=device)
    # Causal, but a rollout sees its prompt and itself alone, never the rollouts packed before it.
    earlier = order[:, None] >= order[None]
    related = (owner[None] == -1) | (owner[:, None] == owner[None])
    valid = torch.cat([prompt_mask, tail_mask.flatten(1)], 1)
    seen = (earlier & related)[None] & valid[:, None]
    # A padded position sees itself, for attention to nothing is not a number.
    return seen | torch.eye(len(owner), dtype=torch.bool, device=device)[None]


def prefix_positions(prompt_mask: Tensor, tail_mask: Tensor) -> Tensor:
    """Return the position of each token, `(prompts, T)`: every rollout goes on where its prompt ends."""
    _prompts, places, length = tail_mask.shape
    head = (prompt_mask.long().cumsum(1) - 1).clamp(min=0)
    start = prompt_mask.long().sum(1)
    # The same positions for all rollouts of a prompt, as if each stood right behind it.
    tail = start[:, None] + torch.arange(length, device=prompt_mask.device).repeat(places)[None]
    return torch.cat([head, tail], 1)


def shared_prefix_logits(
    llm: AudioLLM, prompts: Prompts, rows: Tensor, completion_ids: Tensor, completion_mask: Tensor
) -> Tensor:
    """Return what `completion_logits` returns, with each prompt read once."""
    layout, length = lay_out(rows), completion_ids.shape[1]
    row, place = layout.slots.unbind(1)
    tails = llm.embedding()(completion_ids)  # (rollouts, length, width)
    # Rollouts of a prompt go one behind the other into its row; empty places stay 0 and are masked.
    packed = tails.new_zeros(len(prompts), layout.places, length, tails.shape[-1])
    packed = packed.index_put((row, place), tails).flatten(1, 2)  # (prompts, places * length, width)
    tail_mask = completion_mask.new_zeros(len(prompts), layout.places, length)
    tail_mask = tail_mask.index_put((row, place), completion_mask).bool()
    if prompts.embeddings is not None:
        merged, mask = pad_left(prompts.embeddings)
        inputs: dict[str, Any] = {"inputs_embeds": merged.to(tails), "attention_mask": mask}
    else:
        assert prompts.inputs is not None
        inputs = prompts.inputs
    prompt_mask = inputs["attention_mask"].bool()
    seen, positions = prefix_attention(prompt_mask, tail_mask), prefix_positions(prompt_mask, tail_mask)

    def append(kwargs: dict[str, Any]) -> dict[str, Any]:
        merged = kwargs["inputs_embeds"]
        whole = torch.cat([merged, packed.to(merged)], 1)
        # Attention of transformers adds this to its scores: (prompts, 1, T, T).
        bias = torch.zeros(seen.shape, dtype=whole.dtype, device=whole.device)
        bias = bias.masked_fill(~seen, torch.finfo(whole.dtype).min)[:, None]
        return {"inputs_embeds": whole, "attention_mask": bias, "position_ids": positions}

    count = layout.places * length
    with keep_last(llm.head(), count + 1), _given(llm.language_model(), append):
        logits = llm.model(**inputs, use_cache=False).logits
    # The prompt's last position predicts the first token of every rollout, each token of a rollout its next.
    last, rest = logits[:, -count - 1 : -count], logits[:, -count:].unflatten(1, (layout.places, length))
    first = last[:, None].expand(-1, layout.places, -1, -1)
    return torch.cat([first, rest[:, :, :-1]], 2)[row, place]
