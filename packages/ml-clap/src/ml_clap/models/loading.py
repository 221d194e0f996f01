"""A model by its name, whatever kind it is: for every command, and for `Retriever.from_pretrained`."""

from __future__ import annotations

from pathlib import Path

from ml_clap.models.checkpoint import Mode, find_model
from ml_clap.models.device import Dtype, choose_device, choose_dtype
from ml_clap.models.dual_encoder import DualEncoder
from ml_clap.models.ml_clap import MLCLAP


def load_model(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    mode: Mode | None = None,
    text_tokenizer: str | Path | None = None,
) -> DualEncoder:
    """Load a model in evaluation mode.

    Args:
        source: A model folder, a training run (its `best` model, else its `last`), a hub id, or one of the
            authors' checkpoints.
        device: cpu, cuda, cuda:1, mps; `auto`: the GPU if there is one.
        dtype: Precision of the weights.
        mode: See `MLCLAP.from_pretrained`.
        text_tokenizer: See `MLCLAP.from_pretrained`.

    Raises:
        ValueError: The source is not a model.
    """
    chosen = choose_device(device)
    return MLCLAP.from_pretrained(
        find_model(source),
        device=chosen,
        dtype=choose_dtype(dtype, chosen),
        mode=mode,
        text_tokenizer=text_tokenizer,
    )
