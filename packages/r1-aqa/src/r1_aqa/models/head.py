"""Read something else than all logits at the language model's head.

The head's own forward is replaced for one call of the model. So its weights are used where the model itself
uses them, inside of whatever wraps it: FSDP and ZeRO-3 have them whole there, in the backward pass too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Project = Callable[[Tensor], Tensor]
"""A head's own forward: hidden states `(..., width)` -> logits `(..., vocabulary)`."""
Read = Callable[[Project, Tensor], Tensor]
"""A head's forward and the hidden states that it was called with -> what the head is to return."""


@contextmanager
def reading_head(head: nn.Module, read: Read) -> Iterator[None]:
    """Let the head return what `read` makes of its hidden states, within the block."""
    own, project = head.__dict__.get("forward"), head.forward
    head.forward = lambda hidden, *_args, **_kwargs: read(project, hidden)  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own


# -- what a model does to its logits after the head -------------------------------------------------------

SCALINGS: dict[str, tuple[Any, Callable[[Tensor, float], Tensor]]] = {
    "logits_scaling": (1.0, lambda logits, value: logits / value),  # Granite
    "final_logit_softcapping": (None, lambda logits, value: (logits / value).tanh() * value),  # Gemma
}
"""Settings of language models by which transformers changes logits after the head: the value that changes
nothing, and the change."""


@contextmanager
def plain_logits(owner: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Switch off, within the block, what a model does to its logits after the head; yield it as a function.

    Args:
        owner: the model that calls the head.
    """
    config: Any = owner.config
    found = [
        (settings, name, getattr(settings, name))
        for name, (neutral, _) in SCALINGS.items()
        for settings in {id(part): part for part in (config, config.get_text_config())}.values()
        if getattr(settings, name, neutral) != neutral and _reads(owner, name)
    ]
    changes = {name: value for _, name, value in found}

    def change(logits: Tensor) -> Tensor:
        for name, value in changes.items():
            logits = SCALINGS[name][1](logits, value)
        return logits

    # Not by `setattr`: Gemma 3n's settings refuse None for a number, though its forward heeds it.
    for settings, name, _ in found:
        settings.__dict__[name] = SCALINGS[name][0]
    try:
        yield change
    finally:
        for settings, name, value in found:
            settings.__dict__[name] = value


def _reads(owner: nn.Module, name: str) -> bool:
    # Not every model heeds all settings of its language model: Granite Speech on transformers 5 does not.
    return name in inspect.unwrap(type(owner).forward).__code__.co_names
