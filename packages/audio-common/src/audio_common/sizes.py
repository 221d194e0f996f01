"""Refuse a model's configuration or weights that ask for absurd sizes, before anything is allocated.

A configuration is a few hundred bytes that anybody can write, and a model is built from it before its weights
are looked at: a million layers take minutes and all memory. What it asks for is bounded here by numbers that
no published model comes near, and, where the weights' header can be had, by what is in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audio_common.reader import shown
from audio_common.strict_json import JSONError, parse_object, read_object

MAX_HEADER_BYTES = 100_000_000
"""Of a `.safetensors` file; the format's own limit."""
ITEM_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
"""Bits of a value in `.safetensors`."""

MAX_LAYERS = 1_000
MAX_WIDTH = 131_072
MAX_VOCABULARY = 33_554_432
MAX_POSITIONS = 16_777_216
MAX_COUNT = 65_536
MAX_RATIO = 1_024
MAX_OTHER = 1 << 40
BOUNDS: tuple[tuple[str, float], ...] = (
    (r"(^|_)(seeds?|ids?|date|time|timestamp|version|revision|hash|bytes|numel|parameters)$", math.inf),
    (r"vocab|num_(labels|classes)$|^outputdim$", MAX_VOCABULARY),
    (r"(^|_)(layers?|depths?|blocks)$", MAX_LAYERS),
    (
        r"position|(^|_)(length|len|ctx|context|tokens|frames|window|samples|seconds|chunk|fft|hop)($|_)",
        MAX_POSITIONS,
    ),
    (r"(^|_)(heads?|groups?|experts?|queries|codebooks|stages|levels)(_|$)", MAX_COUNT),
    (r"(mlp|ffn|ff|expand|expansion|width|hidden)_?(ratio|factor|mult|multiplier)", MAX_RATIO),
    (
        r"size|dim|width|channels?|features|hidden|inner|intermediate|rank|^r$|embd|model$|ffn|mels?|bins|(^|_)[dn]_",
        MAX_WIDTH,
    ),
)
"""What a name must match, and the largest number it may stand for; the first that matches counts. Numbers
that only name something have none; all other whole numbers have `MAX_OTHER`."""
NO_SIZES = ("id2label", "label2id")
"""Settings whose keys are words of anybody's."""
COUNTED_LAYERS = r"^(num_hidden_layers|(num_|n_)?((en|de)coder_)?layers?|depth|(num_|n_)blocks)$"
"""Each of these has tensors of its own."""
HIDDEN = ("hidden_size", "d_model", "n_embd", "embed_dim", "dim")
INNER = ("intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner")
NEVER_NOUGHT = ("hidden_size", "d_model", "n_embd", "embed_dim", "vocab_size")
SHARED = 64
"""A model may have so many times the numbers in its file: packed in few bits, or shared by its layers."""

Shapes = Mapping[str, Sequence[int]]
"""Shapes of tensors by name."""


class CheckpointError(ValueError):
    """A file that is no checkpoint, or not one of this configuration."""


def check_sizes(settings: Mapping[str, Any], source: str, tensors: Shapes | None = None) -> None:
    """Refuse a model's configuration that asks for absurd sizes.

    Args:
        settings: a configuration, nested as it may be.
        source: of it, the file's path, for messages.
        tensors: shapes of the weights that the model will be given, if they are known (`safetensors_shapes`):
            it can have no more layers than there are tensors, and not far more numbers.

    Raises:
        CheckpointError: naming the source, the setting and its bound.
    """
    for path, name, value in _numbers(settings, ""):
        bound = _bound_of(name, value)
        if not abs(value) <= bound:
            raise CheckpointError(f"{source}: {path} is {value}, at most {bound:,} is plausible")
        is_layers = isinstance(value, int) and re.search(COUNTED_LAYERS, name)
        # Without layers a model loads and answers, and says nothing of the weights that it leaves out.
        if value < (0 if is_layers else 1 if name in NEVER_NOUGHT else -math.inf):
            raise CheckpointError(f"{source}: {path} is {value}, which is no size")
        if tensors is not None and is_layers and value > len(tensors):
            raise CheckpointError(f"{source}: {path} is {value}, but its weights are {len(tensors)} tensors")
    if tensors is not None:
        total = sum(math.prod(shape) for shape in tensors.values())
        for path, node in _nodes(settings, ""):
            if (least := _least_numbers(node)) > SHARED * total + 1_000_000:
                raise CheckpointError(
                    f"{source}: {path or 'the model'} would have more than {least:,} numbers, but its "
                    f"weights have {total:,}"
                )


def check_folder(folder: str | Path) -> None:
    """Refuse a folder of a model of transformers whose configuration asks for more than its weights hold.

    Raises:
        CheckpointError, JSONError: naming file and setting.
    """
    path = Path(folder) / "config.json"
    if path.is_file():  # else it is a hub id, or transformers says what is missing
        check_sizes(read_object(path), str(path), safetensors_shapes(folder) or None)


def _numbers(node: Any, path: str, name: str = "") -> Iterator[tuple[str, str, float]]:
    """Yield each number: its path, the name of its setting, and it."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key not in NO_SIZES:
                yield from _numbers(value, f"{path}.{shown(str(key))}".lstrip("."), str(key).lower())
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _numbers(value, f"{path}[{index}]", name)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path, name, node


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            if key not in NO_SIZES:
                yield from _nodes(value, f"{path}.{shown(str(key))}".lstrip("."))


def _bound_of(name: str, value: float) -> float:
    for pattern, bound in BOUNDS:
        if re.search(pattern, name):
            return bound
    return MAX_OTHER if isinstance(value, int) else math.inf


def _least_numbers(node: Mapping[str, Any]) -> int:
    """Bound the numbers of a transformer from below: an embedding, and a matrix for each layer."""
    width = _largest(node, HIDDEN)
    inner = max(width, _largest(node, INNER))
    layers = max(
        [value for name, value in node.items() if re.search(COUNTED_LAYERS, str(name)) and _is_whole(value)],
        default=0,
    )
    return layers * width * inner + width * _largest(node, ("vocab_size",))


def _largest(node: Mapping[str, Any], names: Sequence[str]) -> int:
    return max([node[name] for name in names if _is_whole(node.get(name))], default=0)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def safetensors_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the tensors in a `.safetensors` file, or in all of a folder, from their headers.

    Raises:
        CheckpointError: naming the file and the tensor: it is no such file, is cut off, or its header lies.
    """
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes |= _file_shapes(file)
    return shapes


def _file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    entries, _ = read_safetensors_header(path)
    return {tensor: tuple(entry["shape"]) for tensor, entry in entries.items()}


def read_safetensors_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Read what the header of a `.safetensors` file says of each tensor, checked against the file's size.

    Returns:
        Tensor -> its `dtype`, `shape` and `data_offsets`; and the byte of the file that offsets are from.

    Raises:
        CheckpointError: as `safetensors_shapes`.
    """
    name = shown(path)
    if path.exists() and not path.is_file():  # opening a pipe waits for its writer
        raise CheckpointError(f"{name} cannot be read as weights: it is no regular file")
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(
                    f"{name} is no .safetensors file, or it is cut off: its header would have {length:,} of "
                    f"{size:,} bytes; fetch it again"
                )
            header = parse_object(file.read(length).rstrip(b" \0"), f"{name}, header")
    except (OSError, JSONError) as error:
        raise CheckpointError(f"{name} cannot be read as weights: {error}") from error
    header.pop("__metadata__", None)
    for tensor, entry in header.items():
        _check_entry(name, tensor, entry, size - 8 - length)
    return header, 8 + length


def _check_entry(name: str, tensor: str, entry: Any, num_bytes: int) -> None:
    """Check one entry of a header against the bytes that follow it."""
    where = f"{name}, tensor {shown(tensor)}"
    fields = entry if isinstance(entry, dict) else {}
    shape, offsets = _sizes(fields.get("shape")), _sizes(fields.get("data_offsets"))
    bits = ITEM_BITS.get(str(fields.get("dtype")))
    if shape is None or offsets is None or len(offsets) != 2 or bits is None:
        raise CheckpointError(f"{where}: expected a dtype, a shape and two offsets, got {str(entry)[:200]}")
    start, stop = offsets
    if not start <= stop <= num_bytes:
        raise CheckpointError(
            f"{where}: it would lie in bytes {start} to {stop} of {num_bytes}; the file is cut off or damaged"
        )
    if math.prod(shape) * bits != (stop - start) * 8:
        raise CheckpointError(f"{where}: {fields['dtype']} of shape {shape} are not {stop - start} bytes")


def _sizes(values: Any) -> tuple[int, ...] | None:
    is_list = isinstance(values, list) and all(_is_whole(value) and value >= 0 for value in values)
    return tuple(values) if is_list else None
