"""The bridge between audio encoder and language model: a Q-Former over windows of tokens, and a projection.

LOAE's (arXiv:2406.13275, section 2.2) is the window-level Q-Former of SALMONN (arXiv:2310.13289): a trained
query looks at each window of 17 encoder tokens by itself and becomes one embedding of the language model.
The Q-Former is that of BLIP-2, `transformers.Blip2QFormerModel`, with the authors' sizes equal to theirs.

Besides it, for comparison: one Q-Former over the whole clip, and no Q-Former at all (the mean of a window).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from aac_llm.config.model import BridgeConfig
from aac_llm.models.windows import Layout, Windows, cut_windows, masked_mean

QUERY_STD = 0.02


@dataclass(frozen=True)
class AcousticTokens:
    """Sounds as the language model gets them."""

    embeddings: Tensor
    """`(batch, tokens, width)`, zeros where `mask` is False."""
    mask: Tensor
    """`(batch, tokens)` bool, True at tokens of the clip; a prefix of each row."""

    def __len__(self) -> int:
        return len(self.mask)

    def counts(self) -> list[int]:
        """Tokens of each clip."""
        return self.mask.sum(1).tolist()

    def __getitem__(self, rows: slice) -> AcousticTokens:
        """Those of some of the clips."""
        return AcousticTokens(self.embeddings[rows], self.mask[rows])


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
        if config.kind == "linear":
            self.projector = nn.Linear(encoder_dim, decoder_width)
            return
        self.query = nn.Parameter(torch.randn(1, config.num_queries, config.hidden_size) * QUERY_STD)
        self.qformer = Blip2QFormerModel(_qformer_config(config, encoder_dim))
        self.projector = nn.Linear(config.hidden_size, decoder_width)

    def forward(self, tokens: Tensor, mask: Tensor) -> AcousticTokens:
        """Acoustic tokens of encoder tokens `(batch, tokens, dim)` that are real where `mask` is True."""
        if self.config.kind == "clip":
            embeddings = self.projector(self.query_tokens(tokens, mask))
            return AcousticTokens(embeddings, mask.new_ones(embeddings.shape[:2]))
        windows = cut_windows(tokens, mask, self.config.window, self.layout)
        used = windows.is_used  # (batch, windows)
        features = self.projector(self.window_features(windows))  # (used windows, queries, width)
        shape = *used.shape, *features.shape[1:]
        embeddings = features.new_zeros(shape).index_put((used.nonzero(as_tuple=True)), features)
        return AcousticTokens(embeddings.flatten(1, 2), used.repeat_interleave(features.shape[1], dim=1))

    def window_features(self, windows: Windows) -> Tensor:
        """Features of the windows that hold sound, one clip's after another's: `(windows, queries, dim)`."""
        used = windows.is_used
        tokens, mask = windows.tokens[used], windows.mask[used]  # (windows, window, dim), (windows, window)
        if self.config.kind == "linear":
            return masked_mean(tokens, mask)[:, None]
        return self.query_tokens(tokens, mask)

    def query_tokens(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """What the queries find in each of some sets of tokens: `(sets, queries, hidden)`."""
        found: Tensor = self.qformer(
            query_embeds=self.query.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens.to(self.query.dtype),
            encoder_attention_mask=mask.long(),
        ).last_hidden_state
        return found

    def count_tokens(self, num_tokens: int) -> int:
        """Acoustic tokens of a clip of so many encoder tokens."""
        from aac_llm.models.windows import count_windows

        if self.config.kind == "clip":
            return self.config.num_queries
        queries = self.config.num_queries if self.config.kind == "window" else 1
        return count_windows(num_tokens, self.config.window, self.layout) * queries


def _qformer_config(config: BridgeConfig, encoder_dim: int) -> Blip2QFormerConfig:
    return Blip2QFormerConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        cross_attention_frequency=config.cross_attention_frequency,
        encoder_hidden_size=encoder_dim,
    )
