"""Captions from sequences of embeddings: greedy, beams or sampling, by `transformers`' generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from aac_llm.captioning.predictions import Candidate

if TYPE_CHECKING:
    from aac_llm.models.captioner_model import Sequences


class CaptionRepetitionPenalty(LogitsProcessor):
    """Makes tokens that a caption already has less likely (arXiv:1909.05858, section 4.1).

    Transformers' own looks at padding and, in 5.x, leaves out the first tokens where a prompt was padded, so
    that captions would depend on batch-mates.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        """Log-probabilities (or logits) `(captions, vocabulary)` after tokens `(captions, length)`."""
        seen = scores.gather(1, input_ids)
        penalized = torch.where(seen < 0, seen * self.penalty, seen / self.penalty)
        return scores.scatter(1, input_ids, penalized)


def generate(
    decoder: Any,
    tokenizer: Any,
    sequences: Sequences,
    *,
    num_beams: int = 3,
    max_new_tokens: int = 30,
    min_new_tokens: int = 2,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_p: float = 0.9,
    repetition_penalty: float = 1.0,
    num_return: int = 1,
) -> list[list[Candidate]]:
    """Continue each sequence.

    Args:
        decoder: a causal language model in evaluation mode.
        tokenizer: its tokenizer.
        sequences: prompts and sounds.
        num_beams: beams that are followed; 1: the most probable token each time.
        max_new_tokens: longest caption, in tokens.
        min_new_tokens: shortest.
        do_sample: draw tokens instead (one by one: `num_beams` does not matter).
        temperature: of drawing.
        top_p: draw from the most probable tokens that together have this probability.
        repetition_penalty: divides the chance of tokens that the caption already has; 1: none.
        num_return: captions for each sound; at most `num_beams` unless they are drawn.

    Returns:
        Captions without special tokens and their mean log-probability per token (the end counts), best first.

    Raises:
        ValueError: more captions than beams.
    """
    if not do_sample and num_return > num_beams:
        raise ValueError(
            f"num_return {num_return} needs as many beams, got num_beams {num_beams}; or set do_sample"
        )
    num_beams = 1 if do_sample else num_beams
    tokens, scores = generate_tokens(
        decoder,
        sequences,
        repetition_penalty=repetition_penalty,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        num_return_sequences=num_return,
        do_sample=do_sample,
        **({"temperature": temperature, "top_p": top_p, "top_k": 0} if do_sample else {}),
    )
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    found = [Candidate(text.strip(), score) for text, score in zip(texts, scores.tolist(), strict=True)]
    groups = [found[start : start + num_return] for start in range(0, len(found), num_return)]
    return [sorted(group, key=lambda candidate: -candidate.score) for group in groups]


def generate_tokens(
    decoder: Any, sequences: Sequences, *, repetition_penalty: float = 1.0, **settings: Any
) -> tuple[Tensor, Tensor]:
    """New tokens `(sounds * captions, length)` and mean log-probabilities `(sounds * captions,)`.

    `settings` are those of `transformers.GenerationConfig`, `num_beams` and `do_sample` among them.
    """
    processors = [] if repetition_penalty == 1.0 else [CaptionRepetitionPenalty(repetition_penalty)]
    own = decoder.generation_config
    output = decoder.generate(
        inputs_embeds=sequences.embeddings,
        attention_mask=sequences.mask,
        logits_processor=LogitsProcessorList(processors),
        generation_config=GenerationConfig(
            bos_token_id=own.bos_token_id,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
            return_dict_in_generate=True,
            output_logits=settings["num_beams"] == 1,
            output_scores=settings["num_beams"] > 1,  # for transformers to give sequences_scores
            **settings,
        ),
    )
    if settings["num_beams"] > 1:
        return output.sequences, output.sequences_scores
    return output.sequences, _mean_log_probability(output, own.eos_token_id)


def _mean_log_probability(output: Any, ends: int | list[int] | None) -> Tensor:
    """Of the tokens up to the first end, by the model's own distribution."""
    sequences: Tensor = output.sequences
    steps = [logits.float().log_softmax(-1) for logits in output.logits]
    chosen = torch.stack(
        [step.gather(1, token[:, None])[:, 0] for step, token in zip(steps, sequences.T, strict=True)], dim=1
    )  # (sounds, length)
    ids = torch.tensor([ends] if isinstance(ends, int) else list(ends or []), device=sequences.device)
    ended = torch.isin(sequences, ids).long().cumsum(1)
    counted = (ended - torch.isin(sequences, ids).long()) == 0  # the end itself counts
    return (chosen * counted).sum(1) / counted.sum(1)
