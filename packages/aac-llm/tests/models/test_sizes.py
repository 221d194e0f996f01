"""Hostile folders of models are refused before anything is allocated, with the file and what is wrong."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.checkpoint import read_config
from aac_llm.models.decoder import load_decoder
from aac_llm.models.tensors import CheckpointError
from safetensors.torch import load_file, save_file


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def change(folder: Path, name: str, value: Any) -> None:
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    *parts, last = name.split(".")
    place = settings
    for part in parts:
        place = place[part]
    place[last] = value
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize("value", [10**6, 2**62, 10**99, -1, 0, 2.5, True, "12", None, [], {}])
@pytest.mark.parametrize(
    "name",
    [
        *("encoder.depth", "encoder.embed_dim", "encoder.num_classes", "bridge.num_layers", "lora.rank"),
        *("bridge.hidden_size", "bridge.intermediate_size", "bridge.num_heads"),
    ],
)
def test_a_size_of_no_sense_is_refused_by_file_and_key(folder: Path, name: str, value: Any) -> None:
    change(folder, name, value)
    with pytest.raises(CheckpointError, match=r"config\.json|safetensors") as caught:
        read_config(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["bridge.window", "bridge.num_queries", "bridge.cross_attention_frequency"])
@pytest.mark.parametrize("value", [2**62, 10**99, 0, 2.5, True, "1", None])
def test_sizes_that_no_tensor_has_are_bounded_too(folder: Path, name: str, value: Any) -> None:
    change(folder, name, value)
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{name.split('.')[1]}"):
        read_config(folder)


@pytest.mark.parametrize("value", [3, "x", None, [], 2.5, True])
def test_a_part_that_is_no_object_is_refused(folder: Path, value: Any) -> None:
    change(folder, "bridge", value)
    with pytest.raises(CheckpointError, match=r"config\.json: bridge must be an object"):
        read_config(folder)


def test_a_bridge_without_its_tensors_is_refused(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / "bridge.safetensors")
    with pytest.raises(CheckpointError, match=r"bridge\.safetensors is no bridge"):
        CaptionModel.from_pretrained(folder)


FILES = [
    "bridge.safetensors",
    "encoder.safetensors",
    "encoder_adapter/adapter_model.safetensors",
    "decoder_adapter/adapter_model.safetensors",
]


@pytest.mark.parametrize("name", FILES)
def test_numbers_of_another_kind_are_refused(folder: Path, tiny_decoder: Path, name: str) -> None:
    path = folder / name
    tensors = load_file(path)
    for n, tensor in tensors.items():
        tensors[n] = tensor.view(torch.int32) if tensor.is_floating_point() else tensor
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"type of .*: expected torch\.float32, got torch\.int32"):
        CaptionModel.from_pretrained(folder, decoder=str(tiny_decoder))


@pytest.mark.parametrize("name", FILES)
def test_a_fifo_is_no_file(folder: Path, name: str) -> None:
    path = folder / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is no file"):
        CaptionModel.from_pretrained(folder)


def test_a_decoder_of_a_million_layers_is_refused(tiny_decoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_decoder, tmp_path / "decoder"))
    change(folder, "num_hidden_layers", 10**6)
    with pytest.raises(CheckpointError, match=r"config\.json: num_hidden_layers is 1000000"):
        load_decoder(folder)


def test_json_of_no_sense_is_refused_by_its_file(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(folder)
