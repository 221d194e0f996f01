"""Beam search over a causal language model that reads the prompt once for each sound, not once for each beam.

It finds what `transformers.generate` finds (early_stopping False, length_penalty 1), which reads the prompt
for every beam and works on all sounds until the last one is done. Here the beams begin as copies of the
prompt's keys and values, and sounds that are done leave the batch. In float32 the captions are equal; scores
differ by rounding. With a repetition penalty transformers 5 (5.23) leaves out the first tokens of a caption,
as many as its prompt was padded by; here the penalty holds for all new tokens and padding changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """A finished sequence."""

    tokens: list[int]
    """New tokens, the end token included if it ended with one."""
    score: float
    """Mean log-probability of its tokens."""


def supports(decoder: Any) -> bool:
    """Tell whether the decoder keeps keys and values of each token, which can be copied (no state)."""
    return not getattr(decoder, "_is_stateful", False)


@torch.no_grad()  # inference mode would spoil weights that FSDP gathers within for the training that goes on
def beam_search(
    decoder: Any,
    embeddings: Tensor,
    mask: Tensor,
    *,
    num_beams: int = 3,
    max_new_tokens: int = 30,
    min_new_tokens: int = 0,
    repetition_penalty: float = 1.0,
    num_return: int = 1,
) -> list[list[Hypothesis]]:
    """Find the most probable continuations of each prompt, best first.

    Args:
        decoder: a causal language model of transformers, in evaluation mode; its generation_config has the
            tokens that end a sequence.
        embeddings: prompts (batch, tokens, width), padded on the left.
        mask: (batch, tokens), nonzero where a prompt is.
        num_beams: sequences followed at once, at least 2.
        max_new_tokens: longest sequence.
        min_new_tokens: no end token before so many others.
        repetition_penalty: log-probabilities of tokens that a sequence already has are multiplied by it.
        num_return: sequences for each prompt, at most `num_beams`.

    Raises:
        ValueError: an impossible number of beams.
    """
    if num_beams < 2 or not 1 <= num_return <= num_beams:
        raise ValueError(f"expected num_beams >= 2 and num_return up to it, got {num_beams} and {num_return}")
    state = _State(decoder, embeddings, mask, num_beams)
    penalties = (min_new_tokens, repetition_penalty)
    for length in range(1, max_new_tokens + 1):
        state.extend(length, *penalties, is_last=length == max_new_tokens)
        if not state.items:
            break
        if length < max_new_tokens:
            state.forward()
    return [hypotheses[:num_return] for hypotheses in state.finished]


class _State:
    """Beams that are being followed, and what has finished.

    In shapes, `items` is the number of sounds that are not done.
    """

    def __init__(self, decoder: Any, embeddings: Tensor, mask: Tensor, num_beams: int) -> None:
        self.decoder = decoder
        self.num_beams = num_beams
        # Chat models end in several ways (end of turn, end of text).
        ends = decoder.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        self.end_tokens = torch.tensor(ends, dtype=torch.long, device=embeddings.device)
        self.items = list(range(len(embeddings)))
        self.finished: list[list[Hypothesis]] = [[] for _ in self.items]
        batch, device = len(embeddings), embeddings.device
        self.mask = mask.long()
        # Padding is on the left: a prompt's positions begin at its own first token.
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        output = decoder(
            inputs_embeds=embeddings,
            attention_mask=self.mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = output.past_key_values
        self.positions = positions[:, -1]  # (items,)
        self.logits = output.logits[:, -1:].expand(-1, num_beams, -1)  # (items, beams, vocabulary)
        self.tokens = torch.empty(batch, num_beams, 0, dtype=torch.long, device=device)
        # Only the first beam counts at the beginning, or all would be the same.
        self.scores = torch.full((batch, num_beams), -math.inf, device=device)
        self.scores[:, 0] = 0.0
        # Row of the cache that each beam goes on from: at first the prompt's one.
        self.rows = torch.arange(batch, device=device)[:, None].expand(-1, num_beams)

    def extend(self, length: int, min_new_tokens: int, repetition_penalty: float, *, is_last: bool) -> None:
        """Append the best next tokens; sequences end, and sounds that cannot improve are done."""
        log_probs = self.logits.float().log_softmax(-1)
        if repetition_penalty != 1.0 and length > 1:
            # CTRL (arXiv:1909.05858, section 4.1) divides positive scores; log-probabilities are negative.
            seen = log_probs.gather(2, self.tokens)
            log_probs = log_probs.scatter(2, self.tokens, seen * repetition_penalty)
        if length <= min_new_tokens:
            # After the log-softmax, as in transformers: the other tokens gain nothing.
            log_probs = log_probs.index_fill(2, self.end_tokens, -math.inf)
        totals = (log_probs + self.scores[..., None]).flatten(1)  # (items, beams * vocabulary)
        # So many that as many as there are beams go on, even if all the others end.
        width = max(2, 1 + len(self.end_tokens)) * self.num_beams
        best, places = totals.topk(min(width, totals.shape[1]), dim=1)
        beams, tokens = places // log_probs.shape[2], places % log_probs.shape[2]
        ends = torch.isin(tokens, self.end_tokens)
        parents = self.tokens.gather(1, beams[..., None].expand(-1, -1, length - 1))
        # Built before beams are chosen: a sequence that ends is kept from here.
        sequences = torch.cat([parents, tokens[..., None]], dim=2)  # (items, width, length)
        self._finish(sequences, best, ends | is_last, length)
        # Ended sequences must not be followed, whatever their rank.
        going = best.masked_fill(ends, -math.inf)
        self.scores, chosen = going.topk(self.num_beams, dim=1)
        self.tokens = sequences.gather(1, chosen[..., None].expand(-1, -1, length))
        self.rows = self.rows.gather(1, beams.gather(1, chosen))
        self._drop_done(length)

    def _finish(self, sequences: Tensor, scores: Tensor, ends: Tensor, length: int) -> None:
        """Keep the best sequences that end here; only those among the first `num_beams` count."""
        for place, rank in ends[:, : self.num_beams].nonzero().tolist():
            score = scores[place, rank].item()
            # Minus infinity: a beam that does not exist yet, or an end that came too early.
            if math.isfinite(score):
                kept = self.finished[self.items[place]]
                kept.append(Hypothesis(sequences[place, rank].tolist(), score / length))
        for item in self.items:
            self.finished[item] = sorted(self.finished[item], key=lambda found: -found.score)[
                : self.num_beams
            ]

    def _drop_done(self, length: int) -> None:
        """Leave out sounds whose best beam, were it to end here, is worse than what is finished."""
        # With length_penalty 1 a score is a mean, which a longer sequence may still raise; transformers with
        # early_stopping False judges by the mean at this length, and so do we.
        hopes = (self.scores[:, 0] / length).tolist()
        left = [
            place
            for place, (item, hope) in enumerate(zip(self.items, hopes, strict=True))
            if len(self.finished[item]) < self.num_beams or hope > self.finished[item][-1].score
        ]
        if len(left) < len(self.items):
            self.items = [self.items[place] for place in left]
            chosen = torch.tensor(left, dtype=torch.long, device=self.tokens.device)
            self.tokens, self.scores, self.rows = self.tokens[chosen], self.scores[chosen], self.rows[chosen]
            self.positions, self.mask = self.positions[chosen], self.mask[chosen]

    def forward(self) -> None:
        """Compute logits after the tokens that were appended last."""
        rows = self.rows.flatten()
        if self.cache is not None and not self._is_in_place(rows):
            # At first this copies each prompt to all its beams; later it also drops sounds that are done.
            self.cache.batch_select_indices(rows)
        # From now on every beam has a row of its own.
        self.rows = torch.arange(len(rows), device=rows.device).view(-1, self.num_beams)
        self.positions = self.positions + 1
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        output = self.decoder(
            # One token a beam: all before it is in the cache.
            input_ids=self.tokens[..., -1].reshape(-1, 1),
            attention_mask=self.mask.repeat_interleave(self.num_beams, 0),
            position_ids=self.positions.repeat_interleave(self.num_beams)[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = output.past_key_values
        self.logits = output.logits[:, -1].view(-1, self.num_beams, output.logits.shape[-1])

    def _is_in_place(self, rows: Tensor) -> bool:
        """Tell whether each beam goes on from its own row, so that nothing is to be copied."""
        # The first forward pass made one row a prompt, so it is not in place with several beams.
        held = self.cache.layers[0].keys.shape[0]
        return len(rows) == held and torch.equal(rows, torch.arange(held, device=rows.device))
