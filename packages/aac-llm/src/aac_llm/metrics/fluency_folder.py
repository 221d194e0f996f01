"""Where fluency detectors lie, and what the folder of one of ours says of itself; without torch.

FOLDER/config.json          of the encoder, as transformers writes it
FOLDER/model.safetensors    `encoder.*`, `clf.weight` and `clf.bias`
FOLDER/tokenizer.json ...   its tokenizer
FOLDER/fluency.json         kinds of error, threshold, and what was measured on captions kept aside
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from audio_common.strict_json import read_object

from aac_llm.metrics.combined import ERROR_THRESHOLD
from aac_llm.metrics.fluency_calibration import Standard

CACHE_VARIABLE = "AAC_LLM_CACHE"
DESCRIPTION = "fluency.json"
"""Written last: a folder that has it is whole."""
WEIGHTS = "model.safetensors"


def cache_folder() -> Path:
    """Return the folder of detectors: `AAC_LLM_CACHE`, else `~/.cache/aac-llm`."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/aac-llm").expanduser()


def default_detector() -> Path:
    """Return where the detector of the gate `auto` is, if there is one."""
    return cache_folder() / "fluency"


def is_detector(folder: str | Path) -> bool:
    """Tell whether a folder holds a whole detector of ours."""
    return (Path(folder).expanduser() / DESCRIPTION).is_file()


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read what a detector's folder says of it.

    Raises:
        ValueError: it does not name its kinds and a threshold.
    """
    path = Path(folder).expanduser() / DESCRIPTION
    found = read_object(path)
    kinds, threshold = found.get("kinds"), found.get("threshold")
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(f"{path}: expected a list of names under kinds, got {kinds!r:.80}")
    if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not math.isfinite(threshold):
        raise ValueError(f"{path}: expected a number under threshold, got {threshold!r:.80}")
    return found


def read_standard(found: Any, num_kinds: int, folder: str | Path) -> Standard:
    """Return what a description says of captions of people.

    Raises:
        ValueError: it has not one number for each kind.
    """
    try:
        mean, deviation = (tuple(map(float, found[name])) for name in ("mean", "deviation"))
        limit = float(found["limit"])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{folder}/{DESCRIPTION}: expected mean, deviation and limit under standard"
        ) from error
    if len(mean) != num_kinds or len(deviation) != num_kinds or min(deviation) <= 0:
        raise ValueError(f"{folder}/{DESCRIPTION}: expected {num_kinds} means and deviations under standard")
    return Standard(mean=mean, deviation=deviation, limit=limit)


def threshold_of(source: str | Path) -> float:
    """Return the threshold of a detector: of ours what its folder says, of the published ones 0.9.

    Raises:
        ValueError: the folder's description cannot be used.
    """
    return float(read_description(source)["threshold"]) if is_detector(source) else ERROR_THRESHOLD
