"""`docs/tools/small_benchmarks.py`, and the plans of all packages that it runs."""

import argparse
import re
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOL = run_path(str(ROOT / "docs/tools/small_benchmarks.py"))
PLAN = """
prepare = ["FOLDER/make.py {work}/made"]
[[run]]
script = "good.py"
arguments = "{work}/made"
finds = 'ratio.*'
[[run]]
script = "bad.py"
finds = 'ratio'
"""


@pytest.mark.parametrize("package", ["audio-common", "ml-clap", "aac-llm", "r1-aqa"])
def test_every_script_is_run_or_left_out_with_a_reason(package: str) -> None:
    folder = ROOT / "packages" / package / "benchmarks"
    plan = TOOL["read_plan"](folder)
    named = [run["script"] for run in plan["run"]] + list(plan["left_out"])
    assert sorted(set(named)) == sorted(path.name for path in folder.glob("*.py"))
    assert all(plan["left_out"].values())
    for run in plan["run"]:
        re.compile(run["finds"])
    marks = (folder / "RESULTS.md").read_text(encoding="utf-8")
    assert all(mark in marks for mark in TOOL["MARKS"])


def test_a_script_that_fails_is_a_row_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(PLAN.replace("FOLDER", str(tmp_path)))
    (tmp_path / "make.py").write_text("import sys\nopen(sys.argv[1], 'w').write('7')\n")
    (tmp_path / "good.py").write_text("import sys\nprint('ratio', open(sys.argv[1]).read(), 'times')\n")
    (tmp_path / "bad.py").write_text("raise SystemExit('no sound')\n")
    options = argparse.Namespace(package="made-up", only=[], limit_seconds=60)
    good, bad = TOOL["run_package"](tmp_path, options)
    assert good["found"] == "ratio 7 times"
    assert bad["found"] == "failed (1): no sound"
    assert "| made-up | `bad.py` |" in TOOL["table"]([good, bad])[-1]


def test_results_keep_what_is_around_the_small_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = TOOL["record"]
    monkeypatch.setitem(record.__globals__, "ROOT", tmp_path)
    page = tmp_path / "packages/ml-clap/benchmarks/RESULTS.md"
    page.parent.mkdir(parents=True)
    begin, end = TOOL["MARKS"]
    page.write_text(f"# Results\n\n{begin}\nold\n{end}\nafter\n")
    row: dict[str, Any] = {"script": "a.py", "arguments": "", "seconds": "1", "found": "2 times"}
    record([row | {"package": "ml-clap"}])
    text = page.read_text()
    assert text.startswith("# Results")
    assert text.endswith(f"{end}\nafter\n")
    assert "2 times" in text
    assert "old" not in text
