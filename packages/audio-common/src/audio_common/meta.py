"""Modules made without memory and without random numbers, for weights that are read next.

On the meta device `Tensor.normal_` goes through a reference implementation in Python that imports
`torch._dynamo`, and sympy with it: five seconds of processor time, to draw nothing. Every start of a program
that loads a model would pay them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS: tuple[Any, ...] = (Tensor.normal_, Tensor.uniform_, nn.init.normal_)


class NoDraws(TorchFunctionMode):
    """Within this mode initialization leaves tensors on the meta device as they are: they have no values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, unless it would fill such a tensor with random numbers."""
        kwargs = kwargs or {}
        if func in _DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within the block tensors are made on the meta device, and nothing is drawn for them."""
    with torch.device("meta"), NoDraws():
        yield
