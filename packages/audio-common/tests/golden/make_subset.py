"""Make the files beside this script from the full set of reference numbers: `make_subset.py FOLDER`.

FOLDER holds weights.safetensors, inputs.safetensors, outputs.safetensors and keys.json.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

SHORT = ("0.3s", "1s", "5s", "16frames", "batchA")
SKIPPED = ("5s.mel_db", "batchA.mel_db")  # 0.4 MB; 0.3s and 1s have theirs


def digest(keys: list[list]) -> str:
    lines = sorted(f"{name} {tuple(shape)} {dtype}" for name, shape, dtype in keys)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    source, here = Path(sys.argv[1]), Path(__file__).parent
    shutil.copyfile(source / "weights.safetensors", here / "ced_weights.safetensors")
    inputs, outputs = load_file(source / "inputs.safetensors"), load_file(source / "outputs.safetensors")
    tensors = {name: inputs[name] for name in ("pcm.0.3s", "pcm.1s", "pcm.5s")}
    tensors |= {
        n: t for n, t in outputs.items() if n.startswith(tuple(f"{c}." for c in SHORT)) and n not in SKIPPED
    }
    save_file(tensors, here / "ced_cases.safetensors")
    models = json.loads((source / "keys.json").read_text())["models"]
    digests = {n: {s: digest(m[f"{s}_keys"]) for s in ("reference", "hf")} for n, m in models.items()}
    (here / "ced_keys.json").write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
