"""A folder of low-rank adapters as peft writes it: `adapter_config.json` and `adapter_model.safetensors`.

The adapters of a captioner stand in `encoder_adapter/` and `decoder_adapter/`. Plain peft loads either one
without this package:

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(NAME), "MODEL/decoder_adapter")

Captioners of format version 1 have a file `decoder_adapter.safetensors` instead, which is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from audio_common.strict_json import JSONError, read_object
from torch import Tensor

from aac_llm.config.model import LoRAConfig
from aac_llm.models.lora import adapter_tensors, name_in_module, peft_config
from aac_llm.models.tensors import CheckpointError, read_tensors, write_tensors

Part = Literal["encoder", "decoder"]

FOLDERS: dict[Part, str] = {"encoder": "encoder_adapter", "decoder": "decoder_adapter"}
CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Before peft's names of a module's tensors."""


def save_adapter(
    place: Path, part: Part, settings: LoRAConfig, tensors: Mapping[str, Tensor], base: str | None
) -> None:
    """Write the adapters of a part in `place`.

    Args:
        place: folder of the captioner; the adapters' is made in it.
        part: what is adapted.
        settings: of the adapters.
        tensors: of the part, by their names in it.
        base: name of the model that is adapted; None: it has none.
    """
    folder = place / FOLDERS[part]
    folder.mkdir()
    config = peft_config(settings, part)
    config.base_model_name_or_path = base
    config.inference_mode = True  # peft's own default when it saves: whoever loads it does not train it
    config.save_pretrained(str(folder))
    named = {f"{PREFIX}{name}": tensor for name, tensor in adapter_tensors(tensors).items()}
    write_tensors(named, folder / WEIGHTS_FILE)


def find_weights(place: Path, part: Part) -> Path:
    """Return the file of a captioner's adapters."""
    old = place / f"{FOLDERS[part]}.safetensors"
    return old if old.is_file() else place / FOLDERS[part] / WEIGHTS_FILE


def read_adapter(place: Path, part: Part, settings: LoRAConfig) -> dict[str, Tensor]:
    """Read the adapters of a part, under their names in the adapted module.

    Raises:
        CheckpointError: they are missing, damaged, or were made with other settings than `settings`.
    """
    path = find_weights(place, part)
    check_adapter(path, settings)
    return {name_in_module(name.removeprefix(PREFIX)): tensor for name, tensor in read_tensors(path).items()}


def check_adapter(path: Path, settings: LoRAConfig) -> None:
    """Refuse adapters whose own settings give another scale than the captioner's.

    Raises:
        CheckpointError: naming the file, what was expected and what is there.
    """
    file = path.parent / CONFIG_FILE
    if path.name != WEIGHTS_FILE or not file.is_file():
        return  # of format version 1; names and shapes of the weights are checked all the same
    try:
        found = read_object(file)
    except (OSError, JSONError) as e:
        raise CheckpointError(f"{file} cannot be read: {e}") from e
    expected: dict[str, Any] = {"r": settings.rank, "lora_alpha": settings.alpha}
    # What changes an adapter's scale or kind without changing its tensors' shapes.
    expected |= {"use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "fan_in_fan_out": False}
    wrong = [
        f"{name} is {found[name]!r}, expected {value!r}"
        for name, value in expected.items()
        if name in found and found[name] != value
    ]
    if wrong:
        raise CheckpointError(f"{file} does not fit the captioner's config.json: {'; '.join(wrong)}")
