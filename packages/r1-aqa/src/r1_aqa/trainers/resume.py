"""The weights of a checkpoint, back in the model that is trained in full.

transformers 5 saves a model under the names of its published files. On resuming, its Trainer looks for these
names in the model as they are, finds none, and goes on without a word: with the optimizer of the checkpoint
and the weights of the start. Here they are read as every published model is, and all of them must fit.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel


def load_weights(model: Any, checkpoint: str) -> bool:
    """Load them, if `model` is a bare model of transformers; False, and nothing done, if it is wrapped.

    Adapters, FSDP and DeepSpeed have ways of their own, which Trainer takes.

    Raises:
        RuntimeError: the checkpoint is of another model.
    """
    if not isinstance(model, PreTrainedModel):
        return False
    kind: Any = type(model)
    model.load_state_dict(kind.from_pretrained(checkpoint, dtype=model.dtype).state_dict())
    return True
