"""The script for a GPU runs on a CPU with a small encoder: one table, and JSON."""

import json
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "real_size.py"


def test_real_size_runs_small(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--tiny", "--repeats", "1", "--json", tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "| mixed int8 | ours |" in done.stdout
    assert re.search(r"mixed bf16, against authors: [\d.]+ times as fast", done.stdout)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert {row["way"] for row in found["rows"]} == {"ours", "authors", "fp32"}
    assert all(row["measured"]["seconds"] > 0 for row in found["rows"])
