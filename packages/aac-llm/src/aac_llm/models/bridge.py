"""The bridge between audio encoder and language model: a Q-Former over windows of tokens, and a projection.

LOAE's (arXiv:2406.13275, section 2.2) is the window-level Q-Former of SALMONN (arXiv:2310.13289): a trained
query looks at each window of 17 encoder tokens by itself and becomes one embedding of the language model.
The Q-Former is that of BLIP-2, `transformers.Blip2QFormerModel`, with the authors' sizes equal to theirs.
Besides it, for comparison: one Q-Former over the whole clip, and no Q-Former at all (the mean of a window).

Windows follow each other without overlap. The two layouts differ in what a window is:

| | `time_major` | `reference` |
|---|---|---|
| order of tokens | the four bands of 160 ms, of the next 160 ms, ... | all of a band, then the next |
| a window | 0.68 s of sound | 2.72 s of one mel band, some of two bands |
| tokens that fill no window | in a last window, partly masked | dropped (10 of 248 for 10 s) |
| padding | masked | counts as sound |

A sound of fewer tokens than a window is in both a single, partly masked window; the authors' code fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from audio_common.config import PATCH_FRAMES, CEDConfig
from audio_common.mel import num_frames
from audio_common.patches import NUM_ROWS
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from aac_llm.config.model import BridgeConfig

QUERY_STD = 0.02

Layout = Literal["time_major", "reference"]


@dataclass(frozen=True)
class Windows:
    """Encoder tokens of a batch, cut into windows."""

    tokens: Tensor
    """`(batch, windows, window, dim)`, zeros where `mask` is False."""
    mask: Tensor
    """`(batch, windows, window)` bool, True at tokens of the clip."""

    @property
    def is_used(self) -> Tensor:
        """`(batch, windows)` bool: True at windows that hold a token of the clip; a prefix of each row."""
        return self.mask.any(-1)


def cut_windows(tokens: Tensor, mask: Tensor, window: int, layout: Layout) -> Windows:
    """Cut tokens into windows.

    Args:
        tokens: `(batch, tokens, dim)` in the layout's order.
        mask: `(batch, tokens)` bool, True at tokens of the clip, which come first.
        window: tokens in a window.
        layout: `reference` drops what fills no window, `time_major` does not.

    Raises:
        ValueError: tensors of other shapes.
    """
    if tokens.ndim != 3 or mask.shape != tokens.shape[:2]:
        raise ValueError(
            f"expected tokens (batch, tokens, dim) and mask (batch, tokens), got {tuple(tokens.shape)} "
            f"and {tuple(mask.shape)}"
        )
    # The batch is cut as its longest sound; shorter ones get windows without sound, which are not used.
    length = count_windows(tokens.shape[1], window, layout) * window
    missing = max(0, length - tokens.shape[1])
    tokens = F.pad(tokens, (0, 0, 0, missing))[:, :length]
    mask = F.pad(mask, (0, missing))[:, :length]
    return Windows(tokens.unflatten(1, (-1, window)), mask.unflatten(1, (-1, window)))


def count_windows(num_tokens: int, window: int, layout: Layout) -> int:
    """Return the number of windows of a sound of `num_tokens` encoder tokens.

    >>> count_windows(248, 17, "reference"), count_windows(252, 17, "time_major")
    (14, 15)
    """
    whole = num_tokens // window
    return max(1, whole) if layout == "reference" else -(-num_tokens // window)


def encoder_tokens(num_samples: int, config: CEDConfig) -> int:
    """Return the number of tokens that CED makes of `num_samples` at 16 kHz, alone, without patch-out."""
    # The same arithmetic as in the encoder, for planning without running it (tested against it).
    frames = num_frames(num_samples)
    # A piece of a patch is a patch: the mask says which of its frames are sound.
    if config.mode == "masked":
        return NUM_ROWS * max(1, -(-frames // PATCH_FRAMES))
    if frames <= config.target_length:
        return NUM_ROWS * (frames // PATCH_FRAMES)
    # An exact multiple loses its last chunk in the authors' code.
    chunks = -(-frames // config.target_length) - (frames % config.target_length == 0)
    return NUM_ROWS * max(1, chunks) * config.num_columns


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean `(windows, dim)` of tokens `(windows, window, dim)` where `mask` is True."""
    # A used window has at least one token, so the divisor is never 0.
    weights = mask.to(tokens.dtype)
    return torch.einsum("nwd,nw->nd", tokens, weights) / weights.sum(1, keepdim=True)


@dataclass(frozen=True)
class AcousticTokens:
    """Sounds as the language model gets them."""

    embeddings: Tensor
    """`(batch, tokens, width)`, zeros where `mask` is False."""
    mask: Tensor
    """`(batch, tokens)` bool, True at tokens of the clip; a prefix of each row."""
    seconds: Tensor | None = None
    """`(batch,)` length of each clip; None: not known."""

    def __len__(self) -> int:
        return len(self.mask)

    def counts(self) -> list[int]:
        """Return the number of tokens of each clip."""
        return self.mask.sum(1).tolist()

    def __getitem__(self, rows: slice | list[int]) -> AcousticTokens:
        """Return the tokens of some of the clips."""
        seconds = None if self.seconds is None else self.seconds[rows]
        return AcousticTokens(self.embeddings[rows], self.mask[rows], seconds)

    def repeat(self, times: int) -> AcousticTokens:
        """Return the tokens of each clip several times, side by side."""
        if times == 1:
            return self
        return AcousticTokens(
            self.embeddings.repeat_interleave(times, 0), self.mask.repeat_interleave(times, 0)
        )


class Bridge(nn.Module):
    """From encoder tokens to embeddings of the language model.

    Args:
        config: kind and sizes.
        encoder_dim: width of the encoder's tokens.
        decoder_width: width of the language model's embeddings.
        layout: how tokens are put in windows.
    """

    def __init__(
        self, config: BridgeConfig, *, encoder_dim: int, decoder_width: int, layout: Layout = "time_major"
    ) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        # The paper's ablation without a Q-Former: the mean of a window, projected.
        if config.kind == "linear":
            self.projector = nn.Linear(encoder_dim, decoder_width)
            return
        # As BLIP-2 initializes its queries.
        self.query = nn.Parameter(torch.randn(1, config.num_queries, config.hidden_size) * QUERY_STD)
        self.qformer = Blip2QFormerModel(_qformer_config(config, encoder_dim))
        self.projector = nn.Linear(config.hidden_size, decoder_width)

    def forward(self, tokens: Tensor, mask: Tensor) -> AcousticTokens:
        """Turn encoder tokens `(batch, tokens, dim)`, real where `mask` is True, into acoustic tokens."""
        # Queries over the whole clip give the same number of tokens whatever its length.
        if self.config.kind == "clip":
            embeddings = self.projector(self.query_tokens(tokens, mask))
            return AcousticTokens(embeddings, mask.new_ones(embeddings.shape[:2]))
        windows = cut_windows(tokens, mask, self.config.window, self.layout)
        used = windows.is_used  # (batch, windows)
        features = self.projector(self.window_features(windows))  # (used windows, queries, width)
        # Only windows that hold sound were computed; they go back to their places among zeros.
        shape = *used.shape, *features.shape[1:]
        embeddings = features.new_zeros(shape).index_put((used.nonzero(as_tuple=True)), features)
        return AcousticTokens(embeddings.flatten(1, 2), used.repeat_interleave(features.shape[1], dim=1))

    def window_features(self, windows: Windows) -> Tensor:
        """Return features of the windows that hold sound, clip after clip: `(windows, queries, dim)`."""
        used = windows.is_used
        # Windows of padding alone would only cost time.
        tokens, mask = windows.tokens[used], windows.mask[used]  # (windows, window, dim), (windows, window)
        if self.config.kind == "linear":
            return masked_mean(tokens, mask)[:, None]
        return self.query_tokens(tokens, mask)

    def query_tokens(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return what the queries find in sets of tokens: `(sets, queries, hidden)`."""
        found: Tensor = self.qformer(
            # The same queries look at every set of tokens.
            query_embeds=self.query.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens.to(self.query.dtype),
            encoder_attention_mask=mask.long(),
        ).last_hidden_state
        return found

    def count_tokens(self, num_tokens: int) -> int:
        """Return the number of acoustic tokens of a clip of `num_tokens` encoder tokens."""
        if self.config.kind == "clip":
            return self.config.num_queries
        return count_windows(num_tokens, self.config.window, self.layout) * self.tokens_per_window

    @property
    def tokens_per_window(self) -> int:
        """Acoustic tokens of a window (kinds window and linear)."""
        return self.config.num_queries if self.config.kind == "window" else 1


def _qformer_config(config: BridgeConfig, encoder_dim: int) -> Blip2QFormerConfig:
    return Blip2QFormerConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        cross_attention_frequency=config.cross_attention_frequency,
        encoder_hidden_size=encoder_dim,
    )
