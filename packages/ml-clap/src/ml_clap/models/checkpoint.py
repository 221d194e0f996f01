"""Model folders and the authors' checkpoints.

A folder holds `config.json`, `model.safetensors` (see `MLCLAP.export_state` for the names) and
`text_encoder/` with its configuration and tokenizer. The authors' three `.pt` files hold the weights alone,
under `audio_encoder.model.*` (CED), `text_encoder.model.*` (SONAR, fairseq2's names), `audio_proj.*`,
`text_proj.*` and `temperature`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.ced import CED
from audio_common.checkpoint import convert_state_dict
from audio_common.config import CEDConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from ml_clap.config.model import ModelConfig
from ml_clap.models.sonar import sonar_config, to_our_layout
from ml_clap.models.text_encoder import build_empty, build_text_encoder
from ml_clap.models.text_source import WEIGHTS_FILE, TextSource, fetch_folder, load_pt, read_text_source
from ml_clap.models.tokenizer import SonarTokenizer, find_sentencepiece

if TYPE_CHECKING:
    from ml_clap.models.ml_clap import MLCLAP, Mode

CONFIG_FILE = "config.json"
TEXT_FOLDER = "text_encoder"
FORMAT = "ml-clap"
FORMAT_VERSION = 1
_ENCODERS = ("audio_encoder", "text_encoder")


def save_model(model: MLCLAP, folder: Path, *, save_frozen: bool = True) -> None:
    """Write `model` in `folder`; see `MLCLAP.save_pretrained`."""
    folder.mkdir(parents=True, exist_ok=True)
    omitted = [] if save_frozen else _reloadable_encoders(model.config)
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.export_state().items()
        if name.split(".")[0] not in omitted
    }
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    model.text_encoder.save_config(folder / TEXT_FOLDER)
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "omitted": omitted,
        "model": asdict(_without_local_paths(model.config, omitted)),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(description, indent=2, ensure_ascii=False), "utf-8")


def load_model(
    cls: type[MLCLAP],
    source: str | Path,
    *,
    mode: Mode | None = None,
    text_tokenizer: str | Path | None = None,
) -> MLCLAP:
    """Read a folder, a hub id or a checkpoint of the authors; see `MLCLAP.from_pretrained`."""
    if Path(source).suffix == ".pt":
        return load_published(cls, Path(source), mode=mode or "masked", text_tokenizer=text_tokenizer)
    folder = fetch_folder(source, wanted="a folder of `save_pretrained`, a hub id or a .pt of the authors")
    config, omitted = read_config(folder)
    config = config if mode is None else in_mode(config, mode)
    if not (folder / WEIGHTS_FILE).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS_FILE}: the model was not saved completely")
    state = load_file(folder / WEIGHTS_FILE)
    parts = None
    if "text_encoder" not in omitted:
        parts = read_text_source(folder / TEXT_FOLDER, max_tokens=config.max_text_tokens)

    def build() -> MLCLAP:
        audio_encoder = None if "audio_encoder" in omitted else CED(config.audio)
        text_encoder = None if parts is None else build_text_encoder(parts, backend=config.text_backend)
        return cls(config, audio_encoder=audio_encoder, text_encoder=text_encoder)

    model = build_empty(build)
    if omitted:
        reloaded = model.export_state()
        state |= {name: each for name, each in reloaded.items() if name.split(".")[0] in omitted}
    model.load_state(state)
    return model


def push_model(model: MLCLAP, repo_id: str, *, private: bool | None = None, save_frozen: bool = True) -> str:
    """Upload `model`'s folder; see `MLCLAP.push_to_hub`."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder), save_frozen=save_frozen)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, commit_message="Upload an ML-CLAP model"
        )
    return str(commit)


def read_config(folder: Path) -> tuple[ModelConfig, list[str]]:
    """The configuration of a model folder, and the encoders whose weights it leaves out."""
    path = folder / CONFIG_FILE
    description = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if description.get("format") != FORMAT:
        raise ValueError(f"{folder} is not a model folder of ml-clap (no {CONFIG_FILE} that says so)")
    if description["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{folder} has format {description['format_version']}, and this ml-clap reads {FORMAT_VERSION}: "
            "update ml-clap"
        )
    fields = dict(description["model"])
    audio = {**fields.pop("audio"), "labels": tuple(description["model"]["audio"].get("labels", ()))}
    return ModelConfig(audio=CEDConfig(**audio), **fields), description["omitted"]


def in_mode(config: ModelConfig, mode: Mode) -> ModelConfig:
    """`config` with the audio encoder in `mode`; `reference` brings the authors' text normalisation too."""
    rule = "reference" if mode == "reference" else config.text_normalization
    return replace(config, audio=replace(config.audio, mode=mode), text_normalization=rule)


def load_published(
    cls: type[MLCLAP],
    path: Path,
    *,
    mode: Mode = "masked",
    text_tokenizer: str | Path | None = None,
    head_width: int = 64,
) -> MLCLAP:
    """One of the authors' checkpoints, every name accounted for.

    Args:
        cls: `MLCLAP`.
        path: The `.pt` file.
        mode: Of the audio encoder.
        text_tokenizer: SONAR's sentencepiece file or a folder with it; default: beside `path`.
        head_width: Width of an attention head, which no tensor's shape tells; 64 in CED and in SONAR.
    """
    tokenizer_file = _find_tokenizer(path, text_tokenizer)
    state = convert_published(load_pt(path))
    text_state = _below(state, "text_encoder.")
    config = published_config(state, mode=mode, head_width=head_width)
    tokenizer = SonarTokenizer(tokenizer_file, max_tokens=config.max_text_tokens)
    parts = TextSource(sonar_config(text_state, head_width=head_width), tokenizer, None)

    def build() -> MLCLAP:
        text_encoder = build_text_encoder(parts, backend="transformers")
        return cls(config, audio_encoder=CED(config.audio), text_encoder=text_encoder)

    model = build_empty(build)
    model.load_state(state)
    return model


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under the names of `MLCLAP.export_state`."""
    audio, text = _below(state, "audio_encoder.model."), _below(state, "text_encoder.model.")
    if not audio or not text or "temperature" not in state:
        raise ValueError(
            "not a checkpoint of ML-CLAP: expected names that start with audio_encoder.model. and "
            f"text_encoder.model., and temperature, got {', '.join(list(state)[:3])}, ..."
        )
    audio, text = convert_state_dict(audio), to_our_layout(text)
    rest = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(("audio_encoder.model.", "text_encoder.model.")) and name != "temperature"
    }
    return (
        {f"audio_encoder.{name}": tensor for name, tensor in audio.items()}
        | {f"text_encoder.{name}": tensor for name, tensor in text.items()}
        | rest
        | {"raw_temperature": state["temperature"]}
    )


def published_config(
    state: Mapping[str, Tensor], *, mode: Mode = "masked", head_width: int = 64
) -> ModelConfig:
    """The architecture of a converted checkpoint, with the authors' temperature and text normalisation."""
    dim = len(state["audio_encoder.norm.weight"])
    blocks = {name.split(".")[2] for name in state if name.startswith("audio_encoder.blocks.")}
    audio = CEDConfig(
        embed_dim=dim,
        depth=len(blocks),
        num_heads=max(dim // head_width, 1),
        num_classes=len(state["audio_encoder.outputlayer.1.bias"]),
        mode=mode,
    )
    return ModelConfig(
        audio=audio,
        embed_dim=len(state["audio_proj.0.bias"]),
        temperature_parameter="raw",
        text_normalization="reference",
    )


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}


def _find_tokenizer(path: Path, given: str | Path | None) -> Path:
    place = path.parent if given is None else Path(given)
    if place.is_file():
        return place
    if given is not None and not place.is_dir():
        raise ValueError(f"text_tokenizer: there is no file or folder {given}")
    try:
        return find_sentencepiece(place)
    except ValueError as e:
        raise ValueError(f"{path.name} comes without its text tokenizer (text_tokenizer): {e}") from e


def _reloadable_encoders(config: ModelConfig) -> list[str]:
    named = {
        "audio_encoder": config.freeze_audio and config.audio_weights is not None,
        "text_encoder": config.freeze_text,
    }
    return [name for name in _ENCODERS if named[name]]


def _without_local_paths(config: ModelConfig, omitted: list[str]) -> ModelConfig:
    """Name a folder of this machine by its last part, unless loading needs it: it means nothing elsewhere."""
    audio, text = config.audio_weights, config.text_encoder
    if audio is not None and "audio_encoder" not in omitted and Path(audio).exists():
        audio = Path(audio).name
    if "text_encoder" not in omitted and Path(text).exists():
        text = Path(text).name
    return replace(config, audio_weights=audio, text_encoder=text)
