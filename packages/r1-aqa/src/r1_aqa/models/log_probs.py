"""Log-probabilities of completions, with each prompt's audio encoded once for all its rollouts.

TRL repeats a prompt for each of its G rollouts, mel features and all, and the model would encode the same
clip G times in every pass. Here a pass is given the distinct prompts. On their way from the encoder into the
language model the completions are appended, and only the positions that predict a completion reach the
language model's head. Everything happens inside one call of the model, the embedding of the completions too,
so that what wraps it (DDP, FSDP, DeepSpeed, peft) works as always, and gradients reach whatever is trained.

The logits of 8 rollouts of 256 tokens over 156,000 words are 1.3 GB in float32, their softmax and its
gradient as much again. `score_completions` never has them all: the head is run over some positions at a time,
the log-probability of the sampled token is kept, and the backward pass runs the head once more (peak memory:
`benchmarks/head.py`).

Two ways to place completions give the same logits and gradients (`tests/models/test_log_probs.py`):

* a row for each rollout, the prompt's embeddings before it;
* `share_prefix`: a row for each prompt, all its rollouts one after another behind it
  (`r1_aqa.models.shared_prefix`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.chat import pad_left
from r1_aqa.models.head import Project, Read, plain_logits, reading_head
from r1_aqa.models.shared_prefix import lay_out, pack, prefix_attention, prefix_positions, unpack

CHUNK_LOGITS = 2**25
"""Logits that exist at once: 134 MB in float32, 215 positions of Qwen2-Audio."""


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

    def for_model(self) -> dict[str, Any]:
        """Return what the model is called with."""
        if self.inputs is not None:
            return self.inputs
        assert self.embeddings is not None
        merged, mask = pad_left(self.embeddings)
        return {"inputs_embeds": merged, "attention_mask": mask}


# -- log-probabilities of logits --------------------------------------------------------------------------


def completion_log_probs(logits: Tensor, completion_ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probability of each sampled token, `(rollouts, length)`, at the sampling temperature.

    Row by row: the logits in float32 of all rows at once would be several times the logits' memory.
    """
    picked = [
        (row.float() / temperature).log_softmax(-1).gather(-1, ids[:, None])[:, 0]
        for row, ids in zip(logits, completion_ids, strict=True)
    ]
    return torch.stack(picked)


def entropies(logits: Tensor, temperature: float = 1.0, *, with_gradient: bool = False) -> Tensor:
    """Return the entropy in nats of each prediction, `(rollouts, length)`; without gradients by default."""
    with torch.set_grad_enabled(with_gradient and torch.is_grad_enabled()):
        rows = [(row.float() / temperature).log_softmax(-1) for row in logits]
        return torch.stack([-(row.exp() * row).sum(-1) for row in rows])


def head_log_probs(
    project: Project,
    hidden: Tensor,
    completion_ids: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int,
    with_entropies: bool = False,
    learn_entropies: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return what `completion_log_probs` and `entropies` return, without all logits at once.

    The head is run over some positions at a time, and once more in the backward pass.

    Args:
        project: hidden states `(positions, width)` -> logits `(positions, vocabulary)`.
        hidden: `(rollouts, length, width)`, those that predict the tokens.
        completion_ids: `(rollouts, length)` int64.
        temperature: at which they were sampled.
        chunk: positions at a time.
        with_entropies: return entropies, too; else None.
        learn_entropies: entropies have gradients, for a bonus for them.
    """

    def read(states: Tensor, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        logits = project(states)[None]
        log_probs = completion_log_probs(logits, ids[None], temperature)[0]
        # Last, for the backward pass recomputes up to what it needs, which entropies seldom are.
        bits = entropies(logits, temperature, with_gradient=learn_entropies) if with_entropies else None
        return log_probs, None if bits is None else bits[0]

    parts = [
        checkpoint(read, states, ids, use_reentrant=False) if torch.is_grad_enabled() else read(states, ids)
        for states, ids in zip(
            hidden.flatten(0, 1).split(chunk), completion_ids.flatten().split(chunk), strict=True
        )
    ]
    log_probs, bits = zip(*parts, strict=True)
    shape = completion_ids.shape
    return torch.cat(log_probs).view(shape), torch.cat(bits).view(shape) if with_entropies else None


# -- completions behind their prompts ---------------------------------------------------------------------


def score_completions(
    llm: AudioLLM,
    prompts: Prompts,
    rows: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    *,
    temperature: float = 1.0,
    share_prefix: bool = False,
    with_entropies: bool = False,
    learn_entropies: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return the log-probability of each token of the completions, and the entropy of its prediction.

    Args:
        llm: the audio LLM; its model bare or wrapped.
        prompts: the distinct prompts.
        rows: `(rollouts,)` int64, the prompt of each rollout.
        completion_ids: `(rollouts, length)` int64, padded on the right.
        completion_mask: `(rollouts, length)`, 1 for tokens that count.
        temperature: at which they were sampled.
        share_prefix: read each prompt once for all its completions; the family's positions must be plain.
        with_entropies: return entropies; else None.
        learn_entropies: these have gradients, for a bonus for them.

    Returns:
        `(rollouts, length)` float32 each.

    Raises:
        ValueError: the model changes what its head returned in a way that is not known.
    """
    owner: Any = llm.head_owner()
    vocabulary = owner.config.get_text_config().vocab_size
    kept: list[tuple[Tensor, Tensor | None]] = []
    with plain_logits(owner) as scale:

        def read(project: Project, hidden: Tensor) -> Tensor:
            kept.append(
                head_log_probs(
                    lambda states: scale(project(states)),
                    hidden,
                    completion_ids,
                    temperature=temperature,
                    chunk=max(1, CHUNK_LOGITS // vocabulary),
                    with_entropies=with_entropies,
                    learn_entropies=learn_entropies,
                )
            )
            log_probs, bits = kept[0]
            learned = [log_probs, bits] if learn_entropies and bits is not None else [log_probs]
            # Three axes, as logits have; a copy, for FSDP wants no view.
            return torch.stack(learned, -1)

        tails = rows, completion_ids, completion_mask
        found = _run(llm, prompts, *tails, read, share_prefix=share_prefix)
    log_probs, bits = kept[0]
    if not torch.allclose(found[..., 0].detach(), log_probs.detach(), rtol=0, atol=0, equal_nan=True):
        raise ValueError(
            f"{type(owner).__name__} changes its logits after the head in a way that r1-aqa "
            "does not know, so that log-probabilities cannot be read there; see r1_aqa.models.head.SCALINGS"
        )
    # What came out of the wrapped model: FSDP and ZeRO-3 gather weights when its gradient arrives.
    return found[..., 0], found[..., 1] if found.shape[-1] > 1 else bits


def completion_logits(
    llm: AudioLLM, prompts: Prompts, rows: Tensor, completion_ids: Tensor, completion_mask: Tensor
) -> Tensor:
    """Return the logits that predict each token of the completions: `(rollouts, length, vocabulary)`.

    All at once, for a few tokens; arguments as those of `score_completions`.
    """
    return _run(llm, prompts, rows, completion_ids, completion_mask, _logits, share_prefix=False)


def shared_prefix_logits(
    llm: AudioLLM, prompts: Prompts, rows: Tensor, completion_ids: Tensor, completion_mask: Tensor
) -> Tensor:
    """Return what `completion_logits` returns, with each prompt read once."""
    return _run(llm, prompts, rows, completion_ids, completion_mask, _logits, share_prefix=True)


def _logits(project: Project, hidden: Tensor) -> Tensor:
    return project(hidden)


def _run(
    llm: AudioLLM,
    prompts: Prompts,
    rows: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    read: Read,
    *,
    share_prefix: bool,
) -> Tensor:
    """Return what `read` makes of the hidden states that predict the completions."""
    given = prompts.for_model()
    place = _place_behind if share_prefix else _place_in_rows
    append, select = place(llm, given["attention_mask"], rows, completion_ids, completion_mask)
    with (
        reading_head(llm.head(), lambda project, hidden: read(project, select(hidden))),
        llm.taking_embeddings(),
        llm.giving(append),
    ):
        return llm.model(**given, use_cache=False).logits


Append = Callable[[dict[str, Any]], dict[str, Any]]
"""The language model's keyword arguments for prompts -> those that are different with completions."""
Select = Callable[[Tensor], Tensor]
"""All hidden states -> those that predict each token of the completions, `(rollouts, length, width)`."""


def _place_in_rows(
    llm: AudioLLM, prompt_mask: Tensor, rows: Tensor, ids: Tensor, mask: Tensor
) -> tuple[Append, Select]:
    """Give each rollout a row, its prompt before it."""
    whole_mask = torch.cat([prompt_mask[rows].to(mask), mask], 1)

    def append(kwargs: dict[str, Any]) -> dict[str, Any]:
        merged = kwargs["inputs_embeds"][rows]
        whole = torch.cat([merged, llm.embed(ids).to(merged)], 1)
        # Positions were counted for the prompts; the language model counts anew.
        return {"inputs_embeds": whole, "attention_mask": whole_mask, "position_ids": None}

    # One position earlier than the completion: the prompt's last one predicts its first token.
    return append, lambda hidden: hidden[:, -ids.shape[1] - 1 : -1]


def _place_behind(
    llm: AudioLLM, prompt_mask: Tensor, rows: Tensor, ids: Tensor, mask: Tensor
) -> tuple[Append, Select]:
    """Give each prompt a row, its rollouts one after another behind it."""
    layout, prompts = lay_out(rows), len(prompt_mask)
    prompt_mask, tail_mask = prompt_mask.bool(), pack(mask, prompts, layout).bool()
    seen, positions = prefix_attention(prompt_mask, tail_mask), prefix_positions(prompt_mask, tail_mask)

    def append(kwargs: dict[str, Any]) -> dict[str, Any]:
        merged = kwargs["inputs_embeds"]
        tails = pack(llm.embed(ids), prompts, layout).flatten(1, 2)
        whole = torch.cat([merged, tails.to(merged)], 1)
        # Attention of transformers adds this to its scores: (prompts, 1, T, T).
        bias = torch.zeros(seen.shape, dtype=whole.dtype, device=whole.device)
        bias = bias.masked_fill(~seen, torch.finfo(whole.dtype).min)[:, None]
        return {"inputs_embeds": whole, "attention_mask": bias, "position_ids": positions}

    count = layout.places * ids.shape[1]
    return append, lambda hidden: unpack(hidden[:, -count - 1 :], layout)
