"""A text tower as ONNX, run by onnxruntime (extra `onnx`) without torch or transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ml_clap.models.model_folder import TEXT_FOLDER
from ml_clap.models.tokenizer import (
    SENTENCEPIECE_FILE,
    CutText,
    FastTokenizer,
    SonarTokenizer,
    TextPreparer,
)
from ml_clap.models.tower_folder import ONNX_FILE, TextTowerError, read_tower_settings

HF_FILE = "tokenizer.json"


class OnnxTower:
    """What `ml-clap export` wrote of a text tower.

    Args:
        folder: With `text.onnx`, `text_tower.json` and the tokenizer in `text_encoder/`.
        threads: Of one query. A text is a dozen tokens: more threads only wait for one another.

    Raises:
        TextTowerError: A file is missing or damaged.
    """

    def __init__(self, folder: str | Path, *, threads: int = 1) -> None:
        import onnxruntime

        folder = Path(folder)
        self.settings = read_tower_settings(folder)
        self._tokenizer = read_tokenizer(
            folder / TEXT_FOLDER, self.settings.max_text_tokens, self.settings.pad_id
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone: its warnings are about the graph, for its makers
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / ONNX_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # it raises a kind of its own for each fault of a file
            raise TextTowerError(f"{folder / ONNX_FILE} cannot be used: {e}") from e

    @property
    def prepare_text(self) -> TextPreparer:
        """What makes token ids of texts."""
        return TextPreparer(self._tokenizer, self.settings.text_normalization, self.settings.text_prefix)

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts that are longer than the tower reads."""
        return self.prepare_text.find_cut(texts)

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        return self.prepare_text.describe_cut(cut)

    def encode(
        self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn", batch_size: int = 256
    ) -> np.ndarray:
        """Return `(texts, embed_dim)` float32, L2-normalized, in the order given."""
        codes = [languages] * len(texts) if isinstance(languages, str) else languages
        vectors = np.empty((len(texts), self.settings.embed_dim), np.float32)
        for first in range(0, len(texts), batch_size):
            part = slice(first, first + batch_size)
            ids, mask = pad_rows(self.prepare_text.rows(texts[part], codes[part]), self.settings.pad_id)
            (vectors[part],) = self._session.run(["vectors"], {"ids": ids, "mask": mask})
        return vectors


def pad_rows(rows: Sequence[Sequence[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad rows of ids on the right: ids `(rows, longest)` int64, and a mask, True where there is a token."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad, np.int64)
    ids[mask] = [piece for row in rows for piece in row]
    return ids, mask


def read_tokenizer(folder: Path, max_tokens: int, pad_id: int) -> SonarTokenizer | FastTokenizer:
    """Read the tokenizer in a text encoder's folder without transformers; TextTowerError if there is none."""
    if (folder / SENTENCEPIECE_FILE).is_file():
        return SonarTokenizer.from_folder(folder, max_tokens=max_tokens)
    if (folder / HF_FILE).is_file():
        return FastTokenizer(folder / HF_FILE, max_tokens=max_tokens, pad_id=pad_id)
    raise TextTowerError(f"{folder} holds no tokenizer ({SENTENCEPIECE_FILE} or {HF_FILE})")
