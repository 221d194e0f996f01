"""Texts encoded once, before training: for a text encoder that does not change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ml_clap.models.ml_clap import MLCLAP


class TextTable:
    """The text encoder's vectors of all captions, by their tokens.

    Args:
        model: Its tokenizer and text encoder.
        texts: (caption, language), in an order that is the same in every start of a run: a vector's last bit
            depends on the batch that it was computed in.
        batch_size: Captions encoded at once.
    """

    def __init__(self, model: MLCLAP, texts: Sequence[tuple[str, str]], batch_size: int = 256) -> None:
        self._rows: dict[tuple[int, ...], int] = {}
        parts = []
        for first in range(0, len(texts), batch_size):
            batch = texts[first : first + batch_size]
            ids, mask = model.tokenize([text for text, _ in batch], [language for _, language in batch])
            for row in range(len(batch)):
                self._rows[_key(ids[row], mask[row])] = first + row
            with torch.no_grad():
                parts.append(model.text_encoder(ids.to(model.device), mask.to(model.device)))
        self._vectors = torch.cat(parts)

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors `(batch, dim)` of captions, by their tokens `(batch, length)`."""
        return self._vectors[[self._rows[_key(ids[row], mask[row])] for row in range(len(ids))]]


def _key(ids: Tensor, mask: Tensor) -> tuple[int, ...]:
    return tuple(ids[mask].tolist())
