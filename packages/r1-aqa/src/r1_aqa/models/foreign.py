"""A model's files from outside: fetched, and looked at before anything is built of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from audio_common.checkpoint import check_sizes, safetensors_shapes
from audio_common.hub import fetch
from audio_common.strict_json import read_object
from safetensors import safe_open

from r1_aqa.models.licence import CARD_FILE

WEIGHTS = "model*.safetensors"
MODEL_FILES = (WEIGHTS, "*.json", "*.jinja", "*.txt", "*.model", CARD_FILE)
"""What of a hub's repository is downloaded: weights (safetensors alone), settings, tokenizer, templates, and
the card, for the licence."""
JSON_FILES = (
    *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json"),
    *("model.safetensors.index.json", "adapter_config.json"),
)
"""Files of JSON objects that transformers and peft read."""
LARGEST = {"n_fft": 65_536, "hop_length": 65_536, "feature_size": 4_096, "chunk_length": 3_600}
"""What a feature extractor may ask for: it makes filters of these sizes."""


def fetch_model(source: str, *, more: str = "") -> Path:
    """Return the folder of a model, from the hub if need be, whose settings and weights can be meant.

    Args:
        source: a folder, or `owner/name` or `owner/name@revision` on the hub.
        more: a folder in it that is fetched, too.

    Raises:
        OSError: there is neither, or the hub cannot be reached.
        ValueError: a file is damaged or asks for absurd sizes; the message names it.
    """
    folder = fetch(source, (*MODEL_FILES, *([f"{more}/*.safetensors", f"{more}/*.json"] if more else ())))
    settings = {name: _settings(folder / name) for name in JSON_FILES}
    files = sorted(folder.glob(WEIGHTS))
    for file in files:
        require_regular(file)
    shapes = {name: shape for file in files for name, shape in safetensors_shapes(file).items()}
    check_sizes(settings["config.json"], str(folder / "config.json"), shapes or None)
    if "quantization_config" not in settings["config.json"]:
        for file in files:
            require_fractions(file)
    for name in ("preprocessor_config.json", "processor_config.json"):
        check_sizes(settings[name], str(folder / name))
        for part in (settings[name], settings[name].get("feature_extractor")):
            _check_extractor(part, folder / name)
    return folder


def require_fractions(file: Path) -> None:
    """Refuse weights that are whole numbers, which loading would take for fractions without a word.

    Raises:
        ValueError: naming the file and the tensor.
    """
    require_regular(file)
    with safe_open(file, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - it is no dictionary
            kind = tensors.get_slice(name).get_dtype()
            if name.endswith((".weight", ".bias")) and not kind.startswith(("F", "BF")):
                raise ValueError(f"{file}, tensor {name}: its numbers are {kind}, expected fractions")


def read_settings(source: str, name: str) -> dict[str, Any]:
    """Return one file of settings of a folder or of a hub's repository; errors as `fetch_model`."""
    path = fetch(source, [name]) / name
    if not path.exists():
        raise FileNotFoundError(f"{source} has no {name}")
    return _settings(path)


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Name the model in whatever transformers or peft raises about it, which is no fault of ours.

    Raises:
        ValueError: the model cannot be loaded.
    """
    try:
        yield
    except (OSError, ImportError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a dozen kinds, for settings that contradict each other or the weights
        if isinstance(error, ValueError) and source in str(error):
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{source} cannot be loaded, its files do not fit each other: {text:.300}"
        ) from error


def _settings(path: Path) -> dict[str, Any]:
    require_regular(path)
    return read_object(path) if path.exists() else {}


def require_regular(path: Path) -> None:
    """Raise ValueError for what is neither a file nor absent."""
    if path.exists() and not path.is_file():  # a FIFO would be waited for without end
        raise ValueError(f"{path} is no regular file")


def _check_extractor(settings: Any, path: Path) -> None:
    for name, most in LARGEST.items() if isinstance(settings, dict) else ():
        value = settings.get(name)
        if isinstance(value, int | float) and not 0 < value <= most:
            raise ValueError(f"{path}: {name} is {value}, expected at most {most}")
