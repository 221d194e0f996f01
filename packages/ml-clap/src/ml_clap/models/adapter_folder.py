"""A folder of low-rank adapters as peft writes it: `adapter_config.json` and `adapter_model.safetensors`.

The adapters of a text encoder that is saved without its base stand in `text_adapter/` of the model's folder.
Plain peft puts them on that base without this package:

    PeftModel.from_pretrained(AutoModel.from_pretrained(NAME), "MODEL/text_adapter")

Models of earlier versions have them in `model.safetensors`, under `text_adapter.`, which is read as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_common.checkpoint import read_tensors
from audio_common.strict_json import read_object
from safetensors.torch import save_file
from torch import Tensor

from ml_clap.files import write_atomically
from ml_clap.models.text_training import SCALE

FOLDER = "text_adapter"
CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = tuple(f"{FOLDER}/{name}" for name in (CONFIG_FILE, WEIGHTS_FILE))
PREFIX, SUFFIX = "base_model.model.", ".weight"
"""Around `X.lora_A`, the name of a tensor here, in peft's files."""


def save_adapter(place: Path, tensors: Mapping[str, Tensor], base: str) -> None:
    """Write the adapters of a text encoder; without any, remove those that an earlier save left.

    Args:
        place: folder of the model; the adapters' is made in it.
        tensors: `X.lora_A` `(rank, inputs)` and `X.lora_B` `(outputs, rank)` of each layer X.
        base: hub id or folder of the encoder that is adapted.
    """
    folder = place / FOLDER
    if not tensors:
        shutil.rmtree(folder, ignore_errors=True)
        return
    from peft import LoraConfig

    folder.mkdir(parents=True, exist_ok=True)
    named = {f"{PREFIX}{name}{SUFFIX}": value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(folder / WEIGHTS_FILE, lambda path: save_file(named, path, metadata={"format": "pt"}))
    rank = next(value.shape[0] for name, value in tensors.items() if name.endswith(".lora_A"))
    config = LoraConfig(
        r=rank,
        lora_alpha=int(SCALE * rank),
        target_modules=sorted({name.rpartition(".")[0] for name in tensors}),
        inference_mode=True,  # peft's own default when it saves: whoever loads it does not train it
    )
    config.base_model_name_or_path = base
    config.save_pretrained(str(folder))


def has_adapter(place: Path) -> bool:
    """Tell whether the folder of a model has adapters in a folder of their own."""
    return (place / FOLDER / WEIGHTS_FILE).is_file()


def read_adapter(place: Path) -> dict[str, Tensor]:
    """Read the adapters of a model's folder under the names that `save_adapter` was given.

    Raises:
        ValueError: they are damaged, or of another scale or kind than those that are made here.
    """
    folder = place / FOLDER
    config = read_object(folder / CONFIG_FILE)
    rank = config.get("r")
    # What changes an adapter's scale or kind without changing its tensors' shapes.
    expected: dict[str, Any] = {
        "lora_alpha": SCALE * rank if isinstance(rank, int) else None,
        "use_rslora": False,
    }
    expected |= {"use_dora": False, "rank_pattern": {}, "alpha_pattern": {}, "fan_in_fan_out": False}
    wrong = [
        f"{name} is {config[name]!r}, expected {value!r}"
        for name, value in expected.items()
        if name in config and config[name] != value
    ]
    if wrong:
        raise ValueError(f"{folder / CONFIG_FILE}: {'; '.join(wrong)}")
    tensors = read_tensors(folder / WEIGHTS_FILE)
    return {name.removeprefix(PREFIX).removesuffix(SUFFIX): value for name, value in tensors.items()}
