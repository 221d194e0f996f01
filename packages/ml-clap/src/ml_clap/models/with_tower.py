"""A model whose texts go through a small text tower: for evaluating what the tower costs in quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from audio_common.config import Channel
from torch import Tensor

from ml_clap.models.dual_encoder import DualEncoder
from ml_clap.models.tower import Tower, open_tower
from ml_clap.models.tower_folder import check_belongs

if TYPE_CHECKING:
    from typing import Self

    from ml_clap.models.tokenizer import CutText


def with_text_tower(model: DualEncoder, source: str | Path | None) -> DualEncoder:
    """Return the model with its texts embedded by the tower in a folder; None: the model as it is.

    Raises:
        TextTowerError: It is no tower, or was made for another model.
    """
    return model if source is None else WithTower(model, open_tower(source))


class WithTower:
    """The sounds of a model and the texts of a tower that was made for it.

    Args:
        model: Embeds the sounds.
        tower: Embeds the texts.
    """

    def __init__(self, model: DualEncoder, tower: Tower) -> None:
        self._fingerprint = model.fingerprint()
        check_belongs(tower.settings, self._fingerprint, "the model")
        self._model, self._tower = model, tower
        self.channel: Channel = model.channel
        self.training = model.training
        self.kind = f"{model.kind}, texts by a {tower.settings.kind}"
        self.licence = model.licence
        self.embed_dim = model.embed_dim
        self.sample_rate = model.sample_rate
        self.min_samples = model.min_samples
        self.max_seconds = model.max_seconds

    @property
    def device(self) -> torch.device:
        """Where the audio encoder is."""
        return self._model.device

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed sounds by the model; see `DualEncoder`."""
        return self._model.embed_audio(waveforms, lengths)

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> Tensor:
        """Embed texts by the tower: `(texts, embed_dim)`, without gradients."""
        return torch.from_numpy(self._tower.encode(texts, languages))

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts that are longer than the tower reads."""
        return self._tower.find_cut(texts)

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""
        return self._tower.describe_cut(cut)

    def find_unheard(self, lengths: Sequence[int]) -> list[int]:
        """Return which sounds the model does not hear to their end; see `DualEncoder`."""
        return self._model.find_unheard(lengths)

    def fingerprint(self) -> str:
        """Return the model's: the tower belongs to it."""
        return self._fingerprint

    def eval(self) -> Self:
        """Draw nothing at random from now on."""
        return self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Set the model's mode; the tower is as it is."""
        self._model.train(mode)
        self.training = mode
        return self
