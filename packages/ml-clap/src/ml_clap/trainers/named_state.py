"""What learns in a run by the names of its weights: one form, however the processes hold them.

    {"weight": {name: tensor}, "exp_avg": {...}, "exp_avg_sq": {...}, "step": {...}, "average": {...}}

A checkpoint is whole (one file, weights by name and the optimizer's state by number, as torch has it) or in
parts (`torch.distributed.checkpoint`, each process writing what it holds as safetensors: torch's own form
names them in a pickle). Both can be read into any number of processes, whatever shares the weights out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

NamedState = dict[str, dict[str, Tensor]]
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's two averages, as torch names them."""


def learning(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def as_vector(tensor: Tensor) -> Tensor:
    """Return a scalar as a vector of one element, and anything else as it is."""
    return tensor.view(1) if tensor.ndim == 0 else tensor


def make_vectors_of_scalars(model: nn.Module) -> None:
    """Make vectors of one element of a model's own scalars: neither FSDP 2 nor DeepSpeed takes a scalar."""
    for name, weight in list(model.named_parameters(recurse=False)):
        setattr(model, name, nn.Parameter(as_vector(weight.detach()), requires_grad=weight.requires_grad))


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer, average: dict | None) -> NamedState:
    """Return the state of torch's own optimizer; its tensors are the optimizer's, not copies.

    State that the optimizer does not have yet is made, with zeros.
    """
    state: NamedState = {"weight": {}, "step": {}, **{kind: {} for kind in MOMENTS}}
    for name, weight in learning(model).items():
        own = optimizer.state[weight]
        own.setdefault("step", torch.tensor(0.0))
        state["weight"][name] = as_vector(weight.detach())
        state["step"][name] = own["step"]
        for kind in MOMENTS:
            state[kind][name] = as_vector(own.setdefault(kind, torch.zeros_like(weight.detach())))
    if average is not None:
        state["average"] = {name: as_vector(value) for name, value in average.items()}
    return state


def from_whole(kept: dict[str, Any], names: Sequence[str]) -> NamedState:
    """Return the state that a whole checkpoint keeps.

    Args:
        kept: What `Learner.state_dict` made.
        names: Names of the weights in the order in which the optimizer has them.
    """
    numbered = kept["optimizer"]["state"]
    state: NamedState = {"weight": {name: kept["model"][name] for name in names}}
    for kind in ("step", *MOMENTS):
        state[kind] = {
            name: numbered[number][kind] for number, name in enumerate(names) if number in numbered
        }
    if kept["average"] is not None:
        state["average"] = kept["average"]["average"]
    return state


def to_whole(state: NamedState, names: Sequence[str], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the optimizer's state as torch's `state_dict` has it; see `from_whole`.

    Args:
        state: Whole tensors.
        names: Names of the weights in the order in which the optimizer has them.
        groups: The optimizer's groups of parameters.
    """
    numbered = {
        number: {kind: state[kind][name] for kind in ("step", *MOMENTS)} for number, name in enumerate(names)
    }
    counts = [len(group["params"]) for group in groups]
    firsts = [sum(counts[:place]) for place in range(len(counts))]
    settings = [
        {name: value for name, value in group.items() if name != "params"}
        | {"params": list(range(first, first + count))}
        for group, first, count in zip(groups, firsts, counts, strict=True)
    ]
    return {"state": numbered, "param_groups": settings}


def write_parts(state: NamedState, folder: Path) -> None:
    """Write a state in parts; each process writes what it holds, and all must call this."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    dcp.save(state, storage_writer=writer)


def read_parts(state: NamedState, folder: Path) -> None:
    """Read parts into the tensors of `state`, whatever number of processes wrote them; all must call this.

    Raises:
        ValueError: The parts are damaged, or of other weights.
    """
    reader = HuggingFaceStorageReader(str(folder))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="torch.distributed is disabled"
            )  # one process: of course
            dcp.load(state, storage_reader=reader, no_dist=not dist.is_initialized())
    except (CheckpointException, SafetensorError, RuntimeError, ValueError, OSError, KeyError) as error:
        reason = str(error).strip().rpartition("\n")[2]  # torch puts every process's traceback before it
        raise ValueError(
            f"{folder} cannot be read ({reason}); delete its checkpoint to resume from the one before it"
        ) from error
