"""What a model is, in a short hash: an index and its queries must come of the same one."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor


def hash_model(state: Mapping[str, Tensor], settings: object) -> str:
    """Return a short stable hash of weights and of the settings that decide an embedding.

    Args:
        state: weights by name, in any order; dtype and shape count.
        settings: told apart by their `repr`.
    """
    digest = blake2b(digest_size=12)
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    digest.update(repr(settings).encode())
    return digest.hexdigest()
