"""Files of weights, as far as their heads tell: whole, and of all parts that an index of them names."""

from __future__ import annotations

from pathlib import Path

from audio_common.strict_json import read_object
from safetensors import SafetensorError, safe_open

CONFIG_FILES = ("config.json", "adapter_config.json")


def weights_faults(folder: Path) -> list[str]:
    """Return what is wrong with the safetensors of a folder and of those in it, by their heads alone."""
    faults = [fault for file in sorted(folder.rglob("*.safetensors")) if (fault := file_fault(file))]
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        try:
            names = set(read_object(index).get("weight_map", {}).values())
        except (OSError, ValueError, AttributeError, TypeError) as error:
            faults.append(str(error))
            continue
        faults += [
            f"{index.parent / name} is missing" for name in sorted(names, key=str) if not _is_in(index, name)
        ]
    return faults


def config_fault(folder: Path) -> str:
    """Return that a folder has weights but not the file that describes them, or nothing."""
    names = {file.name for file in folder.glob("*.safetensors")}
    if not names or any((folder / name).is_file() for name in CONFIG_FILES):
        return ""
    return f"{CONFIG_FILES['adapter_model.safetensors' in names]} is missing in {folder}"


def file_fault(file: Path) -> str:
    """Return why a file of safetensors cannot be read, or nothing."""
    try:
        with safe_open(file, framework="np"):
            return ""
    except (OSError, SafetensorError) as error:
        return f"{file} is damaged or cut off ({' '.join(str(error).split())})"


def _is_in(index: Path, name: object) -> bool:
    return isinstance(name, str) and (index.parent / name).is_file()
