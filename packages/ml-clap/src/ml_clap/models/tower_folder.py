"""The folder of a text tower: texts into the space of a model that exists, without that model.

    FOLDER/text_tower.json        kind, whose space it is (the model's fingerprint), how texts are prepared
    FOLDER/head.safetensors       the map from the encoder's sentence vectors into the space
    FOLDER/text_encoder/          the encoder, as `ml_clap.models.text_source` reads it
    FOLDER/text.onnx              instead of weights: the tower as `ml-clap export` writes it

A `student` has an encoder of its own; a `projection` names one that lies elsewhere, and its fingerprint.
Nothing here imports torch: a tower in ONNX answers a query without it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from audio_common.strict_json import read_object

from ml_clap.files import to_plain, write_json
from ml_clap.models.normalization import TextRule

TOWER_FILE = "text_tower.json"
HEAD_FILE = "head.safetensors"
ONNX_FILE = "text.onnx"
FORMAT = "ml-clap text tower"
FORMAT_VERSION = 1
KINDS = ("student", "projection", "model")
RULES = ("standard", "reference", "none")


@dataclass(frozen=True, kw_only=True)
class TowerSettings:
    """What `text_tower.json` holds."""

    kind: Literal["student", "projection", "model"]
    """`student`: a small encoder of its own; `projection`: a map from an encoder that lies elsewhere;
    `model`: the model's own text tower, exported."""
    model: str
    """Folder or hub id of the model whose space it is, as it was given."""
    fingerprint: str
    """That model's fingerprint: the tower is for its indexes alone."""
    embed_dim: int
    """Width of the space."""
    text_normalization: TextRule = "standard"
    """See `ModelConfig`."""
    text_prefix: str = ""
    """Put before every text."""
    max_text_tokens: int = 128
    """Longer texts are cut."""
    encoder: str | None = None
    """Of a projection: folder, hub id or .pt of its encoder."""
    encoder_fingerprint: str | None = None
    """Of a projection: the hash of that encoder's weights."""
    pad_id: int = 1
    """What stands behind shorter texts of a batch, for a tower in ONNX."""
    scores: dict[str, float] | None = None
    """Mean centred cosine with the model's own vectors on held-out texts, by language, in percent."""


class TextTowerError(ValueError):
    """A text tower that is missing, damaged, or of another model than what it shall search."""


def find_tower(source: str | Path) -> Path:
    """Return the folder of a tower: of a training run its `best`, else its `last`.

    Raises:
        TextTowerError: There is none.
    """
    for folder in (Path(source), Path(source) / "best", Path(source) / "last"):
        if (folder / TOWER_FILE).is_file():
            return folder
    raise TextTowerError(
        f"{source} is no text tower (no {TOWER_FILE}): `ml-clap distill`, `project` and `export` make one"
    )


def is_onnx(source: str | Path) -> bool:
    """Tell whether a tower is run by onnxruntime."""
    return (Path(source) / ONNX_FILE).is_file()


def read_tower_settings(folder: Path) -> TowerSettings:
    """Return what `text_tower.json` says; TextTowerError names the file and what is wrong with it."""
    path = folder / TOWER_FILE
    found = read_object(path)
    version = found.pop("format_version", None)
    if found.pop("format", None) != FORMAT:
        raise TextTowerError(f"{path} does not say that it is a text tower of ml-clap")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise TextTowerError(
            f"{path}: format_version is {version!r}, this ml-clap reads {FORMAT_VERSION}: update ml-clap"
        )
    problems = [f"{name} is not known" for name in found.keys() - {one.name for one in fields(TowerSettings)}]
    texts = ("model", "fingerprint", "text_normalization", "text_prefix")
    problems += [f"{name} must be a text" for name in texts if not isinstance(found.get(name, ""), str)]
    least = {"embed_dim": 1, "max_text_tokens": 3, "pad_id": 0}
    problems += [
        f"{name} must be a whole number from {low} on"
        for name, low in least.items()
        if not _is_count(found.get(name, low), low) or name not in found
    ]
    if found.get("kind") not in KINDS:
        problems.append(f"kind must be one of {', '.join(KINDS)}, got {found.get('kind')!r}")
    if found.get("text_normalization", "none") not in RULES:
        problems.append(f"text_normalization must be one of {', '.join(RULES)}")
    problems += [f"{name} is missing" for name in ("model", "fingerprint") if name not in found]
    if found.get("kind") == "projection" and not isinstance(found.get("encoder"), str):
        problems.append("a projection names its encoder")
    if problems:
        raise TextTowerError(f"{path}: {'; '.join(problems)}")
    return TowerSettings(**found)


def write_tower_settings(folder: Path, settings: TowerSettings) -> None:
    """Write `text_tower.json`, the last of a tower's files: without it a folder is none."""
    description = {"format": FORMAT, "format_version": FORMAT_VERSION}
    write_json(folder / TOWER_FILE, description | to_plain(settings))


def check_belongs(settings: TowerSettings, fingerprint: str, what: str) -> None:
    """Refuse a tower of another model's space.

    Args:
        settings: The tower's.
        fingerprint: Of the model that is asked for.
        what: Whose fingerprint this is, for the error.

    Raises:
        TextTowerError: They differ.
    """
    if settings.fingerprint != fingerprint:
        raise TextTowerError(
            f"the text tower was made for the model {settings.model} (fingerprint {settings.fingerprint}), "
            f"and {what} has the fingerprint {fingerprint}: its vectors mean something else there. Make a "
            "tower for that model by `ml-clap distill` or `ml-clap project`"
        )


def absolute(source: str) -> str:
    """Return a folder's or file's absolute path, or a hub id as it is: a tower is used from anywhere."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
