"""What a checkpoint keeps of a `Learner`, whole or in parts, and how another one goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml_clap.trainers.learner import Learner
from ml_clap.trainers.named_state import (
    MOMENTS,
    NamedState,
    as_vector,
    from_whole,
    learning,
    read_parts,
    to_whole,
)
from ml_clap.trainers.processes import writes_parts
from ml_clap.trainers.torch_engine import TorchEngine


def state_dict(learner: Learner) -> dict[str, Any]:
    """Return what a checkpoint keeps; all processes must call this, and the main one gets it.

    A checkpoint in parts (`parts_of`) has here what is not in them.
    """
    average, scaler = learner.average, learner.accelerator.scaler
    kept: dict[str, Any] = {
        "model": _buffers(learner),
        "optimizer": None,
        "average": None if average is None else {"num_updates": average.num_updates},
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    if writes_parts(learner.accelerator):
        return kept
    if not learner.is_shared_out:
        weights = {name: weight.detach() for name, weight in learning(learner.model).items()}
        kept |= {"model": weights | kept["model"], "optimizer": learner.engine.optimizer.state_dict()}
        return kept if average is None else kept | {"average": average.state_dict()}
    state = learner.engine.whole_state(learner.averages())
    if state is None:
        return {}
    kept["model"] |= state["weight"]
    kept["optimizer"] = to_whole(state, learner.names, learner.engine.optimizer.param_groups)
    if average is not None:
        kept["average"]["average"] = state["average"]
    return kept


def parts_of(learner: Learner) -> NamedState | None:
    """Return what this process writes of a checkpoint in parts; None: checkpoints are whole."""
    if not writes_parts(learner.accelerator):
        return None
    assert isinstance(learner.engine, TorchEngine)
    return learner.engine.state(learner.averages())


@torch.no_grad()
def load_state_dict(learner: Learner, kept: dict[str, Any], parts: Path | None = None) -> None:
    """Go on from what a checkpoint keeps, whatever number of processes wrote it; all must call this.

    Args:
        learner: To change.
        kept: What `state_dict` returned.
        parts: Folder of its parts; None: it is whole.

    Raises:
        ValueError: The parts are damaged, or of another model.
    """
    engine, average = learner.engine, learner.average
    if average is not None:
        average.num_updates = kept["average"]["num_updates"]
    if learner.accelerator.scaler is not None:
        learner.accelerator.scaler.load_state_dict(kept["scaler"])
    for name, value in _buffers(learner).items():  # the frozen weights are as they were made
        value.copy_(kept["model"][name])
    if parts is not None and isinstance(engine, TorchEngine):
        read_parts(engine.state(learner.averages()), parts)
        return
    state = from_whole(kept, learner.names) if parts is None else _read_whole(learner, parts)
    engine.load(state, learner.averages())


def _read_whole(learner: Learner, parts: Path) -> NamedState:
    """Read parts into whole tensors on the CPU."""
    shapes = {name: getattr(w, "ds_shape", w.shape) for name, w in learning(learner.model).items()}
    kinds = ("weight", *MOMENTS)
    state: NamedState = {
        kind: {name: as_vector(torch.empty(shape)) for name, shape in shapes.items()} for kind in kinds
    }
    state["step"] = {name: torch.empty(()) for name in shapes}
    read_parts(state, parts)
    return state


def _buffers(learner: Learner) -> dict[str, Tensor]:
    """Return the buffers that a saved model has, which are never shared out."""
    saved = learner.model.state_dict().keys()
    return {name: value for name, value in learner.model.named_buffers() if name in saved}
