"""A model by its name, whatever kind it is: for every command, and for `Retriever.from_pretrained`.

| what is named | what it becomes |
|---|---|
| a folder of `MLCLAP.save_pretrained`, or of a training run | `MLCLAP` |
| `pretrain.pt` and the two others of the authors, or the folder that holds one | `MLCLAP` |
| `glap_checkpoint.pt`, or the folder that holds it | `GLAP` |
| a folder of transformers' `ClapModel` | `CLAP` |
| a folder of sentence-transformers with texts and sounds | `SentenceTransformerTowers` |
| `owner/name`, `owner/name@revision` | any of these, from the hub |
| `https://.../NAME.pt` | fetched once, see `ml_clap.models.download` |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audio_common.strict_json import read_object

from ml_clap.models.checkpoint import CONFIG_FILE, FORMAT, Mode, find_model, read_config
from ml_clap.models.device import Dtype, choose_device, choose_dtype
from ml_clap.models.download import is_url
from ml_clap.models.dual_encoder import DualEncoder
from ml_clap.models.licence import say_licence_of_weights
from ml_clap.models.published import HUB_FILES, fetch_file, fetch_weights, find_published, say_where
from ml_clap.models.text_source import fetch_folder, load_pt

if TYPE_CHECKING:
    import torch


Kind = Literal["ml-clap", "glap", "clap", "sentence-transformers"]
MODULES_FILE = "modules.json"
SMALL_FILES = (CONFIG_FILE, MODULES_FILE)
"""Files of a repository that tell its kind."""
WANTED = "a model folder, a training run, a .pt of ML-CLAP or GLAP, a hub id or an https address"


def load_model(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    mode: Mode | None = None,
    text_tokenizer: str | Path | None = None,
) -> DualEncoder:
    """Load a model in evaluation mode, and log the licence of its weights.

    Args:
        source: What this module's docstring lists; of a training run its `best` model, else its `last`.
        device: cpu, cuda, cuda:1, mps; `auto`: the GPU if there is one.
        dtype: Precision of the weights; `int8`: of the sound encoder's layers, on a CPU; ML-CLAP and GLAP.
        mode: See `MLCLAP.from_pretrained`; of ML-CLAP alone.
        text_tokenizer: SONAR's sentencepiece file, a folder with it or its address, which the authors'
            checkpoints lack; by default looked for beside the checkpoint, or fetched with it.

    Raises:
        ValueError: The source is not a model, or has no int8.
    """
    chosen = choose_device(device)
    place, tokenizer = _fetch(source, text_tokenizer)
    kind = kind_of(place)
    if mode is not None and kind != "ml-clap":
        raise ValueError(f"mode is of ML-CLAP alone, and {source} is {kind}")
    if dtype == "int8" and kind not in ("ml-clap", "glap"):
        raise ValueError(
            f"--dtype int8 is for CED and Dasheng, and {source} is {kind}: use float32 or bfloat16"
        )
    model = _load(kind, place, chosen, choose_dtype(dtype, chosen), mode, tokenizer)
    if dtype == "int8":
        model.round_audio_encoder()  # type: ignore[attr-defined]
    say_licence_of_weights(f"{source} ({model.kind})", model.licence)
    return model


def check_model(source: str | Path) -> None:
    """Raise a ValueError for a folder that is no model, without reading its weights."""
    found = find_model(source)
    if not is_url(source) and Path(found).is_dir():
        kind_of(Path(found))


def kind_of(path: Path) -> Kind:
    """Say what a folder or a checkpoint is, without reading its weights.

    Raises:
        ValueError: it is no model, or several.
    """
    if path.suffix == ".pt":
        from ml_clap.models.glap import is_glap

        if not path.is_file():
            raise ValueError(f"there is no file {path}{say_where(path)}")
        return "glap" if is_glap(load_pt(path)) else "ml-clap"
    config = read_object(path / CONFIG_FILE) if (path / CONFIG_FILE).is_file() else {}
    if config.get("format") == FORMAT:
        read_config(path)
        return "ml-clap"
    if (published := find_published(path)) is not None:
        return kind_of(published)
    if (path / MODULES_FILE).is_file():
        return "sentence-transformers"
    if config.get("model_type") == "clap":
        return "clap"
    if isinstance(config.get("model_type"), str) and "format" not in config:
        raise ValueError(
            f"{path} is a {config['model_type'][:50]!r} of transformers, which has no space for sounds and "
            "texts"
        )
    read_config(path)  # which says what is missing
    return "ml-clap"


def _fetch(source: str | Path, text_tokenizer: str | Path | None) -> tuple[Path, Path | None]:
    """Return the folder or file that a source means, and the text tokenizer if one is given."""
    if is_url(source):
        return fetch_weights(str(source), text_tokenizer)
    tokenizer = None if text_tokenizer is None else fetch_file(text_tokenizer)
    found = find_model(source)
    if Path(found).suffix == ".pt":
        return Path(found), tokenizer
    folder = fetch_folder(found, wanted=WANTED, patterns=SMALL_FILES)
    if not Path(found).is_dir():  # of the hub: what else is needed, now that its kind can be told
        folder = fetch_folder(found, wanted=WANTED, patterns=_patterns(folder))
    return find_published(folder) or folder, tokenizer


def _patterns(folder: Path) -> tuple[str, ...]:
    """Return the patterns of the files that a repository's kind of model needs."""
    from ml_clap.models import checkpoint, clap, sentence_transformer

    config = read_object(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    if config.get("format") == FORMAT:
        return checkpoint.HUB_FILES
    if (folder / MODULES_FILE).is_file():
        return sentence_transformer.HUB_FILES
    return clap.HUB_FILES if config.get("model_type") == "clap" else (*checkpoint.HUB_FILES, *HUB_FILES)


def _load(
    kind: Kind, path: Path, device: str, dtype: torch.dtype, mode: Mode | None, tokenizer: Path | None
) -> DualEncoder:
    options: dict[str, Any] = {"device": device, "dtype": dtype}
    if kind == "ml-clap":
        from ml_clap.models.ml_clap import MLCLAP

        return MLCLAP.from_pretrained(path, mode=mode, text_tokenizer=tokenizer, **options)
    if kind == "glap":
        from ml_clap.models.glap import GLAP

        return GLAP.from_pretrained(path, text_tokenizer=tokenizer, **options)
    if kind == "clap":
        from ml_clap.models.clap import CLAP

        return CLAP.from_pretrained(path, **options)
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    return SentenceTransformerTowers.from_pretrained(path, **options)
