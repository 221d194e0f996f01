"""What index, search, classify and evaluate need of a model, whoever made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self

from audio_common.config import Channel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ml_clap.models.tokenizer import CutText


class DualEncoder(Protocol):
    """A model with one space for sounds and for texts, where cosines say how well they fit.

    `ml_clap.models.loading.load_model` gives one; `MLCLAP` is one.
    """

    training: bool
    channel: Channel
    """What is made of several channels, where nothing else is said."""

    @property
    def kind(self) -> str:
        """What it is and how it runs, for records: `ML-CLAP, masked`."""

    @property
    def licence(self) -> str:
        """Licence of the weights, `unknown` where nothing says it."""

    @property
    def embed_dim(self) -> int:
        """Width of the space."""

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that it takes."""

    @property
    def min_samples(self) -> int:
        """Samples that the longest sound of a batch must have at least."""

    @property
    def max_seconds(self) -> float | None:
        """What it hears at once, None for any length; the windows of a longer sound it averages itself."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def embed_audio(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed a batch of sounds.

        Args:
            waveforms: `(batch, samples)` at `sample_rate`, padded at the end.
            lengths: Samples of each sound, `(batch,)`; None: all of them.

        Returns:
            `(batch, embed_dim)` float32, L2-normalized.
        """

    def embed_text(self, texts: Sequence[str], languages: str | Sequence[str] = "eng_Latn") -> Tensor:
        """Embed texts, in one language or each in its own (SONAR's codes): `(texts, embed_dim)`."""

    def find_cut(self, texts: Sequence[str]) -> list[CutText]:
        """Return the texts that are longer than the model reads."""

    def describe_cut(self, cut: Sequence[CutText]) -> str:
        """Say in a line which texts lose how much; nothing where none does."""

    def find_unheard(self, lengths: Sequence[int]) -> list[int]:
        """Return which sounds of a batch of these lengths (samples) the model does not hear to their end."""

    def fingerprint(self) -> str:
        """Return a short stable hash of all that decides an embedding."""

    def eval(self) -> Self:
        """Draw nothing at random from now on."""

    def train(self, mode: bool = True) -> Self:
        """Set the mode of training, or of evaluation."""
