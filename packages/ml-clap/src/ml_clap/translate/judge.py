"""The judge: a multilingual text encoder that says how alike a translation and its source are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from audio_common.strict_json import read_object

from ml_clap.models.checkpoint import CONFIG_FILE, FORMAT, find_model
from ml_clap.models.loading import load_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_tower import TextTower, load_encoder_tower
from ml_clap.models.tokenizer import CutText

MAX_TOKENS = 512


@dataclass(frozen=True)
class Judge:
    """A text encoder of one space for all languages."""

    name: str
    fingerprint: str
    """Of the weights, the tokenizer and the prefix."""
    tower: TextTower

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts that it does not read whole."""
        return self.tower.find_cut(texts)

    def embed(self, texts: Sequence[str], language: str, batch_size: int = 64) -> np.ndarray:
        """Return vectors `(n, dim)` float32 of length one; texts of like length are embedded together."""
        if not texts:
            raise ValueError("there is no text to judge")
        return self.tower.encode(texts, language, batch_size)


def load_judge(source: str, *, prefix: str = "", device: str = "cpu") -> Judge:
    """Load a model of ours, whose text tower judges, or a text encoder (folder or hub id).

    Raises:
        ValueError: it is neither, or is damaged; a model of ours has its own prefix.
    """
    config = Path(find_model(source)) / CONFIG_FILE
    if config.is_file() and read_object(config).get("format") == FORMAT:
        if prefix:
            raise ValueError(f"judge_prefix: {source} is a model of ours, which has a prefix of its own")
        model = load_model(source, device=device)
        assert isinstance(model, MLCLAP)
        return Judge(source, model.fingerprint(), TextTower.of_model(model, source))
    tower = load_encoder_tower(source, prefix=prefix, max_tokens=MAX_TOKENS, normalization="none")
    return Judge(source, f"{tower.settings.fingerprint} {prefix!r}", tower.to(device))
