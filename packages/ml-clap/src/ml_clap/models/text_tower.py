"""A text tower in torch: an encoder and a head into the space of a model that exists.

It is what `ml-clap distill` trains, what `ml-clap project` fits, and what `ml-clap export` writes as ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from audio_common.checkpoint import read_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from ml_clap.files import write_atomically
from ml_clap.models.card import make_tower_card
from ml_clap.models.card_parts import Training
from ml_clap.models.identity import hash_model
from ml_clap.models.licence import CARD_FILE
from ml_clap.models.model_folder import TEXT_FOLDER
from ml_clap.models.text_encoder import TextEncoder, load_text_encoder
from ml_clap.models.text_source import WEIGHTS_FILE
from ml_clap.models.tokenizer import CutText, TextPreparer
from ml_clap.models.tower_folder import (
    HEAD_FILE,
    TextTowerError,
    TowerSettings,
    read_tower_settings,
    write_tower_settings,
)

if TYPE_CHECKING:
    from typing import Self

    from ml_clap.models.ml_clap import MLCLAP


class TextTower(nn.Module):
    """An encoder and a head: texts to vectors of a shared space.

    Args:
        settings: Whose space it is, and how texts are prepared.
        encoder: Gives sentence vectors `(texts, dim)`.
        head: Maps them to `(texts, settings.embed_dim)`; they are normalized after it.
    """

    def __init__(self, settings: TowerSettings, encoder: TextEncoder, head: nn.Module) -> None:
        super().__init__()
        self.settings = settings
        self.text_encoder = encoder
        self.head = head

    @classmethod
    def of_model(cls, model: MLCLAP, name: str, fingerprint: str | None = None) -> Self:
        """Return the text tower that a model has; its weights are the model's own.

        Args:
            model: In evaluation mode.
            name: What the tower says that it was made for.
            fingerprint: The model's, where it is known: computing it takes a second.
        """
        settings = TowerSettings(
            kind="model",
            model=name,
            fingerprint=fingerprint or model.fingerprint(),
            embed_dim=model.config.embed_dim,
            text_normalization=model.config.text_normalization,
            text_prefix=model.config.text_prefix,
            max_text_tokens=model.config.max_text_tokens,
        )
        return cls(settings, model.text_encoder, model.text_proj).eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Load what `save_pretrained` wrote, in evaluation mode.

        Raises:
            TextTowerError: The head does not fit, or a projection's encoder is another one than it was.
        """
        folder = Path(folder)
        settings = read_tower_settings(folder)
        source = folder / TEXT_FOLDER if settings.encoder is None else settings.encoder
        encoder = load_text_encoder(source, max_tokens=settings.max_text_tokens)
        if settings.encoder is not None and encoder_fingerprint(encoder) != settings.encoder_fingerprint:
            raise TextTowerError(
                f"{folder} is a projection of the text encoder {settings.encoder}, whose weights or "
                "tokenizer are others now: fit it again with `ml-clap project`"
            )
        head = read_head(folder / HEAD_FILE, encoder.dim, settings.embed_dim)
        return cls(settings, encoder, head).to(device).eval()

    def save_pretrained(self, folder: str | Path, *, training: Training | None = None) -> None:
        """Write the tower's folder with its model card; a projection's encoder stays where it is.

        Args:
            folder: Made if missing.
            training: How it was made, for the card; None: that is not known.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write_tensors(folder / HEAD_FILE, self.head.state_dict())
        if self.settings.encoder is None:
            self.text_encoder.save_config(folder / TEXT_FOLDER)
            _write_tensors(folder / TEXT_FOLDER / WEIGHTS_FILE, self.text_encoder.export_state())
        write_atomically(folder / CARD_FILE, make_tower_card(self.settings, training))
        write_tower_settings(folder, self.settings)

    @property
    def prepare_text(self) -> TextPreparer:
        """What makes token ids of texts."""
        settings = self.settings
        return TextPreparer(self.text_encoder.tokenizer, settings.text_normalization, settings.text_prefix)

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts that are longer than the tower reads."""
        return self.prepare_text.find_cut(texts)

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        return self.prepare_text.describe_cut(cut)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return `(texts, embed_dim)` float32, L2-normalized, of `ids` and `mask`, both `(texts, length)`."""
        return F.normalize(self.head(self.text_encoder(ids, mask)).float(), dim=-1)

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> Tensor:
        """Embed a batch of texts, with gradients: `(texts, embed_dim)`."""
        device = next(self.text_encoder.parameters()).device
        return self(*self.prepare_text(texts, languages).to(device))

    @torch.no_grad()
    def features(self, texts: Sequence[str], languages: Sequence[str], batch_size: int = 256) -> Tensor:
        """Return the encoder's sentence vectors `(texts, dim)` float32, before the head."""
        device = next(self.text_encoder.parameters()).device
        rows = torch.empty(len(texts), self.text_encoder.dim)
        for places in batches_of_texts(texts, batch_size):
            batch = self.prepare_text([texts[n] for n in places], [languages[n] for n in places])
            rows[places] = self.text_encoder(*batch.to(device)).float().cpu()
        return rows

    @torch.no_grad()
    def encode(
        self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn", batch_size: int = 256
    ) -> np.ndarray:
        """Return `(texts, embed_dim)` float32, L2-normalized, in the order given."""
        codes = [languages] * len(texts) if isinstance(languages, str) else languages
        rows = np.empty((len(texts), self.settings.embed_dim), np.float32)
        for places in batches_of_texts(texts, batch_size):
            vectors = self.embed_text([texts[n] for n in places], [codes[n] for n in places])
            rows[places] = vectors.float().cpu().numpy()
        return rows


def load_encoder_tower(
    source: str | Path, *, prefix: str, max_tokens: int, normalization: str = "standard"
) -> TextTower:
    """Return a local text encoder as a tower of its own space: its sentence vectors, normalized.

    Its fingerprint begins with `encoder:`; no index has such a one.
    """
    encoder = load_text_encoder(source, max_tokens=max_tokens).eval()
    settings = TowerSettings(
        kind="model",
        model=str(source),
        fingerprint=f"encoder:{encoder_fingerprint(encoder)}",
        embed_dim=encoder.dim,
        text_normalization=normalization,  # type: ignore[arg-type]
        text_prefix=prefix,
        max_text_tokens=max_tokens,
    )
    return TextTower(settings, encoder, nn.Identity()).eval()


def encoder_fingerprint(encoder: TextEncoder) -> str:
    """Return a short hash of a text encoder's weights and tokenizer."""
    tokenizer = encoder.tokenizer
    return hash_model(encoder.export_state(), (tokenizer.fingerprint(), tokenizer.max_tokens))


def make_linear_head(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a head of given weights `(embed_dim, dim)` and bias `(embed_dim,)`."""
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": bias})
    return head


def read_head(path: Path, dim: int, embed_dim: int) -> nn.Module:
    """Read a linear head or the paper's of two layers.

    Raises:
        TextTowerError: Missing, or of another shape than `dim` to `embed_dim`.
    """
    if not path.is_file():
        raise TextTowerError(f"{path} is missing: the text tower was not saved completely")
    state = read_tensors(path)
    names, last = set(state), state.get("bias", state.get("2.bias"))
    first = state.get("weight", state.get("0.weight"))
    if names not in ({"weight", "bias"}, {"0.weight", "0.bias", "2.weight", "2.bias"}):
        raise TextTowerError(f"{path} holds no head but {', '.join(sorted(names)[:4])}")
    assert first is not None
    assert last is not None
    if first.ndim != 2 or first.shape[1] != dim or last.shape != (embed_dim,):
        raise TextTowerError(
            f"{path}: expected a map from {dim} to {embed_dim} values, got weights {tuple(first.shape)} and "
            f"a bias {tuple(last.shape)}"
        )
    if "weight" in names:
        return make_linear_head(first, last)
    hidden = len(first)
    head = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, embed_dim))
    head.load_state_dict(state)
    return head


def with_scores(tower: TextTower, scores: dict[str, float]) -> TextTower:
    """Return the tower with what it reached on held-out texts, which its folder then says."""
    tower.settings = replace(tower.settings, scores=scores)
    return tower


def batches_of_texts(texts: Sequence[str], batch_size: int) -> list[list[int]]:
    """Return numbers of texts in batches of like length, the longest first."""
    order = sorted(range(len(texts)), key=lambda n: len(texts[n].encode("utf-8", "replace")), reverse=True)
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def _write_tensors(path: Path, state: dict[str, Tensor]) -> None:
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_atomically(path, lambda place: save_file(kept, place, metadata={"format": "pt"}))
