"""A search by text goes without torch once both ways were found equal, and never with files that changed."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.search import SearchConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.models.text_tower import TextTower
from ml_clap.search.index import index
from ml_clap.search.known_texts import open_known
from ml_clap.search.search import search
from ml_clap.search.store import read_settings

TEXTS = ("a dog barks", "un chien aboie", "rain on a roof", "la pluie sur un toit")
HEAVY = {"torch", "transformers", "accelerate", "peft", "scipy", "matplotlib", "pandas", "soundfile"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in `model`, three sounds in `sounds`, their index in `index`."""
    folder = tmp_path_factory.mktemp("known")
    encoder = create_small_text_encoder(folder / "text", TEXTS, vocab_size=60, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    config = ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)
    MLCLAP(config).save_pretrained(folder / "model")
    (folder / "sounds").mkdir()
    for number in range(3):
        sound = np.random.default_rng(number).normal(size=16_000 * (number + 1)) * 0.1
        soundfile.write(folder / "sounds" / f"{number}.wav", sound, 16_000)
    settings: Any = {"source": folder / "sounds", "model": str(folder / "model"), "device": "cpu"}
    index(IndexConfig(out=folder / "index", **settings))
    return folder


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> SearchConfig:
    """A search in a copy of the index, with the note that `index` has left there."""
    shutil.copytree(folder / "index", tmp_path / "index")
    return SearchConfig(index=tmp_path / "index", query=TEXTS[:2], device="cpu")


def notes(config: SearchConfig) -> list[Path]:
    return list(config.index.glob("texts-*.json"))


def known(config: SearchConfig, folder: Path) -> Any:
    return open_known(config.index, folder, read_settings(config.index).fingerprint)


def test_a_search_loads_no_torch_and_finds_the_same(config: SearchConfig, tmp_path: Path) -> None:
    script = (
        "import json, sys; from ml_clap import cli; cli.main(json.loads(sys.argv[1]))\n"
        f"there = {HEAVY!r} & set(sys.modules); assert not there, there"
    )
    words = ["search", str(config.index), *TEXTS[:2], "--json", str(tmp_path / "quick.json")]
    subprocess.run([sys.executable, "-c", script, json.dumps(words)], check=True, stdout=subprocess.DEVNULL)
    (note,) = notes(config)
    note.unlink()
    search(dataclasses.replace(config, json=tmp_path / "torch.json"))
    assert notes(config) == [note]  # the full search has left it again
    quick, full = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("quick", "torch"))
    for one, other in zip(quick["queries"], full["queries"], strict=True):
        assert [hit["id"] for hit in one["hits"]] == [hit["id"] for hit in other["hits"]]
        assert [hit["score"] for hit in one["hits"]] == pytest.approx(
            [hit["score"] for hit in other["hits"]], abs=1e-5
        )


def test_a_model_that_changed_is_refused_though_its_size_and_date_are_the_same(
    config: SearchConfig, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "model", tmp_path / "model")
    config = dataclasses.replace(config, model=str(tmp_path / "model"))
    search(config)
    assert known(config, tmp_path / "model") is not None
    weights = tmp_path / "model" / "model.safetensors"
    before, data = weights.stat(), bytearray(weights.read_bytes())
    data[-4096:] = bytes(4096)
    weights.write_bytes(data)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_size == before.st_size
    assert known(config, tmp_path / "model") is None
    with pytest.raises(ValueError, match="use that model, or make another index"):
        search(config)


def test_a_note_is_of_one_fingerprint_and_of_one_version(
    config: SearchConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known(config, folder / "model") is not None
    assert open_known(config.index, folder / "model", "another") is None
    monkeypatch.setattr("ml_clap.search.known_texts.FORMAT_VERSION", 2)
    assert known(config, folder / "model") is None


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"of": 3}', b"[1]", b"\xff"])
def test_a_damaged_note_is_none(config: SearchConfig, folder: Path, damage: bytes) -> None:
    (note,) = notes(config)
    note.write_bytes(damage)
    assert known(config, folder / "model") is None
    assert len(search(config)) == 2
    assert known(config, folder / "model") is not None


def test_vectors_that_differ_are_not_noted(
    config: SearchConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes(config)[0].unlink()
    monkeypatch.setattr(
        "ml_clap.models.numpy_encoder.sinusoids", lambda places, dim: np.zeros((len(places), dim), np.float32)
    )
    assert len(search(config)) == 2
    assert notes(config) == []


def test_an_index_that_cannot_be_written_is_searched(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes(config)[0].unlink()

    def refuse(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("ml_clap.search.known_texts.write_json", refuse)
    assert len(search(config)) == 2


def test_a_sound_or_another_device_takes_the_model(config: SearchConfig, folder: Path) -> None:
    loaded: list[str] = []
    search(config, on_load=lambda: loaded.append("texts"))
    assert loaded == []
    search(
        dataclasses.replace(config, audio=(folder / "sounds" / "0.wav",)),
        on_load=lambda: loaded.append("sound"),
    )
    search(dataclasses.replace(config, device="cpu:0"), on_load=lambda: loaded.append("device"))
    assert loaded == ["sound", "device"]


def test_a_text_tower_of_distill_is_known_after_its_first_search(
    config: SearchConfig, folder: Path, tmp_path: Path
) -> None:
    model = MLCLAP.from_pretrained(folder / "model")
    TextTower.of_model(model, "model").save_pretrained(tmp_path / "tower")
    config = dataclasses.replace(config, text_tower=tmp_path / "tower")
    first = search(config)
    assert len(notes(config)) == 2  # the model's and the tower's
    loaded: list[int] = []
    assert [[hit.id for hit in hits] for hits in search(config, on_load=lambda: loaded.append(1))] == [
        [hit.id for hit in hits] for hits in first
    ]
    assert loaded == []
    shutil.rmtree(tmp_path / "tower" / "text_encoder")
    with pytest.raises(ValueError, match="text_encoder"):
        search(config)
