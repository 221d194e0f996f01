"""Time and memory of unpacking a benchmark of 1,000 sounds of 34 s (1.1 GB), laid out as MMAU or MMAR.

python packages/r1-aqa/benchmarks/unpacking.py FOLDER --layout parquet --row_group 100

The sounds are noise, which hardly compresses. The folder is made, and must not exist.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

NUM_SOUNDS, SOUND_BYTES = 1000, 34 * 16_000 * 2
LOAD = "import sys; from r1_aqa.data.benchmark import load_benchmark; load_benchmark(sys.argv[1])"
PEAK = "; print(open('/proc/self/status').read())"


def make_parquet(folder: Path, row_group: int) -> None:
    """Write test_mini.parquet."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    noise = np.random.default_rng(0).bytes(SOUND_BYTES)
    rows = [
        {
            "instruction": f"Question {number}?",
            "choices": ["(A) man", "(B) woman"],
            "answer": "(A) man",
            "context": {"bytes": number.to_bytes(4, "little") + noise, "path": None},
            "other_attributes": json.dumps({"id": f"id-{number}"}),
        }
        for number in range(NUM_SOUNDS)
    ]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(
        table, folder / "test_mini.parquet", row_group_size=row_group, use_dictionary=False
    )


def make_tar(folder: Path) -> None:
    """Write MMAR-meta.json and mmar-audio.tar.gz."""
    import numpy as np

    noise = np.random.default_rng(0).bytes(SOUND_BYTES)
    options = {"choices": ["man", "woman"], "answer": "man", "modality": "speech"}
    rows = [
        {"id": str(number), "audio_path": f"./audio/{number}.wav", "question": "Who?"} | options
        for number in range(NUM_SOUNDS)
    ]
    (folder / "MMAR-meta.json").write_text(json.dumps(rows))
    with tarfile.open(folder / "mmar-audio.tar.gz", "w:gz", compresslevel=1) as archive:
        for number in range(NUM_SOUNDS):
            member = tarfile.TarInfo(f"./audio/{number}.wav")
            member.size = len(noise)
            archive.addfile(member, io.BytesIO(noise))


def main() -> None:
    """Make a folder, load it twice in processes of their own, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=("parquet", "tar"), default="parquet")
    parser.add_argument("--row_group", type=int, default=100)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    if options.layout == "parquet":
        make_parquet(options.folder, options.row_group)
    else:
        make_tar(options.folder)
    for name in ("first", "again"):
        began = time.monotonic()
        command = [sys.executable, "-c", LOAD + PEAK, str(options.folder)]
        status = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
        print(f"{name}: {time.monotonic() - began:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
