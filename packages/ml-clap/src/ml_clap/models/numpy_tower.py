"""The text tower of a model, or of a folder of `ml-clap distill`, run by NumPy: without torch, and as exact.

It takes the folders as they are. `ml_clap.search.known_texts` compares it with torch before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.models.model_folder import CONFIG_FILE, TEXT_FOLDER, WEIGHTS_FILE
from ml_clap.models.numpy_encoder import Weights, encode_tokens, find_architecture
from ml_clap.models.onnx_tower import read_tokenizer
from ml_clap.models.tokenizer import CutText, TextPreparer
from ml_clap.models.tower_folder import HEAD_FILE, TextTowerError, TowerSettings

SHORTEST = np.float32(1e-12)
"""What a vector is divided by at least, as torch does."""


class NumpyTower:
    """A `ml_clap.models.tower.Tower` of the files of a model's or a tower's folder.

    Args:
        folder: Of a whole model of ML-CLAP, or of a tower with an encoder of its own.
        settings: As `text_tower.json` would say of it.

    Raises:
        TextTowerError: Its encoder is none of those that are known here, or its weights are no float32.
    """

    def __init__(self, folder: Path, settings: TowerSettings) -> None:
        self.settings = settings
        encoder = folder / TEXT_FOLDER
        architecture = find_architecture(read_object(encoder / CONFIG_FILE))
        if architecture is None:
            raise TextTowerError(f"{encoder} is no BERT, XLM-R or SONAR")
        self._architecture = architecture
        try:
            if (folder / HEAD_FILE).is_file():
                self._weights, self._head = Weights(encoder / WEIGHTS_FILE), Weights(folder / HEAD_FILE)
            else:
                self._weights = Weights(folder / WEIGHTS_FILE, "text_encoder.")
                self._head = Weights(folder / WEIGHTS_FILE, "text_proj.")
        except (OSError, ValueError) as e:
            raise TextTowerError(f"{folder}: its weights are not in float32 there: {e}") from e
        self._tokenizer = read_tokenizer(encoder, settings.max_text_tokens, settings.pad_id)

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
        self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn", batch_size: int = 64
    ) -> np.ndarray:
        """Return `(texts, embed_dim)` float32, L2-normalized, in the order given."""
        rows = self.prepare_text.rows(texts, languages)
        vectors = np.empty((len(texts), self.settings.embed_dim), np.float32)
        for length in {len(row) for row in rows}:  # equally long texts need no padding
            places = [place for place, row in enumerate(rows) if len(row) == length]
            for first in range(0, len(places), batch_size):
                some = places[first : first + batch_size]
                vectors[some] = self._embed(np.array([rows[place] for place in some]))
        return vectors

    def _embed(self, ids: np.ndarray) -> np.ndarray:
        x = encode_tokens(self._weights, self._architecture, ids)
        if "weight" in self._head:
            x = x @ self._head["weight"].T + self._head["bias"]
        else:
            x = self._head.linear(np.maximum(self._head.linear(x, "0"), 0), "2")
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), SHORTEST)
