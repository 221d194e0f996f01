"""Pack the retrieval cases of the team's reference numbers for the tests.

    python metrics_pack.py FOLDER

FOLDER holds the numbers computed by zyyan4/ml-clap, commit 154393ef8afb25ecb13f06d6e1651586f468aa40
(Apache-2.0): random embeddings, the ranks and metrics its functions give for them, none of its code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file


def pack(source: Path, target: Path) -> None:
    """Write `metrics_cases.npz` (embeddings, ranks) and `metrics_cases.json` (metrics) in `target`."""
    arrays = load_file(source / "metrics_inputs.safetensors") | load_file(
        source / "metrics_outputs.safetensors"
    )
    small: dict[str, Any] = {
        name: each.astype(np.int16) if each.dtype == np.int64 else each for name, each in arrays.items()
    }
    np.savez_compressed(target / "metrics_cases.npz", **small)
    cases = json.loads((source / "cases.json").read_text("utf-8"))["metrics"]
    (target / "metrics_cases.json").write_text(json.dumps(cases, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(__file__).parent)
