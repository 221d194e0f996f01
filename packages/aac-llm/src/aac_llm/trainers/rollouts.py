"""Captions drawn from a captioner to learn from: their tokens and texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from aac_llm.models.bridge import AcousticTokens
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.generation import end_tokens, generate_tokens
from aac_llm.models.prompt import IGNORED


@dataclass(frozen=True)
class Rollouts:
    """Captions of a batch of clips, those of a clip side by side."""

    labels: Tensor
    """`(rollouts, length)` int64: tokens up to and including the end, then -100."""
    texts: list[str]
    """Without special tokens."""

    @property
    def mask(self) -> Tensor:
        """`(rollouts, length)` bool: True at a caption's tokens."""
        return self.labels != IGNORED


@torch.no_grad()
def roll_out(
    model: CaptionModel,
    acoustic: AcousticTokens,
    *,
    num_rollouts: int,
    max_new_tokens: int,
    temperature: float,
) -> Rollouts:
    """Draw captions of encoded sounds from the model's whole distribution; it is in evaluation mode.

    Nothing is cut from the distribution (top_p, fewest tokens), as the log-probabilities that are learned
    from assume.
    """
    tokens, _ = generate_tokens(
        model.decoder,
        model.assemble(acoustic),
        num_beams=1,
        do_sample=True,
        temperature=temperature,
        top_p=1.0,
        top_k=0,
        max_new_tokens=max_new_tokens,
        num_return_sequences=num_rollouts,
    )
    texts = model.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    labels = cut_at_end(tokens, end_tokens(model.decoder).to(tokens.device))
    return Rollouts(labels, [text.strip() for text in texts])


def cut_at_end(tokens: Tensor, ends: Tensor) -> Tensor:
    """Return tokens `(rollouts, length)` with -100 behind the first end token of each row.

    >>> cut_at_end(torch.tensor([[5, 2, 7], [5, 6, 7]]), torch.tensor([2])).tolist()
    [[5, 2, -100], [5, 6, 7]]
    """
    is_end = torch.isin(tokens, ends).long()
    # The end itself counts: no end comes before it.
    return tokens.masked_fill(is_end.cumsum(1) - is_end > 0, IGNORED)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Draw from a seed of its own, and leave the generators outside as they are.

    What is drawn at an update depends on seed, update, pass and process alone, also after a resume.
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def weights(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> Iterator[None]:
    """Put other values in the place of parameters for a while; nothing is copied."""
    own = [parameter.data for parameter in parameters]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(parameters, own, strict=True):
            parameter.data = value


def be_still(model: CaptionModel) -> None:
    """Switch off what differs from pass to pass (dropout, BatchNorm's statistics), but keep recomputation.

    Captions and the log-probabilities that are learned from would be of different networks otherwise.
    """
    model.eval()
    for module in model.decoder.modules():
        # transformers recomputes a layer in the backward pass only in training mode; the encoder always does.
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
