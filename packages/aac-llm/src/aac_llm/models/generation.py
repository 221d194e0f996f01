"""Generate captions from sequences of embeddings: beams, greedy or sampling.

Beams are followed by our own search where the decoder allows it (`beam_search.py`), which finds the same in
less time; all else is done by transformers' `generate`.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from aac_llm.config.caption import GenerationConfig
from aac_llm.data.predictions import Candidate
from aac_llm.models.beam_search import beam_search, supports
from aac_llm.models.decoder import DecoderError
from aac_llm.models.prompt import Sequences

NOT_FINITE = (
    "the model's scores are not finite: its weights are damaged, or its numbers are too large for the dtype "
    "(--dtype float32 is the widest)"
)


class CaptionRepetitionPenalty(LogitsProcessor):
    """Make tokens that a caption already has less likely (arXiv:1909.05858, section 4.1).

    Transformers' own looks at padding and, in 5.x, leaves out the first tokens where a prompt was padded, so
    that captions would depend on batch-mates.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        """Return log-probabilities (or logits) `(captions, vocabulary)` after tokens `(captions, length)`."""
        # CTRL (arXiv:1909.05858, section 4.1) over the caption alone: the prompt's words are free.
        seen = scores.gather(1, input_ids)
        penalized = torch.where(seen < 0, seen * self.penalty, seen / self.penalty)
        return scores.scatter(1, input_ids, penalized)


class RefuseNotFinite(LogitsProcessor):
    """Stops at scores that are not finite: the most probable token of NaNs is the first, whatever sounds."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        """Return the scores `(captions, vocabulary)` as they are; minus infinity forbids a token."""
        if bool((scores.isnan() | scores.isposinf()).any()):
            raise DecoderError(NOT_FINITE)
        return scores


def generate(
    decoder: Any, tokenizer: Any, sequences: Sequences, settings: GenerationConfig | None = None
) -> list[tuple[Candidate, ...]]:
    """Continue each sequence with captions.

    Args:
        decoder: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        sequences: prompts and sounds.
        settings: how to generate; None: the authors' way.

    Returns:
        For each sequence `settings.num_candidates` captions without special tokens, best first, with their
        mean log-probability per token (the end counts).

    Raises:
        DecoderError: the model's scores are not finite.
    """
    settings = settings or GenerationConfig()
    # Ours reads a prompt once instead of once for each beam; results are the same (tested).
    if not settings.do_sample and settings.num_beams > 1 and supports(decoder):
        return _search(decoder, tokenizer, sequences, settings)
    # top_k 0: transformers would cut to the 50 most probable tokens before top_p does.
    drawing = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    tokens, scores = generate_tokens(
        decoder,
        sequences,
        repetition_penalty=settings.repetition_penalty,
        num_beams=1 if settings.do_sample else settings.num_beams,
        max_new_tokens=settings.token_limit,
        min_new_tokens=settings.least_tokens,
        num_return_sequences=settings.num_candidates,
        do_sample=settings.do_sample,
        **(drawing if settings.do_sample else {}),
    )
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    ended = torch.isin(tokens, end_tokens(decoder).to(tokens.device)).any(dim=1).tolist()
    found = [
        Candidate(text.strip(), score, not has_end)
        for text, score, has_end in zip(texts, scores.tolist(), ended, strict=True)
    ]
    size = settings.num_candidates
    groups = [found[start : start + size] for start in range(0, len(found), size)]
    return [tuple(sorted(group, key=lambda candidate: -candidate.score)) for group in groups]


def _search(
    decoder: Any, tokenizer: Any, sequences: Sequences, settings: GenerationConfig
) -> list[tuple[Candidate, ...]]:
    found = beam_search(
        decoder,
        sequences.embeddings,
        sequences.mask,
        num_beams=settings.num_beams,
        max_new_tokens=settings.token_limit,
        min_new_tokens=settings.least_tokens,
        repetition_penalty=settings.repetition_penalty,
        num_return=settings.num_candidates,
    )
    if not all(found):  # no sequence has a score
        raise DecoderError(NOT_FINITE)
    tokens = [hypothesis.tokens for hypotheses in found for hypothesis in hypotheses]
    ends = set(end_tokens(decoder).tolist())
    texts = iter(tokenizer.batch_decode(tokens, skip_special_tokens=True))
    return [
        tuple(
            Candidate(next(texts).strip(), hypothesis.score, hypothesis.tokens[-1] not in ends)
            for hypothesis in hypotheses
        )
        for hypotheses in found
    ]


def end_tokens(decoder: Any) -> Tensor:
    """Return the tokens that end a sequence, (tokens,) int64; chat models have several."""
    ends = decoder.generation_config.eos_token_id
    return torch.tensor([ends] if isinstance(ends, int) else list(ends or []), dtype=torch.long)


def generate_tokens(
    decoder: Any, sequences: Sequences, *, repetition_penalty: float = 1.0, **settings: Any
) -> tuple[Tensor, Tensor]:
    """Continue each sequence by transformers' `generate`.

    Args:
        decoder: a causal language model in evaluation mode.
        sequences: prompts and sounds.
        repetition_penalty: divides the chance of tokens that the caption already has; 1: none.
        settings: of `transformers.GenerationConfig`, `num_beams` and `do_sample` among them.

    Returns:
        New tokens `(sounds * captions, length)` and mean log-probabilities `(sounds * captions,)`.
    """
    processors: list[LogitsProcessor] = [RefuseNotFinite()]
    if repetition_penalty != 1.0:
        processors.append(CaptionRepetitionPenalty(repetition_penalty))
    # Only the special tokens of the model; all else comes from our settings, or chat models would sample.
    own = decoder.generation_config
    output = decoder.generate(
        inputs_embeds=sequences.embeddings,
        attention_mask=sequences.mask,
        logits_processor=LogitsProcessorList(processors),
        generation_config=transformers.GenerationConfig(
            bos_token_id=own.bos_token_id,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
            return_dict_in_generate=True,
            output_logits=settings["num_beams"] == 1,
            output_scores=settings["num_beams"] > 1,  # for transformers to give sequences_scores
            **settings,
        ),
    )
    # transformers gives scores of beams itself (length_penalty 1: means); those of single sequences are made
    # of the logits, before temperature and top_p changed them.
    if settings["num_beams"] > 1:
        return output.sequences, output.sequences_scores
    return output.sequences, _mean_log_probability(output, own.eos_token_id)


def _mean_log_probability(output: Any, ends: int | list[int] | None) -> Tensor:
    """Average over the tokens up to the first end, by the model's own distribution."""
    sequences: Tensor = output.sequences
    steps = [logits.float().log_softmax(-1) for logits in output.logits]
    chosen = torch.stack(
        [step.gather(1, token[:, None])[:, 0] for step, token in zip(steps, sequences.T, strict=True)], dim=1
    )  # (sounds, length)
    ids = torch.tensor([ends] if isinstance(ends, int) else list(ends or []), device=sequences.device)
    # Behind the first end there is padding, whose probabilities mean nothing.
    ended = torch.isin(sequences, ids).long().cumsum(1)
    counted = (ended - torch.isin(sequences, ids).long()) == 0  # the end itself counts
    return (chosen * counted).sum(1) / counted.sum(1)
