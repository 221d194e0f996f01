"""Keep a torchaudio that cannot be imported from taking transformers down.

torchaudio's wheels raise beside a torch of another CUDA or of none (2.11, the newest, beside torch 2.15), and
transformers 5 imports torchaudio wherever it is installed: none of its models load there. Nothing here needs
torchaudio at run time, so a broken one is made to look absent.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class TorchaudioGuard(MetaPathFinder):
    """Finds no module; it tries torchaudio just before transformers' own part for audio does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Always None; the search goes on."""
        if fullname == "transformers.audio_utils":
            hide_broken_torchaudio()
        return None


def hide_broken_torchaudio() -> None:
    """Make an installed torchaudio that cannot be imported look absent, to transformers too."""
    try:
        import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        sys.modules["torchaudio"] = None  # type: ignore[assignment]
        answer: Any = getattr(sys.modules.get("transformers.utils"), "is_torchaudio_available", None)
        if hasattr(answer, "cache_clear"):  # transformers has asked already, and remembers
            answer.cache_clear()


def install() -> None:
    """Put the guard before all finders, once."""
    if not any(isinstance(finder, TorchaudioGuard) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchaudioGuard())
