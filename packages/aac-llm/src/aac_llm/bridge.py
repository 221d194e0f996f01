"""The bridge: encoder tokens become a few embeddings of the decoder's width (paper, section 2.2).

The authors' window-level Q-Former lets one learnt query look at 17 encoder tokens at a time through two
layers with cross-attention, so 10 s of sound become 15 embeddings instead of 248. `clip` is BLIP-2's way,
some queries that look at the whole clip; `linear` has no Q-Former: the mean of each window, projected.

The Q-Former is transformers' `Blip2QFormerModel`: with cross-attention in every layer and no text it is the
authors' trimmed one, weight for weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from aac_llm.config.model import BridgeConfig
from aac_llm.windows import cut_reference_windows, cut_windows


class Bridge(nn.Module):
    """From encoder tokens to acoustic embeddings.

    Args:
        config: kind and sizes.
        encoder_dim: width of the encoder's tokens.
        decoder_dim: width of the decoder's embeddings.
        drop_tail: cut windows as the authors do (layout `reference`).
    """

    def __init__(
        self, config: BridgeConfig, encoder_dim: int, decoder_dim: int, *, drop_tail: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.drop_tail = drop_tail
        self.queries: nn.Parameter | None = None
        self.qformer: Blip2QFormerModel | None = None
        if config.kind != "linear":
            self.queries = nn.Parameter(torch.randn(1, config.num_queries, config.hidden_size) * 0.02)
            self.qformer = Blip2QFormerModel(_qformer_config(config, encoder_dim))
        self.projector = nn.Linear(encoder_dim if self.qformer is None else config.hidden_size, decoder_dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Acoustic embeddings of a batch of clips.

        Args:
            tokens: `(batch, tokens, encoder_dim)`.
            mask: `(batch, tokens)` bool, True for sound.

        Returns:
            `(batch, embeddings, decoder_dim)`, zeros where there is none, and the mask of them.
        """
        if self.config.kind == "clip":
            embeddings = self.projector(self._query(tokens, mask))
            return embeddings, mask.new_ones(embeddings.shape[:2])
        if self.drop_tail:
            windows, sounding = cut_reference_windows(tokens, self.config.window)
        else:
            windows, sounding = cut_windows(tokens, mask, self.config.window)
        there = sounding.any(-1)  # (batch, windows)
        heard, heard_mask = windows[there], sounding[there]  # only windows of sound: (windows, window, dim)
        made = self._query(heard, heard_mask) if self.qformer else _mean(heard, heard_mask)
        made = self.projector(made)  # (windows, queries, decoder_dim)
        embeddings = made.new_zeros(*there.shape, *made.shape[1:])
        embeddings[there] = made
        return embeddings.flatten(1, 2), there.repeat_interleave(made.shape[1], 1)

    def _query(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`(windows, tokens, dim)` to what the queries found there, `(windows, queries, hidden)`."""
        assert self.qformer is not None
        assert self.queries is not None
        found = self.qformer(
            query_embeds=self.queries.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens,
            encoder_attention_mask=mask.long(),
        )
        return found.last_hidden_state


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    kept = tokens * mask[..., None]
    return kept.sum(1, keepdim=True) / mask.sum(1)[:, None, None].clamp(min=1)


def _qformer_config(config: BridgeConfig, encoder_dim: int) -> Blip2QFormerConfig:
    return Blip2QFormerConfig(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        cross_attention_frequency=config.cross_attention_frequency,
        encoder_hidden_size=encoder_dim,
    )
