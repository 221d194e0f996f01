"""Gradient caching: the update of a large batch in the memory of a small one (GradCache, arXiv 2101.06983).

The loss of a batch needs all embeddings, but their graphs only one after another. So each chunk is encoded
twice: first without a graph, for the loss and its gradient in the embeddings; then with one, through which
that gradient goes on to the weights. What is drawn at random (dropout, patch-out, SpecAugment) is the same
both times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor

Chunk = TypeVar("Chunk")
Embeddings = tuple[Tensor, Tensor, Tensor]
"""Audio `(rows, dim)`, texts `(rows, languages, dim)`, and scalars of the loss, which are no rows."""


def backward_in_chunks(
    encode: Callable[[Chunk], Embeddings],
    chunks: Sequence[Chunk],
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    backward: Callable[[Tensor], None],
    synced: Callable[[bool], AbstractContextManager[None]],
    *,
    idle: int = 0,
) -> Tensor:
    """Add a batch's gradients to the weights, and return its loss, a scalar without a graph.

    Args:
        encode: Chunk -> its embeddings; the scalars are the same of every chunk.
        chunks: The parts of the batch in order.
        loss_of: Loss of the embeddings of the whole batch.
        backward: Goes back through the graph of a scalar.
        synced: Whether it is the last chunk -> what its graph is made and gone back through in: several
            processes share their gradients once, with the last one.
        idle: Run the first chunk so many times more, without effect: where processes share the weights out,
            all must gather them equally often, and one may have fewer chunks.
    """
    seeds = torch.randint(2**62, (len(chunks),)).tolist()
    with torch.no_grad():
        encoded = [_seeded(encode, chunk, seed) for chunk, seed in zip(chunks, seeds, strict=True)]
        for _ in range(idle):
            encode(chunks[0])
    sizes = [len(audio) for audio, _, _ in encoded]
    leaves = (
        torch.cat([audio for audio, _, _ in encoded]).requires_grad_(),
        torch.cat([texts for _, texts, _ in encoded]).requires_grad_(),
        encoded[-1][2].detach().requires_grad_(),
    )
    loss = loss_of(*leaves)
    audio_gradient, text_gradient, scale_gradient = torch.autograd.grad(loss, leaves)
    rows = zip(audio_gradient.split(sizes), text_gradient.split(sizes), strict=True)
    for _ in range(idle):
        with synced(False):
            backward(sum(part.sum() * 0.0 for part in _seeded(encode, chunks[0], seeds[0])))  # type: ignore[arg-type]
    for number, (chunk, seed, (of_audio, of_texts)) in enumerate(zip(chunks, seeds, rows, strict=True)):
        is_last = number == len(chunks) - 1
        with synced(is_last):
            audio, texts, scales = _seeded(encode, chunk, seed)
            # Its gradient is the loss's: each embedding times the gradient that the loss has in it.
            onward = (audio * of_audio).sum() + (texts * of_texts).sum()
            # Without effect but in the last one; yet DeepSpeed loses a chunk that fewer weights take part in.
            backward(onward + (scales * scale_gradient).sum() * float(is_last))
    return loss.detach()


def _seeded(encode: Callable[[Chunk], Embeddings], chunk: Chunk, seed: int) -> Embeddings:
    torch.manual_seed(seed)
    return encode(chunk)
