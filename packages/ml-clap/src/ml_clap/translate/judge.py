"""The judge: a multilingual text encoder that says how alike a translation and its source are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from audio_common.strict_json import read_object

from ml_clap.models.checkpoint import CONFIG_FILE, FORMAT, find_model
from ml_clap.models.loading import load_model
from ml_clap.models.text_encoder import load_text_encoder
from ml_clap.models.tokenizer import CutText, TextPreparer

MAX_TOKENS = 512


@dataclass(frozen=True)
class Judge:
    """A text encoder of one space for all languages."""

    name: str
    fingerprint: str
    """Of the weights, the tokenizer and the prefix."""
    encode: Callable[[Sequence[str], str], torch.Tensor]
    """Texts and their language to vectors `(n, dim)` of length one."""
    find_cut: Callable[[Sequence[str]], list[CutText]]
    """The texts that it does not read whole."""

    def embed(self, texts: Sequence[str], language: str, batch_size: int = 64) -> np.ndarray:
        """Return vectors `(n, dim)` float32 of length one; texts of like length are embedded together."""
        if not texts:
            raise ValueError("there is no text to judge")
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        rows: list[np.ndarray | None] = [None] * len(texts)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            vectors = self.encode([texts[number] for number in chosen], language).float().cpu().numpy()
            for number, vector in zip(chosen, vectors, strict=True):
                rows[number] = vector
        return np.stack([row for row in rows if row is not None])


def load_judge(source: str, *, prefix: str = "", device: str = "cpu") -> Judge:
    """Load a model of ours, whose text tower judges, or a text encoder (folder or hub id).

    Raises:
        ValueError: it is neither, or is damaged; a model of ours has its own prefix.
    """
    found = Path(find_model(source))
    config = found / CONFIG_FILE
    if config.is_file() and read_object(config).get("format") == FORMAT:
        if prefix:
            raise ValueError(f"judge_prefix: {source} is a model of ours, which has a prefix of its own")
        model = load_model(source, device=device)
        return Judge(source, model.fingerprint(), _no_grad(model.embed_text), model.find_cut)
    return _load_encoder(source, prefix, device)


def _load_encoder(source: str, prefix: str, device: str) -> Judge:
    encoder = load_text_encoder(source, max_tokens=MAX_TOKENS).to(device).eval()
    preparer = TextPreparer(encoder.tokenizer, "none", prefix)

    def encode(texts: Sequence[str], language: str) -> torch.Tensor:
        batch = preparer(texts, language).to(device)
        return F.normalize(encoder(batch.ids, batch.mask).float(), dim=-1)

    digest = blake2b(prefix.encode(), digest_size=16)
    digest.update(encoder.tokenizer.fingerprint().encode())
    for name, tensor in sorted(encoder.export_state().items()):
        digest.update(name.encode())
        digest.update(tensor.float().cpu().numpy().tobytes())
    return Judge(source, digest.hexdigest(), _no_grad(encode), preparer.find_cut)


def _no_grad(
    encode: Callable[[Sequence[str], str], torch.Tensor],
) -> Callable[[Sequence[str], str], torch.Tensor]:
    def run(texts: Sequence[str], language: str) -> torch.Tensor:
        with torch.inference_mode():
            return encode(texts, language)

    return run
