"""How far sounds and texts are from matching: ML-CLAP's InfoNCE and regularizer, and the sigmoid loss.

All functions are pure. Over several processes, gather the embeddings first: the loss of the gathered batch is
the loss that one process would compute on the concatenation, and so are the gradients once
DistributedDataParallel has averaged them.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx


def contrastive_loss(
    audio: Tensor,
    text: Tensor,
    temperature: Tensor | float,
    clip_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
) -> Tensor:
    """Return symmetric InfoNCE (ML-CLAP, arXiv 2406.07012): the mean of the cross-entropies of both ways.

    Args:
        audio: Embeddings `(batch, dim)`, L2-normalized.
        text: Embeddings `(texts, dim)`; without `text_ids` row i describes row i of `audio`.
        temperature: Similarities are divided by it.
        clip_ids: Number of the clip of each row of `audio`, `(batch,)`. What has one number matches, and
            shares the target evenly; without it every other row is a negative.
        text_ids: Number of the clip that each text describes, `(texts,)`; default: `clip_ids`.

    Returns:
        A scalar, computed in float32.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    logits = _similarities(audio, text, text_ids) / temperature  # (batch, texts)
    matches = _matches(logits, clip_ids, text_ids)
    # Captions of one clip are no negatives of each other; they share the probability evenly.
    audio_targets, text_targets = (_shared(each) for each in (matches, matches.T))
    return (F.cross_entropy(logits, audio_targets) + F.cross_entropy(logits.T, text_targets)) / 2


def sigmoid_loss(
    audio: Tensor,
    text: Tensor,
    temperature: Tensor | float,
    bias: Tensor | float,
    clip_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
) -> Tensor:
    """Return the sigmoid loss (SigLIP, arXiv 2303.15343, equation 1): every pair is a question by itself.

    The sum of -log sigmoid(z (similarity / temperature + bias)) over all pairs, where z is 1 of a matching
    pair and -1 of any other, divided by the number of sounds.

    Args:
        audio: As in `contrastive_loss`.
        text: Likewise.
        temperature: Likewise (SigLIP's t is 1 / temperature).
        bias: Added to each similarity; at -10 all pairs are taken for wrong at first, as nearly all are.
        clip_ids: As in `contrastive_loss`.
        text_ids: Likewise.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    logits = _similarities(audio, text, text_ids) / temperature + bias
    signs = 2.0 * _matches(logits, clip_ids, text_ids) - 1.0
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def _similarities(audio: Tensor, text: Tensor, text_ids: Tensor | None) -> Tensor:
    if text_ids is None:
        _check_pair(audio, text)
    elif text.ndim != 2 or audio.ndim != 2 or audio.shape[1] != text.shape[1]:
        raise ValueError(
            f"expected audio (batch, dim) and text (texts, dim), got {tuple(audio.shape)} and "
            f"{tuple(text.shape)}"
        )
    # In float32: with a temperature of 0.01, bfloat16's rounding of a cosine would be 0.4 in a logit.
    return audio.float() @ text.float().T


def _matches(logits: Tensor, clip_ids: Tensor | None, text_ids: Tensor | None) -> Tensor:
    """Return 1 where a text describes a sound, else 0: `(batch, texts)` float32."""
    if clip_ids is None:
        return torch.eye(len(logits), device=logits.device)
    text_ids = clip_ids if text_ids is None else text_ids
    for name, ids, count in zip(("clip_ids", "text_ids"), (clip_ids, text_ids), logits.shape, strict=True):
        if ids.shape != (count,):
            raise ValueError(f"expected {name} of shape ({count},), got {tuple(ids.shape)}")
    return (clip_ids[:, None] == text_ids[None, :]).float()


def _shared(matches: Tensor) -> Tensor:
    return matches / matches.sum(dim=1, keepdim=True)


def embedding_regularizer(audio: Tensor, text: Tensor) -> Tensor:
    """Return ML-CLAP's embedding regularization: mean|e| / sqrt(sum e²) of each tower, added.

    Mean and sum run over the whole batch matrix `(batch, dim)`, so the value depends on the batch's size:
    gather before calling it. Scalar, float32.
    """
    _check_pair(audio, text)
    audio, text = audio.float(), text.float()
    return audio.abs().mean() / audio.square().sum().sqrt() + text.abs().mean() / text.square().sum().sqrt()


def gather_with_gradients(tensor: Tensor) -> Tensor:
    """Concatenate `tensor` `(rows, ...)` of every process in rank order, differentiably.

    The processes may hold different numbers of rows (a last batch). The gradient of a row is the sum over all
    processes; as each computes the same loss and DistributedDataParallel takes the mean over processes,
    parameters get exactly the one-process gradient. In a single process the tensor comes back as it is.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    return _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums each row's gradient over the processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor) -> Tensor:
        counts = _row_counts(tensor)
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])  # collectives need equal shapes
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        first = sum(counts[: dist.get_rank()])
        ctx.rows = slice(first, first + len(tensor))  # type: ignore[attr-defined]
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        # Every process computed the same loss: its rows' gradients on all of them belong together.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.rows]  # type: ignore[attr-defined]


def _row_counts(tensor: Tensor) -> list[int]:
    count = torch.tensor([len(tensor)], device=tensor.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    return [int(rows) for rows in torch.cat(counts).tolist()]


def _check_pair(audio: Tensor, text: Tensor) -> None:
    if audio.ndim != 2 or audio.shape != text.shape or not len(audio):
        raise ValueError(
            f"expected audio and text embeddings of one shape (batch, dim), "
            f"got {tuple(audio.shape)} and {tuple(text.shape)}"
        )
