"""`benchmarks/engines.py`: another engine in the place of the encoder's blocks computes the same."""

from pathlib import Path
from runpy import run_path

import pytest
import torch
from audio_common.ced import CED
from audio_common.config import CEDConfig
from torch import Tensor, nn

ENGINES = run_path(str(Path(__file__).resolve().parents[1] / "benchmarks/engines.py"))


@pytest.fixture(scope="module")
def encoder() -> CED:
    torch.manual_seed(0)
    return CED(CEDConfig(embed_dim=96, depth=2, num_heads=3, num_classes=9)).eval()


@pytest.fixture(scope="module")
def sounds() -> tuple[Tensor, list[int]]:
    lengths = [48_000, 8_000, 30_000, 30_000]
    sounds = [0.1 * torch.randn(length) for length in lengths]
    return nn.utils.rnn.pad_sequence(sounds, batch_first=True), lengths


@torch.inference_mode()
def close(encoder: CED, other: CED, sounds: tuple[Tensor, list[int]], limit: float) -> None:
    ours, theirs = encoder(*sounds), other(*sounds)
    torch.testing.assert_close(ours.tokens, theirs.tokens, rtol=limit, atol=limit)


def test_pieces_of_other_lengths_come_back_in_their_places(encoder, sounds, tmp_path, monkeypatch) -> None:
    plain = {"of torch alone": "torch"}
    monkeypatch.setitem(ENGINES["with_engine"].__globals__, "ENGINES", plain)
    other = ENGINES["with_engine"]("of torch alone", {"fp32": encoder}, tmp_path)
    assert isinstance(other.blocks[0], ENGINES["ByPieces"])
    close(encoder, other, sounds, 1e-4)


def test_what_is_not_installed_is_left_out_and_said(encoder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(ENGINES["with_engine"].__globals__, "ENGINES", {"onnx-fp32": "no_such_engine"})
    assert ENGINES["with_engine"]("onnx-fp32", {"fp32": encoder}, tmp_path) is None
    assert "onnx-fp32 is left out: No module named 'no_such_engine'" in capsys.readouterr().out


def test_onnx_computes_the_same_blocks_in_8_bits(encoder, sounds, tmp_path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    close(encoder, ENGINES["with_engine"]("onnx-dynamic", {"fp32": encoder}, tmp_path), sounds, 5e-2)
