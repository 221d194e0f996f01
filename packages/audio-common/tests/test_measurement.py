"""`benchmarks/measurement.py`, which `real_size.py` of all packages writes its table with."""

import argparse
import importlib
import json
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def measurement(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("measurement")


def options(path: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    importlib.import_module("measurement").add_flags(parser)
    return parser.parse_args(["--json", str(path), *words])


def test_arithmetic_and_ratio_are_those_of_the_runs(measurement: ModuleType, tmp_path: Path) -> None:
    sheet = measurement.Sheet("products", options(tmp_path / "found.json"))
    left, right = torch.ones(64, 32), torch.ones(32, 16)
    for way, times in (("ours", 1), ("naive", 3)):

        def products(times: int = times) -> None:
            for _ in range(times):
                left @ right
            time.sleep(0.02 * times)

        def measure(run: object = products) -> object:
            return measurement.timed(run, times=2, amount=10, unit="rows", dtype="float32")

        sheet.add("product", way, measure)
    ours, naive = sheet.rows
    assert ours.measured.flops == 2 * 64 * 32 * 16
    assert naive.measured.flops == 3 * ours.measured.flops
    assert sheet.ratios()["product, against naive"] > 1.5
    assert sheet.finish() == 0
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["ratios"] == sheet.ratios()
    assert written["rows"][0]["share_of_peak"] == pytest.approx(
        ours.measured.flops / ours.measured.seconds / 1e12 / written["matmul_tflops"]["float32"]
    )


def test_what_takes_too_long_or_too_much_is_a_row_and_the_next_goes_on(
    measurement: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def endless() -> object:
        while True:
            time.sleep(0.01)

    def too_large() -> object:
        raise torch.OutOfMemoryError("no room")

    sheet = measurement.Sheet("limits", options(tmp_path / "found.json", "--limit_seconds", "0.3"))
    sheet.add("large", "naive", too_large)
    sheet.add("endless", "ours", endless)
    sheet.add("late", "ours", endless)
    assert [row.note for row in sheet.rows] == ["out of memory", "not done in 0 s", "not done in 0 s"]
    assert sheet.finish() == 1
    assert "out of memory" in capsys.readouterr().out


def test_all_packages_measure_alike() -> None:
    packages = BENCHMARKS.parents[1]
    files = sorted(packages.glob("*/benchmarks/measurement.py"))
    assert len(files) == 4
    assert len({file.read_bytes() for file in files}) == 1
