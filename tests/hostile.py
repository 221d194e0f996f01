"""Model folders that mean harm: each made from a good one by one change.

Whoever loads one must refuse it in one line or load it as if nothing were wrong, in seconds, in bounded
memory, and must run nothing of it. `evil` is what their code and pickles would do: write a file.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "EXECUTED"
"""Name of the file that appears if anything of a hostile folder runs."""
SIZES = ("depth", "num_layers", "num_hidden_layers", "encoder_layers", "decoder_layers", "layers")
"""Keys of configs that say how many layers are made; the worst ones."""
VALUES: tuple[Any, ...] = (1_000_000, 1 << 62, -1, 0, "12", None, True, 2.5, [], {}, 10**99, "x" * 100_000)
"""Written in place of a whole number."""


@dataclass(frozen=True)
class Hostile:
    """A change that makes a good model folder hostile."""

    name: str
    apply: Callable[[Path], object]
    """Changes a folder that is a copy of the good one."""
    key: str | None = None
    """What the error must name, if the folder is refused."""
    must_refuse: bool = False
    """Whether loading it would be wrong."""


class Evil:
    """Unpickled, it writes the mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def zoo_of(model: Path) -> Iterator[Hostile]:
    """Yield every change of a model folder, the worst ones first."""
    yield from bad_sizes(model)
    yield from bad_json(model)
    yield from bad_tensors(model)
    yield from code_and_pickles(model)


def json_files(model: Path) -> list[Path]:
    """Return the JSON files of a folder, relative to it."""
    return sorted(path.relative_to(model) for path in model.rglob("*.json"))


def bad_sizes(model: Path) -> Iterator[Hostile]:
    """Yield a config for each whole number in it and each of `VALUES`, numbers of layers first."""
    configs = [path for path in json_files(model) if path.name == "config.json"]
    found = [(file, place) for file in configs for place in integers(json.loads((model / file).read_text()))]
    found.sort(key=lambda pair: pair[1][-1] not in SIZES)
    for file, place in found:
        for value in VALUES:
            shown = str(value)[:12]
            is_layers = place[-1] in SIZES and value in (1_000_000, 1 << 62, -1, 10**99)
            yield Hostile(
                f"{file}: {'.'.join(map(str, place))} = {shown}",
                lambda folder, file=file, place=place, value=value: set_value(folder / file, place, value),
                key=str(place[-1]) if is_layers else None,
            )


def bad_json(model: Path) -> Iterator[Hostile]:
    """Yield a damaged file for each JSON file of the folder."""
    changes: dict[str, Callable[[bytes], bytes]] = {
        "nested 100,000 deep": lambda text: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "lists 100,000 deep": lambda text: b"[" * 100_000,
        "a key twice": lambda text: text.replace(b"{", b'{"model_type": "x", "model_type": "y", ', 1),
        "NaN": lambda text: text.replace(b"{", b'{"depth": NaN, ', 1),
        "1e999": lambda text: text.replace(b"{", b'{"depth": 1e999, ', 1),
        "401 digits": lambda text: text.replace(b"{", b'{"depth": ' + b"1" * 401 + b", ", 1),
        "5,000 digits": lambda text: text.replace(b"{", b'{"depth": ' + b"1" * 5000 + b", ", 1),
        "half a character": lambda text: text.replace(b"{", b'{"x": "\\ud800", ', 1),
        "cut off": lambda text: text[: len(text) // 2],
        "empty": lambda text: b"",
        "a list": lambda text: b"[]",
        "null": lambda text: b"null",
        "a text": lambda text: b'"config"',
        "an empty object": lambda text: b"{}",
        "not UTF-8": lambda text: b"\xff\xfe\xfa" + text,
        "zeros": lambda text: bytes(1000),
        "terminal codes": lambda text: b'{"\\u001b[2J\\u001b]0;evil\\u0007": }\x1b[31m',
    }
    for file in json_files(model):
        for name, change in changes.items():
            yield Hostile(
                f"{file}: {name}", lambda folder, file=file, change=change: rewrite(folder / file, change)
            )
        yield Hostile(f"{file}: a link to /etc/passwd", lambda folder, file=file: link(folder / file))
        yield Hostile(f"{file}: a FIFO", lambda folder, file=file: make_fifo(folder / file))
        yield Hostile(f"{file}: a folder", lambda folder, file=file: make_folder(folder / file))


def bad_tensors(model: Path) -> Iterator[Hostile]:
    """Yield damaged weights for each safetensors file of the folder."""
    changes: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda data: b"",
        "seven bytes": lambda data: data[:7],
        "header cut": lambda data: data[:60],
        "data cut": lambda data: data[: len(data) * 2 // 3],
        "header of 0": lambda data: bytes(8) + data[8:],
        "header of 2^31": lambda data: struct.pack("<Q", 1 << 31) + data[8:],
        "header of 2^63": lambda data: struct.pack("<Q", (1 << 64) - 1) + data[8:],
        "header nested": lambda data: with_header(data, b"[" * 100_000),
        "header no JSON": lambda data: with_header(data, b"\xff" * 100),
        "shape of 2^60": lambda data: change_header(data, lambda entry: entry | {"shape": [1 << 60]}),
        "shape below 0": lambda data: change_header(data, lambda entry: entry | {"shape": [-1]}),
        "other type": lambda data: change_header(data, lambda entry: entry | {"dtype": "I32"}),
        "no such type": lambda data: change_header(data, lambda entry: entry | {"dtype": "X9"}),
        "shapes turned": lambda data: change_header(
            data, lambda entry: entry | {"shape": [*entry["shape"], 1]}
        ),
        "offsets beyond": lambda data: change_header(
            data, lambda entry: entry | {"data_offsets": [0, 1 << 40]}
        ),
        "offsets turned": lambda data: change_header(
            data, lambda entry: entry | {"data_offsets": entry["data_offsets"][::-1]}
        ),
        "no tensors": lambda data: with_header(data, b"{}", b""),
        "other names": lambda data: rename_tensors(data),
        "a pickle": lambda data: pickle.dumps({"weights": [1, 2, 3]}),
        "a page": lambda data: b"<!DOCTYPE html><html>404</html>",
        "a pointer": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    }
    for file in sorted(path.relative_to(model) for path in model.rglob("*.safetensors")):
        for name, change in changes.items():
            yield Hostile(
                f"{file}: {name}",
                lambda folder, file=file, change=change: rewrite(folder / file, change),
                must_refuse=True,
            )
        yield Hostile(f"{file}: not there", lambda folder, file=file: (folder / file).unlink())
        yield Hostile(f"{file}: /dev/zero", lambda folder, file=file: link(folder / file, "/dev/zero"))
        yield Hostile(f"{file}: a FIFO", lambda folder, file=file: make_fifo(folder / file))
        yield Hostile(
            f"{file}: an evil pickle by that name",
            lambda folder, file=file: (folder / file).write_bytes(evil_pickle(folder)),
            must_refuse=True,
        )


def code_and_pickles(model: Path) -> Iterator[Hostile]:
    """Yield folders with code of their own, and with pickles in place of weights."""
    for file in json_files(model):
        yield Hostile(f"{file}: auto_map with code", lambda folder, file=file: add_code(folder, file))
    for weights in sorted(path.relative_to(model) for path in model.rglob("*.safetensors")):
        for name in ("pytorch_model.bin", "model.pt", "adapter_model.bin"):
            yield Hostile(
                f"{name} instead of {weights}",
                lambda folder, weights=weights, name=name: replace_by_pickle(folder / weights, name),
            )
    for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin", "custom_generate/generate.py"):
        yield Hostile(f"beside: {name}", lambda folder, name=name: add_evil(folder, name))
    yield Hostile("a sentencepiece model of noise", lambda folder: noise(folder, "*.model"))
    yield Hostile("a chat template that fails", lambda folder: noise(folder, "*.jinja"))


# What changes files


def integers(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where in a value whole numbers are."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from integers(child, (*place, key))


def set_value(path: Path, place: tuple[str | int, ...], value: Any) -> None:
    """Write another value at a place of a JSON file."""
    content = json.loads(path.read_text())
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    path.write_text(json.dumps(content))


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Write a file's content after a change."""
    path.write_bytes(change(path.read_bytes()))


def with_header(data: bytes, header: bytes, rest: bytes | None = None) -> bytes:
    """Return a safetensors file with another header."""
    size = struct.unpack("<Q", data[:8])[0]
    return struct.pack("<Q", len(header)) + header + (data[8 + size :] if rest is None else rest)


def change_header(data: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Return a safetensors file with every tensor's entry changed."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    changed = {name: entry if name == "__metadata__" else change(entry) for name, entry in header.items()}
    return with_header(data, json.dumps(changed).encode())


def rename_tensors(data: bytes) -> bytes:
    """Return a safetensors file whose tensors have names that nobody expects."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    renamed = {name if name == "__metadata__" else f"\x1b[2J{name}": entry for name, entry in header.items()}
    return with_header(data, json.dumps(renamed).encode())


def link(path: Path, target: str = "/etc/passwd") -> None:
    """Put a symbolic link in a file's place."""
    path.unlink()
    path.symlink_to(target)


def make_fifo(path: Path) -> None:
    """Put a FIFO that nobody writes in a file's place."""
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink()
    path.mkdir()


def evil_pickle(folder: Path) -> bytes:
    """Return a pickle that writes the mark into the folder."""
    return pickle.dumps(Evil(folder / MARK))


def add_evil(folder: Path, name: str) -> None:
    """Add a file that writes the mark when it is loaded."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    is_code = path.suffix == ".py"
    path.write_bytes(evil_code(folder) if is_code else evil_pickle(folder))


def replace_by_pickle(weights: Path, name: str) -> None:
    """Put an evil pickle in the place of weights."""
    weights.unlink()
    (weights.parent / name).write_bytes(evil_pickle(weights.parent))


def evil_code(folder: Path) -> bytes:
    """Return Python that writes the mark into the folder when it is imported."""
    mark = str(folder / MARK)
    names = ("Config", "Model", "Tokenizer", "Processor", "Extractor")
    classes = "".join(f"class {name}: pass\n" for name in names)
    return f"open({mark!r}, 'w').close()\n{classes}def generate(*a, **k): pass\n".encode()


def add_code(folder: Path, file: Path) -> None:
    """Name code of the folder's own in one of its JSON files, as custom models of the hub do."""
    place = (folder / file).parent
    (place / "evil.py").write_bytes(evil_code(folder))
    content = json.loads((folder / file).read_text())
    if not isinstance(content, dict):
        return
    content["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoModel": "evil.Model",
        "AutoModelForCausalLM": "evil.Model",
        "AutoModelForSpeechSeq2Seq": "evil.Model",
        "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
        "AutoProcessor": "evil.Processor",
        "AutoFeatureExtractor": "evil.Extractor",
    }
    content["model_type"] = content.get("model_type", "evil")
    (folder / file).write_text(json.dumps(content))


def noise(folder: Path, pattern: str) -> None:
    """Overwrite the files of a pattern."""
    for path in folder.rglob(pattern):
        path.write_bytes(b"{% for x in y %}{{ \x00\xff" * 100)


def copy_of(model: Path, folder: Path) -> Path:
    """Copy a model's folder to another place, in place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(model, folder, symlinks=True))
