"""Absurd sizes are refused by name before anything is allocated; what published models have is not."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from audio_common.sizes import CheckpointError, check_sizes, safetensors_shapes
from safetensors.torch import save_file

PUBLISHED: dict[str, dict[str, Any]] = {
    "qwen2-audio": {
        "audio_token_index": 151646,
        "text_config": {
            "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 32768,
            "max_window_layers": 28, "num_hidden_layers": 32, "rope_theta": 1000000.0, "rope_scaling": None,
            "sliding_window": 32768, "vocab_size": 156032, "eos_token_id": 151645, "rms_norm_eps": 1e-05,
        },
        "audio_config": {"d_model": 1280, "encoder_ffn_dim": 5120, "encoder_layers": 32, "num_mel_bins": 128},
    },
    "nllb": {
        "d_model": 2048, "decoder_layerdrop": 0, "decoder_layers": 24, "max_length": 200,
        "encoder_ffn_dim": 8192, "num_hidden_layers": 24, "vocab_size": 256206, "pad_token_id": 1,
    },
    "albert": {"embedding_size": 128, "hidden_size": 4096, "num_hidden_layers": 12, "num_hidden_groups": 1},
    "wav2vec2": {
        "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "inputs_to_logits_ratio": 320,
        "label2id": {"depth": 5_000_000_000, "LABEL_1": 1}, "seed": 2**63, "sampling_rate": 48_000,
    },
    "mamba2": {"time_step_limit": [0.0, math.inf], "state_size": 128},
    "llama-4": {"max_position_embeddings": 10_485_760, "num_local_experts": 128, "vocab_size": 202_048},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_published_models_have_passes(name: str) -> None:
    check_sizes(PUBLISHED[name], name)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"depth": 1_000_000}, "depth is 1000000, at most 1,000"),
        ({"text_config": {"num_hidden_layers": 10**6}}, r"text_config\.num_hidden_layers is 1000000"),
        ({"audio": [{"n_layer": 1001}]}, r"audio\[0\]\.n_layer is 1001"),
        ({"depths": [2, 2, 10**9]}, r"depths\[2\] is 1000000000"),
        ({"hidden_size": 2**20}, "hidden_size is 1048576, at most 131,072"),
        ({"audio_config": {"encoder_layers": -1}}, "audio_config.encoder_layers is -1, which is no size"),
        ({"d_model": 0}, "d_model is 0, which is no size"),
        ({"d_model": 1e12}, "d_model"),
        ({"hidden_size": math.nan}, "hidden_size is nan"),
        ({"hidden_size": -(2**40)}, "hidden_size"),
        ({"vocab_size": 2**31}, "vocab_size"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings"),
        ({"num_attention_heads": 10**7}, "num_attention_heads"),
        ({"num_experts": 10**7}, "num_experts"),
        ({"mlp_ratio": 1e9}, "mlp_ratio"),
        ({"r": 10**9}, "r is"),
        ({"whatever": 10**15}, "whatever"),
        ({"bad\x1b[2Jsize": 10**9}, r"bad\\x1b\[2Jsize"),
    ],
)
def test_absurd_sizes_are_refused_by_name(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(CheckpointError, match=f"^here/config.json: {path}"):
        check_sizes(settings, "here/config.json")


def test_a_model_has_no_more_layers_than_tensors_and_not_far_more_numbers() -> None:
    tensors = {f"layers.{number}.weight": (64, 64) for number in range(24)}
    check_sizes({"num_hidden_layers": 24, "max_window_layers": 28, "hidden_size": 64}, "c", tensors)
    with pytest.raises(CheckpointError, match="num_hidden_layers is 25, but its weights are 24 tensors"):
        check_sizes({"num_hidden_layers": 25}, "c", tensors)
    with pytest.raises(CheckpointError, match="c: text would have more than 6,442,450,944 numbers"):
        check_sizes({"text": {"num_layers": 24, "hidden_size": 16384, "d_ff": 16384}}, "c", tensors)
    with pytest.raises(CheckpointError, match="the model would have more than"):
        check_sizes({"vocab_size": 4_000_000, "hidden_size": 65_536}, "c", tensors)


def header_of(entries: dict[str, Any], content: bytes = b"") -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + content


def test_shapes_are_read_from_the_header_alone(tmp_path: Path) -> None:
    save_file(
        {"a": torch.zeros(2, 3), "b": torch.zeros((), dtype=torch.bfloat16)}, tmp_path / "1.safetensors"
    )
    save_file({"c": torch.zeros(0, 4)}, tmp_path / "2.safetensors")
    assert safetensors_shapes(tmp_path / "1.safetensors") == {"a": (2, 3), "b": ()}
    assert safetensors_shapes(tmp_path) == {"a": (2, 3), "b": (), "c": (0, 4)}


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no .safetensors file"),
        (b"1234567", "no .safetensors file"),
        (struct.pack("<Q", 2**62) + b"{}", "header would have 4,611,686,018,427,387,904 of 10 bytes"),
        (struct.pack("<Q", 2) + b"[]", "expected a JSON object"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "nested deeper"),
        (struct.pack("<Q", 13) + b'{"a":1,"a":2}', "stands twice"),
        (header_of({"a": {**F32, "shape": [10**12]}}, bytes(8)), "tensor a: F32 of shape"),
        (header_of({"a": {**F32, "data_offsets": [0, 2**40]}}, bytes(8)), "bytes 0 to 1099511627776 of 8"),
        (header_of({"a": F32}, bytes(7)), "cut off or damaged"),
        (header_of({"a": {**F32, "shape": [-2]}}, bytes(8)), "expected a dtype"),
        (header_of({"a": {**F32, "shape": "2"}}, bytes(8)), "expected a dtype"),
        (header_of({"a": {**F32, "dtype": "Q99"}}, bytes(8)), "expected a dtype"),
        (header_of({"a": [1, 2]}, bytes(8)), "expected a dtype"),
    ],
)
def test_a_header_that_lies_is_an_error(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors.*" + problem):
        safetensors_shapes(tmp_path / "bad.safetensors")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors cannot be read"):
        safetensors_shapes(tmp_path / "nothing.safetensors")


def test_a_pipe_is_no_weights_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read as weights: .* regular"):
        safetensors_shapes(tmp_path)
