"""A text tower by its folder, whatever runs it; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ml_clap.models.tower_folder import TowerSettings, find_tower, is_onnx

if TYPE_CHECKING:
    import numpy as np

    from ml_clap.models.tokenizer import CutText


class Tower(Protocol):
    """What answers text queries in place of a model."""

    settings: TowerSettings

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts that are longer than the tower reads."""

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""

    def encode(
        self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn", batch_size: int = 256
    ) -> np.ndarray:
        """Return `(texts, embed_dim)` float32, L2-normalized."""


def open_tower(source: str | Path, *, device: str = "cpu") -> Tower:
    """Load a tower: by onnxruntime where the folder holds `text.onnx`, else by torch.

    Args:
        source: Its folder, or the folder of a run of `ml-clap distill`.
        device: Where torch runs it, or `auto`; ONNX runs on the CPU.

    Raises:
        TextTowerError: It is none, is damaged, or its encoder is not there or another one.
    """
    folder = find_tower(source)
    if is_onnx(folder):
        from ml_clap.models.onnx_tower import OnnxTower

        return OnnxTower(folder)
    from ml_clap.models.device import choose_device
    from ml_clap.models.text_tower import TextTower

    return TextTower.from_pretrained(folder, device=choose_device(device))
