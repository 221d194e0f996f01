"""The loss of ML-CLAP (arXiv 2406.07012): symmetric InfoNCE with soft same-clip targets, and its regularizer.

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
    audio: Tensor, text: Tensor, temperature: Tensor | float, clip_ids: Tensor | None = None
) -> Tensor:
    """Return symmetric InfoNCE: the mean of the audio-to-text and text-to-audio cross-entropies.

    Args:
        audio: Embeddings `(batch, dim)`, L2-normalized.
        text: Embeddings `(batch, dim)`, row i describing row i of `audio`.
        temperature: Similarities are divided by it.
        clip_ids: Number of the clip of each row, `(batch,)`. Rows of one clip are positives of each other and
            share the target evenly; without it every other row is a negative.

    Returns:
        A scalar, computed in float32.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    _check_pair(audio, text)
    # In float32: with a temperature of 0.01, bfloat16's rounding of a cosine would be 0.4 in a logit.
    logits = audio.float() @ text.float().T / temperature  # (audio rows, text rows)
    if clip_ids is None:
        targets = torch.eye(len(logits), device=logits.device)
    else:
        if clip_ids.shape != (len(logits),):
            raise ValueError(f"expected clip_ids of shape ({len(logits)},), got {tuple(clip_ids.shape)}")
        # Captions of one clip are no negatives of each other; they share the probability evenly.
        targets = (clip_ids[:, None] == clip_ids[None, :]).float()
        targets = targets / targets.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def embedding_regularizer(audio: Tensor, text: Tensor) -> Tensor:
    """Return the paper's embedding regularization: mean|e| / sqrt(sum e²) of each tower, added.

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
