"""What text encoders are made of: configuration, tokenizer and weights, from where they are published.

- A hub id or folder with `config.json` and `model.safetensors`: SONAR where the config says M2M100 (then with
  `sentencepiece.bpe.model`), else whatever `AutoModel` makes of it.
- SONAR's published `.pt`, with its `sentencepiece*.model` in the same folder; the folder of both; or its
  address.

What is on the hub is fetched into a folder first, at the revision that `name@revision` says; so transformers
is given folders alone, which have no revision.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from audio_common.checkpoint import check_sizes, read_tensors, safetensors_shapes
from audio_common.hub import fetch, split_revision
from audio_common.sizes import Shapes
from audio_common.strict_json import read_object
from torch import Tensor

from ml_clap.models.download import download, is_url
from ml_clap.models.model_folder import WEIGHTS_FILE
from ml_clap.models.published import ADDRESSES, SONAR_FILE, SONAR_TOKENIZER, say_where
from ml_clap.models.sonar import sonar_config, to_our_layout
from ml_clap.models.tokenizer import HFTokenizer, SonarTokenizer, Tokenizer, find_sentencepiece

if TYPE_CHECKING:
    from transformers import PretrainedConfig

TOKENIZER_FILES = (
    "*.model",
    "*tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "sonar_languages.json",
    "vocab*",
    "merges.txt",
)
"""Patterns of the files that a tokenizer may need."""
HUB_FILES = ("config.json", "model*.safetensors*", SONAR_FILE, *TOKENIZER_FILES)
"""Patterns of the files of a text encoder."""


SIZES = (
    *("d_model", "hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings"),
    *("num_hidden_layers", "num_attention_heads", "encoder_layers", "encoder_attention_heads"),
    "encoder_ffn_dim",
)
"""Settings that count something of which a text encoder has at least one."""


@dataclass(frozen=True)
class TextSource:
    """What a text encoder is made of; `state` in the layout of transformers, None where only a config is."""

    config: PretrainedConfig
    tokenizer: Tokenizer
    state: dict[str, Tensor] | None


def read_text_source(source: str | Path, *, max_tokens: int, shapes: Shapes | None = None) -> TextSource:
    """Read configuration, tokenizer and weights of a hub id, a folder or a published `.pt`.

    Args:
        source: What to read.
        max_tokens: Longer texts are cut.
        shapes: Of the encoder's weights, where they are not in the folder: they bound the sizes that the
            configuration may ask for.

    Raises:
        ValueError: The source is not found, lacks a file, or is damaged; names the file.
    """
    if is_url(source):
        source = _fetch_published(str(source))
    if Path(source).suffix == ".pt":
        return _read_published(Path(source), max_tokens)
    folder = fetch_folder(source, wanted="a text encoder (folder, hub id or .pt)", patterns=HUB_FILES)
    if (folder / SONAR_FILE).is_file() and not (folder / "config.json").exists():
        return _read_published(folder / SONAR_FILE, max_tokens)
    config = _read_config(folder, shapes or safetensors_shapes(folder))
    if config.model_type == "m2m_100":
        return _read_sonar_folder(folder, config, max_tokens)
    from transformers import AutoTokenizer

    # RoBERTa's positions begin at 2; not every tokenizer says how long its model's texts can be.
    positions = getattr(config, "max_position_embeddings", max_tokens + 2)
    if positions < 5:
        raise ValueError(f"{folder / 'config.json'}: max_position_embeddings is {positions}, no text fits")
    max_tokens = min(max_tokens, positions - 2)
    with naming(folder):
        theirs = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, revision=None)
    tokenizer = HFTokenizer(theirs, max_tokens=max_tokens)
    has_weights = any(folder.glob("*.safetensors")) or (folder / "pytorch_model.bin").is_file()
    return TextSource(config, tokenizer, _read_auto_state(folder) if has_weights else None)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors within the block name a file: transformers raises a dozen kinds for one that is odd."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as e:
        raise ValueError(f"{path} cannot be used: {e or type(e).__name__}") from e


def fetch_folder(source: str | Path, *, wanted: str, patterns: Sequence[str]) -> Path:
    """Return a local folder, or what is needed of a repository of the Hugging Face hub downloaded into one.

    Args:
        source: A folder's path or a hub id (owner/name, owner/name@revision).
        wanted: What is expected, for the error.
        patterns: Names of the files to download.
    """
    name, _ = split_revision(source)
    is_id = isinstance(source, str) and name.count("/") == 1 and not Path(name).parent.is_dir()
    if not Path(source).is_dir() and not is_id:
        raise ValueError(f"{source} does not exist: expected {wanted}")
    try:
        return fetch(source, patterns)
    except (OSError, ValueError) as e:
        # Why the hub refuses is in `e`, which the command line puts into words; its own are a page long.
        raise ValueError(f"{source} is no folder, and the hub does not give it") from e


def load_pt(path: Path) -> dict[str, Any]:
    """Load a `.pt` file of tensors, flat or below `model` (the first fairseq: `model` or `state_dict`).

    Nothing in it is run (`weights_only`). Paths are let through as plain texts: GLAP keeps some in its
    training configuration.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}{say_where(path)}")
    try:
        with torch.serialization.safe_globals(_AS_TEXT):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as e:  # torch and pickle raise a dozen kinds for a damaged file
        raise ValueError(f"{path} cannot be read as weights: {e}") from e
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no weights by name but a {type(state).__name__}")
    for key in ("model", "state_dict"):
        state = state[key] if isinstance(state.get(key), Mapping) else state
    return dict(state)


def _join(*parts: str) -> str:
    return "/".join(parts)


_AS_TEXT: list[Any] = [
    (_join, f"{module}.{kind}")
    for module in ("pathlib", "pathlib._local")
    for kind in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
]
"""Classes that a `.pt` may name, and what is called instead of them."""


def without_pooler(model: Any) -> Any:
    """Remove BERT's pooler: mean pooling gives it no gradient, which distributed training refuses."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def _read_auto_state(folder: Path) -> dict[str, Tensor]:
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a missing pooler is no news: it is not used; all else is checked below
    try:
        with naming(folder):
            model, info = AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, revision=None
            )
    finally:
        logging.set_verbosity(verbosity)
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        names = ", ".join(sorted(missing)[:5])
        raise ValueError(f"{folder} lacks weights of its {type(model).__name__}: {names}")
    return dict(without_pooler(model).state_dict())


def _read_config(folder: Path, shapes: Shapes) -> PretrainedConfig:
    from transformers import AutoConfig

    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: it is not a text encoder of transformers")
    settings = read_object(path)
    check_sizes(settings, str(path), shapes or None)
    for name in SIZES:
        value = settings.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{path}: {name} must be a whole number from 1 on, got {value!r}")
    pad, vocabulary = settings.get("pad_token_id", 1), range(settings.get("vocab_size", 128_112))
    if settings.get("model_type") == "m2m_100" and pad not in vocabulary:
        raise ValueError(f"{path}: pad_token_id must be one of the vocabulary, got {pad!r}")
    with naming(path):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, revision=None)
    if config.model_type == "m2m_100":
        # SONAR has no layer drop, and a skipped layer would have no gradient.
        config.encoder_layerdrop = 0.0
    elif config.is_encoder_decoder:
        raise ValueError(
            f"{folder} holds an encoder with a decoder ({config.model_type}); a text encoder alone is "
            "needed, such as SONAR, BERT, XLM-R or e5"
        )
    return config


def _read_sonar_folder(folder: Path, config: PretrainedConfig, max_tokens: int) -> TextSource:
    max_tokens = min(max_tokens, config.max_position_embeddings)
    tokenizer = SonarTokenizer.from_folder(folder, max_tokens=max_tokens)
    weights = folder / WEIGHTS_FILE
    state = to_our_layout(read_tensors(weights)) if weights.is_file() else None
    return TextSource(config, tokenizer, state)


def _fetch_published(address: str) -> Path:
    """Fetch SONAR's `.pt` from its address, and its tokenizer beside it."""
    path = download(address)
    download(ADDRESSES[SONAR_TOKENIZER], path.parent)
    return path


def _read_published(path: Path, max_tokens: int) -> TextSource:
    state = to_our_layout(load_pt(path))
    tokenizer = SonarTokenizer(find_sentencepiece(path.parent), max_tokens=max_tokens)
    return TextSource(sonar_config(state), tokenizer, state)
