"""Towers as ONNX, with dynamic batch and length: `ml-clap export`.

The text tower takes token ids, the audio tower waveforms; both give normalized vectors of the shared space.
Beside them lie the tokenizer, and what a user of the files must know (`text_tower.json`, `audio_tower.json`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from ml_clap.config.distill import ExportConfig
from ml_clap.files import write_atomically, write_json
from ml_clap.lock import sole_writer
from ml_clap.models.card import make_tower_card
from ml_clap.models.licence import CARD_FILE
from ml_clap.models.loading import load_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.model_folder import TEXT_FOLDER
from ml_clap.models.onnx_audio import MAX_SAMPLES, MIN_SAMPLES, ExportedAudio
from ml_clap.models.text_tower import TextTower
from ml_clap.models.tower import open_tower
from ml_clap.models.tower_folder import (
    ONNX_FILE,
    TextTowerError,
    absolute,
    find_tower,
    write_tower_settings,
)

logger = logging.getLogger(__name__)

AUDIO_FILE = "audio.onnx"
AUDIO_NOTES = "audio_tower.json"
SAMPLE_RATE = 16_000


def export_verb(config: ExportConfig) -> None:
    """Export what `config` names, and say what was written."""
    for path in export(config):
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def export(config: ExportConfig) -> list[Path]:
    """Write the towers as ONNX files and return their paths.

    Raises:
        ValueError: `model` is neither a model nor a text tower; the audio encoder is in the reference mode.
        BusyError: Another process writes `out`.
    """
    tower, model = _load(config.model)
    written = []
    with sole_writer(config.out, folder=True):
        if "text" in config.parts:
            written.append(export_text(tower, config.out))
        if "audio" in config.parts and model is not None:
            written.append(export_audio(model, config.out, absolute(config.model)))
    if not written:
        raise ValueError(f"parts: {config.model} is a text tower, it has no audio")
    return written


def export_text(tower: TextTower, out: Path) -> Path:
    """Write `text.onnx` (ids, mask -> vectors), the tokenizer, and `text_tower.json` last."""
    tower = tower.cpu().float().eval()
    batch = tower.prepare_text(["a dog barks", "rain"], _some_language(tower))
    rows, length = Dim("rows", min=1), Dim("length", min=1, max=tower.text_encoder.tokenizer.max_tokens)
    shapes = {"ids": {0: rows, 1: length}, "mask": {0: rows, 1: length}}
    path = out / ONNX_FILE
    _write(tower, (batch.ids, batch.mask), shapes, ["ids", "mask"], path)
    tower.text_encoder.tokenizer.save(out / TEXT_FOLDER)
    # It is complete in itself: a projection's encoder is in the file.
    settings = replace(
        tower.settings,
        encoder=None,
        kind="student" if tower.settings.encoder else tower.settings.kind,
        pad_id=tower.text_encoder.tokenizer.pad_id,
        max_text_tokens=tower.text_encoder.tokenizer.max_tokens,
    )
    write_atomically(out / CARD_FILE, make_tower_card(settings))
    write_tower_settings(out, settings)
    return path


def export_audio(model: MLCLAP, out: Path, name: str) -> Path:
    """Write `audio.onnx` (waveforms -> vectors) and `audio_tower.json`, which says what it takes."""
    tower = ExportedAudio(model.cpu().float().eval()).eval()
    shapes = {"waveforms": {0: Dim("clips", min=1), 1: Dim("samples", min=MIN_SAMPLES, max=MAX_SAMPLES)}}
    waveforms = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0)) * 0.1
    path = out / AUDIO_FILE
    _write(tower, (waveforms,), shapes, ["waveforms"], path)
    notes = {
        "model": name,
        "fingerprint": model.fingerprint(),
        "embed_dim": model.config.embed_dim,
        "sample_rate": SAMPLE_RATE,
        "min_samples": MIN_SAMPLES,
        "max_samples": MAX_SAMPLES,
        "channel": model.channel,
        "clips_of_a_batch": "equally long: no padding is known here",
    }
    write_json(out / AUDIO_NOTES, notes)
    return path


def _load(source: str) -> tuple[TextTower, MLCLAP | None]:
    """Return the text tower of a source, and the model if it is one."""
    try:
        find_tower(source)
    except TextTowerError:
        model = load_model(source, device="cpu")
        if not isinstance(model, MLCLAP):
            raise ValueError(f"{source}: the towers of ML-CLAP are exported, this is {model.kind}") from None
        return TextTower.of_model(model, absolute(source)), model
    found = open_tower(source)
    if not isinstance(found, TextTower):
        raise ValueError(f"{source} is exported already")
    return found, None


def _some_language(tower: TextTower) -> str:
    known = getattr(tower.text_encoder.tokenizer, "languages", ("eng_Latn",))
    return "eng_Latn" if "eng_Latn" in known else str(known[0])


def _write(module: nn.Module, inputs: tuple[Any, ...], shapes: Any, names: list[str], path: Path) -> None:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            output_names=["vectors"],
            verbose=False,
        )
    assert program is not None
    write_atomically(path, lambda place: program.save(str(place)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block the exporter says nothing of its own makings."""
    chatty = logging.getLogger("torch.onnx")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatty.setLevel(level)
