"""How fast this processor multiplies matrices of each number format: measured once, and remembered.

Which instructions a processor has does not tell: bfloat16 is twice as fast as float32 on one with
avx512_bf16, and slower on one that must emulate it. So a product of an encoder's size is timed, in a tenth of
a second, and the times are kept in `speed.json` in AUDIO_COMMON_CACHE (~/.cache/audio-common), by processor,
torch and number of threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch

from audio_common.strict_json import read_object

CACHE_VARIABLE = "AUDIO_COMMON_CACHE"
FILE_NAME = "speed.json"
WORTH = 1.2
"""A format is taken by itself, for its rounding, only if it is this many times as fast."""
_ROWS, _WIDTH, _REPEATS = 512, 768, 5
Speeds = dict[str, float]


def is_bf16_faster(device: str | torch.device = "cpu") -> bool:
    """Tell whether a device multiplies bfloat16 so much faster than float32 that it is worth its rounding."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and gain("bf16") >= WORTH


def gain(precision: str) -> float:
    """Say how many times as fast as float32 this processor multiplies `bf16` or `int8`."""
    speeds = matmul_seconds()
    return speeds["fp32"] / speeds[precision]


def matmul_seconds() -> Speeds:
    """Return the seconds of a product of 512 x 768 x 768 in `fp32`, `bf16` and `int8` on this processor."""
    return _known(_key(), _file())


@cache
def _known(key: str, path: Path) -> Speeds:
    kept = _read(path)
    if key not in kept:
        kept[key] = _measure()
        _write(path, kept)
    return kept[key]


def _measure() -> Speeds:
    """Time the products in turn, so that another job slows all of them; the shortest time counts."""
    with torch.inference_mode():
        products = _products()
        times: dict[str, list[float]] = {name: [] for name in products}
        for repeat in range(_REPEATS + 1):
            for name, product in products.items():
                start = time.perf_counter()
                product()
                if repeat:  # the first one prepares
                    times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def _products() -> dict[str, Callable[[], object]]:
    a, b = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _WIDTH)
    return {
        "fp32": partial(torch.mm, a, b),
        "bf16": partial(torch.mm, a.bfloat16(), b.bfloat16()),
        "int8": partial(torch._int_mm, a.to(torch.int8), b.to(torch.int8)),
    }


def _key() -> str:
    """What the times depend on; a folder of caches may be shared by unlike machines."""
    return f"{_processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads"


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"
    about = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    told = {key.strip(): value.strip() for key, value in about.items()}
    flags = hashlib.blake2b(told.get("flags", told.get("Features", "")).encode(), digest_size=4).hexdigest()
    return f"{told.get('model name', platform.machine())} {flags}"


def _file() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/audio-common").expanduser() / FILE_NAME


def _read(path: Path) -> dict[str, Speeds]:
    """What was measured before; nothing of a file that is missing, damaged or of another form."""
    try:
        kept = read_object(path)
    except (OSError, ValueError):
        return {}
    return {key: speeds for key, speeds in kept.items() if _is_speeds(speeds)}


def _is_speeds(found: object) -> bool:
    return (
        isinstance(found, dict)
        and set(found) == {"fp32", "bf16", "int8"}
        and all(isinstance(value, float) and 0 < value < math.inf for value in found.values())
    )


def _write(path: Path, kept: dict[str, Speeds]) -> None:
    """Keep what was measured; where it cannot be written, it is measured again by the next process."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
