"""Say in what two folders of a run differ.

Times and rates may differ, and nothing else: weights are compared bit for bit, rows by value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LEFTOVERS = re.compile(r"(^|/)(\.saving-|\.lock$|\..*\.lock$|tmp-checkpoint)|\.(partial|old|tmp)(/|$)")
"""Names of what only a running process may have."""
VARIES = re.compile(
    r"(^|_|/)(time|times|seconds_taken|runtime|elapsed|started|ended|date|throughput|speed|pid)$"
    r"|_per_second$|_runtime$|step_time|mtime|ctime|^total_flos$"
)
"""Keys whose values differ from run to run."""
UNREAD = re.compile(r"\.(png|pt|pth|bin)$|(^|/)checkpoint-\d+/.*(?<!\.safetensors)$")
"""Files that need only be there: pictures, and of a checkpoint all but weights; that it resumes proves it."""
MOST = 3
"""Lines and names that are shown of many."""


def find_differences(expected: Path, got: Path) -> list[str]:
    """Return what is different in the folder `got`, a line each; nothing if they are equal."""
    files = {folder: _list_files(folder) for folder in (expected, got)}
    left = {name for name in files[got] if LEFTOVERS.search(name)}
    lines = [
        *_list_some("left behind", left),
        *_list_some("missing", files[expected] - files[got]),
        *_list_some("not in the undisturbed run", files[got] - files[expected] - left),
    ]
    for name in sorted(files[expected] & files[got]):
        if UNREAD.search(name):
            lines += [f"{name} is empty"] if not (got / name).stat().st_size else []
            continue
        read = READERS.get(Path(name).suffix, Path.read_bytes)
        try:
            found = _compare(read(expected / name), read(got / name))
            lines += [f"{name}{line}" for line in found[:MOST]]
            lines += [f"{name}: {len(found) - MOST} more differences"] if len(found) > MOST else []
        except (ValueError, OSError) as error:
            lines.append(f"{name} cannot be read: {error}")
    return lines


def _list_some(what: str, names: set[str]) -> list[str]:
    """Return a line with the first of some names; none for none."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return [f"{what}: {', '.join(sorted(names)[:MOST])}{more}"] if names else []


def _list_files(folder: Path) -> set[str]:
    """Return the relative paths of all files, and of empty folders with a stroke at the end."""
    found = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir():
            found.add(name)
        elif not any(path.iterdir()):
            found.add(f"{name}/")
    return found


def _compare(expected: Any, got: Any) -> list[str]:
    """Return where two values differ, at most the first of a list's rows."""
    if isinstance(expected, dict) and isinstance(got, dict):
        keys = [key for key in {**expected, **got} if not VARIES.search(key)]
        absent = [f": {key} is missing" for key in keys if key not in got]
        absent += [f": {key} is not in the undisturbed run" for key in keys if key not in expected]
        both = [key for key in keys if key in expected and key in got]
        return absent + [f": {key}{line}" for key in both for line in _compare(expected[key], got[key])]
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return [f" has {len(got)} rows, not {len(expected)}"]
        pairs = enumerate(zip(expected, got, strict=True), 1)
        return next(
            ([f" row {n}{line}" for line in found] for n, (a, b) in pairs if (found := _compare(a, b))), []
        )
    if isinstance(expected, np.ndarray):
        return [] if _equal_arrays(expected, got) else [" has other values"]
    return (
        []
        if expected == got or (expected != expected and got != got)
        else [f": {_short(got)}, not {_short(expected)}"]
    )


def _equal_arrays(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({len(text)} characters)"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_lines(path: Path) -> list[Any]:
    lines = path.read_text(encoding="utf-8").splitlines()
    # Checks of sounds are noted in the order in which the threads end.
    return [json.loads(line) for line in (sorted(lines) if path.name.endswith(".checked.jsonl") else lines)]


def _read_tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file
    from torch import uint8

    # The values as bytes: NumPy lacks bfloat16.
    return {
        name: {"of": f"{tensor.dtype} {list(tensor.shape)}", "values": tensor.flatten().view(uint8).numpy()}
        for name, tensor in load_file(path).items()
    }


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _read_json,
    ".jsonl": _read_lines,
    ".safetensors": _read_tensors,
    ".npy": np.load,
}
"""By a file's ending; all others are compared as bytes."""
