"""`benchmarks/real_size.py` runs from end to end with a small model."""

import json
from pathlib import Path
from runpy import run_path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
FLAGS = "--tiny --batch_sizes 2 --steps 1 --max_new_tokens 2 --max_seconds 3"


def test_real_size_measures_every_item_in_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    main = run_path(str(BENCHMARKS / "real_size.py"))["main"]
    assert main([*FLAGS.split(), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(row["item"], row["way"]) for row in found["rows"]] == [
        ("training, 2 clips", "ours"),
        ("training, 2 clips", "authors"),
        ("captions, 3 beams", "ours"),
        ("captions, 3 beams", "authors"),
    ]
    assert all(0 < row["share_of_peak"] < 1 and row["measured"]["seconds"] > 0 for row in found["rows"])
    assert list(found["ratios"]) == [
        "training, 2 clips, against authors",
        "captions, 3 beams, against authors",
    ]
    assert "| share of peak |" in capsys.readouterr().out
