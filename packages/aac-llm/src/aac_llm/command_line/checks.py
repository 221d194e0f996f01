"""Cheap looks at what a verb needs, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path


def require_file(*paths: Path | None) -> None:
    """Raise for a file that is not there; `-` is standard input, None nothing."""
    for path in _given(paths):
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; a file is needed")
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}{_near(path)}")


def require_any(*paths: Path | None) -> None:
    """Raise for a file or folder that is not there."""
    for path in _given(paths):
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}{_near(path)}")


def require_folder(*paths: Path | None) -> None:
    """Raise for a folder that is not there; None is nothing."""
    for path in _given(paths):
        if not path.is_dir():
            what = f"{path} is a file; a folder is needed" if path.exists() else f"there is no folder {path}"
            raise (NotADirectoryError if path.exists() else FileNotFoundError)(f"{what}{_near(path)}")


def require_model(name: str, *, has_owner: bool = False) -> None:
    """Raise for what is surely no model: a path that is not there; a name of the hub is looked up later.

    Args:
        name: path or name.
        has_owner: whether its name on the hub is OWNER/NAME; old models are there by one word, as `gpt2`.
    """
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/")
    is_path |= has_owner and "/" not in name
    is_path |= name.startswith("runs/")  # where trainings go, and no owner on the hub
    if is_path and not Path(name).exists():
        run = Path("runs", Path(name).name)
        near = f"; did you mean {run}?" if run.is_dir() else _near(Path(name)) or _near(run)
        raise FileNotFoundError(f"there is no model folder {name}{near}")


def require_module(*names: str) -> None:
    """Raise for a module that is not installed; the command line then names the extra that brings it."""
    for name in names:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _given(paths: Iterable[Path | None]) -> list[Path]:
    return [path for path in paths if path is not None and str(path) != "-"]


def _near(path: Path) -> str:
    """Return what there is beside a path with a name like it."""
    from difflib import get_close_matches

    there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, there, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close and not path.exists() else ""
