"""bfloat16 is taken by itself only where it is measured to be faster, and it is measured once."""

import json
from pathlib import Path

import pytest
import torch
from audio_common import speed
from audio_common.ced import CED
from audio_common.config import CEDConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(speed.CACHE_VARIABLE, str(tmp_path / "cache"))
    speed._known.cache_clear()
    yield tmp_path / "cache"
    speed._known.cache_clear()


def tell(monkeypatch: pytest.MonkeyPatch, bf16: float) -> list[int]:
    """Let products in bfloat16 take so many times as long as in float32; count the measurements."""
    calls: list[int] = []

    def measure() -> speed.Speeds:
        calls.append(1)
        return {"fp32": 1.0, "bf16": bf16, "int8": 0.25}

    monkeypatch.setattr(speed, "_measure", measure)
    return calls


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, torch.bfloat16), (0.9, torch.float32)])
def test_auto_is_bf16_only_where_it_is_faster(folder, monkeypatch, seconds: float, expected) -> None:
    tell(monkeypatch, seconds)
    model = CED(CEDConfig(embed_dim=8, depth=1, num_heads=2)).set_precision("auto")
    assert model.norm.weight.dtype == expected


def test_it_is_measured_once_and_kept_in_a_file(folder, monkeypatch) -> None:
    calls = tell(monkeypatch, 0.5)
    assert speed.gain("bf16") == 2.0
    assert speed.gain("int8") == 4.0
    speed._known.cache_clear()  # the next process
    assert speed.is_bf16_faster()
    assert len(calls) == 1
    (key,) = json.loads((folder / "speed.json").read_text())
    assert torch.__version__ in key
    assert [path.name for path in folder.iterdir()] == ["speed.json"]


def test_another_number_of_threads_is_measured_anew(folder, monkeypatch) -> None:
    calls = tell(monkeypatch, 0.5)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            speed.gain("bf16")
    finally:
        torch.set_num_threads(threads)
    assert len(calls) == 2
    assert len(json.loads((folder / "speed.json").read_text())) == 2


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"KEY": {"fp32": 1.0}}', '{"KEY": {"fp32": -1.0, "bf16": 1.0, "int8": 1.0}}']
)
def test_a_damaged_file_is_measured_over(folder, monkeypatch, content: str) -> None:
    calls = tell(monkeypatch, 0.5)
    folder.mkdir()
    (folder / "speed.json").write_text(content.replace("KEY", speed._key()))
    assert speed.gain("bf16") == 2.0
    assert len(calls) == 1
    assert json.loads((folder / "speed.json").read_text())[speed._key()]["bf16"] == 0.5


def test_a_folder_that_cannot_be_written_is_no_error(folder, monkeypatch) -> None:
    calls = tell(monkeypatch, 0.5)
    folder.write_text("a file where the folder should be")
    assert speed.gain("bf16") == 2.0
    assert len(calls) == 1


def test_the_measurement_is_of_all_three_and_short(folder) -> None:
    found = speed.matmul_seconds()
    assert set(found) == {"fp32", "bf16", "int8"}
    assert all(0 < seconds < 10 for seconds in found.values())


def test_a_processor_without_fast_int8_is_told(folder, monkeypatch, caplog) -> None:
    monkeypatch.setattr(speed, "_measure", lambda: {"fp32": 1.0, "bf16": 2.0, "int8": 1.0})
    model = CED(CEDConfig(embed_dim=8, depth=1, num_heads=2)).set_precision("int8")
    assert "int8 saves nothing" in caplog.text
    assert model.blocks[0].between == torch.float32
