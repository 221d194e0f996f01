"""Pack a part of the team's reference numbers for the tests that run without them.

    python pack_model_golden.py FOLDER

FOLDER holds the numbers computed by zyyan4/ml-clap, commit 154393ef8afb25ecb13f06d6e1651586f468aa40
(Apache-2.0), with torch 2.13.0 (CPU): random weights, synthetic inputs, none of its code. The longer clips
and the whole-model gradients are left out for their size.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file


def pack(source: Path, target: Path) -> None:
    """Write the compressed parts in `target`."""
    inputs, outputs = load_file(source / "inputs.safetensors"), load_file(source / "outputs.safetensors")
    kept_inputs = {name: inputs[name] for name in ("pcm.0.3s", "pcm.5s", "text_encoder_output")}
    kept_outputs = {name: each for name, each in outputs.items() if name.startswith(("0.3s.", "5s.", "text"))}
    losses = load_file(source / "loss_outputs.safetensors")
    kept_losses = {name: each for name, each in losses.items() if not name.startswith("full.")}
    files: dict[str, dict[str, Any]] = {
        "model_weights.npz": load_file(source / "weights.safetensors"),
        "model_clips.npz": kept_inputs | kept_outputs,
        "loss.npz": load_file(source / "loss_inputs.safetensors") | kept_losses,
    }
    for name, arrays in files.items():
        np.savez_compressed(target / name, **arrays)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(__file__).parent)
