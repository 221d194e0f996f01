"""Tensors in safetensors files, and their way into a module: strictly, with every difference listed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


class CheckpointError(ValueError):
    """A folder or file that is not a captioner, is damaged, or does not fit the decoder."""


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, from any device, to a file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file.

    Raises:
        CheckpointError: there is no such file, or it is damaged.
    """
    require_file(path)
    try:
        return load_file(path)
    except Exception as e:  # safetensors raises a few kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as safetensors: {e}") from e


def require_file(path: Path) -> None:
    """Raise CheckpointError for what is no file: of a FIFO reading would wait for ever."""
    if not path.is_file():
        what = "is no file" if path.exists() else "is missing"
        raise CheckpointError(f"{path} {what}; is the checkpoint whole?")


def select_part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors of a submodule, under the submodule's own names."""
    prefix = f"{part}."
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_part(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str, *, kept: str = "") -> None:
    """Copy tensors into a module.

    Args:
        module: where to.
        tensors: under the module's names.
        source: where they are from, for the error's message.
        kept: pattern of the names that need not be given.

    Raises:
        CheckpointError: listing missing, unexpected and misshapen tensors.
    """
    wanted = module.state_dict()
    problems = find_misfits(
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        kept=kept,
    )
    # Bits that are read as numbers of another kind load without a word.
    problems += [
        f"type of {name}: expected {wanted[name].dtype}, got {tensor.dtype}"
        for name, tensor in tensors.items()
        if name in wanted and wanted[name].is_floating_point() != tensor.is_floating_point()
    ]
    if problems:
        shown = "\n  ".join(problems[:50]) + ("\n  ..." if len(problems) > 50 else "")
        raise CheckpointError(
            f"{source} does not fit {type(module).__name__} ({len(problems)} tensors):\n  {shown}"
        )
    module.load_state_dict(tensors, strict=False)


def find_misfits(
    wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], *, kept: str = ""
) -> list[str]:
    """Return what is missing, unexpected or of another shape, a text each; arguments as `load_part`."""
    problems = [f"missing: {n}" for n in wanted if n not in given and not (kept and re.search(kept, n))]
    problems += [f"unexpected: {n}" for n in given if n not in wanted]
    problems += [
        f"shape of {n}: expected {wanted[n]}, got {shape}"
        for n, shape in given.items()
        if n in wanted and wanted[n] != shape
    ]
    return problems
