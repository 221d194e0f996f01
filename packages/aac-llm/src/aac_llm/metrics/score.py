"""Metrics that need nothing but the captions, from one tokenisation and one count of n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aac_llm.metrics.bleu import BleuCounts, bleu_counts, bleu_from_sums
from aac_llm.metrics.cider import DocumentFrequencies, cider_d_clips
from aac_llm.metrics.diversity import diversity_of
from aac_llm.metrics.ngrams import CaptionSet, Floats
from aac_llm.metrics.rouge import rouge_l_clips

BLEU_NAMES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
PURE_METRICS = ("bleu", "rouge", "cider", "diversity")
"""Metrics of `score_captions`; `rouge` is named rouge_l and `cider` cider_d in its scores."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one candidate for each clip."""

    num_clips: int
    """N: quote it with every score, since published subsets of the same test set differ."""
    corpus: dict[str, float]
    """Scores of the whole set, by name: bleu_1..4 from all clips' counts, rouge_l and cider_d means over the
    clips, and the measures of `diversity`, which have no value for one clip."""
    clips: dict[str, Floats]
    """(clips,) of each clip, by name: bleu_1..4, rouge_l, cider_d."""
    bleu_counts: BleuCounts | None = None
    """Counts that corpus BLEU is made of, for its intervals; none where BLEU was not asked for."""


def score_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    metrics: Sequence[str] = PURE_METRICS,
    document_frequencies: DocumentFrequencies | None = None,
    tokenised: bool = False,
) -> Scores:
    """Score one candidate a clip against the clip's references, any number of them.

    Texts are tokenised as coco-caption does; an empty candidate scores 0.

    Args:
        candidates: (clips,) captions.
        references: of each clip at least one caption.
        metrics: some of `PURE_METRICS`, or the name of one.
        document_frequencies: of CIDEr-D (none: of these references, as is usual).
        tokenised: the texts are words with spaces between them already; they are taken as they are.

    Raises:
        ValueError: a metric that is not here, no clip, a clip without references, or not as many candidates
            as clips.
        TypeError: a caption that is not a text.
    """
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    if unknown := sorted(set(metrics) - set(PURE_METRICS)):
        raise ValueError(f"metrics {', '.join(unknown)} unknown, expected some of {', '.join(PURE_METRICS)}")
    captions = CaptionSet.from_captions(candidates, references, tokenised=tokenised)
    corpus: dict[str, float] = {}
    clips: dict[str, Floats] = {}
    counts = bleu_counts(captions) if "bleu" in metrics else None
    if counts is not None:
        table = counts.table()
        corpus |= dict(zip(BLEU_NAMES, bleu_from_sums(table.sum(axis=0)).tolist(), strict=True))
        clips |= dict(zip(BLEU_NAMES, np.ascontiguousarray(bleu_from_sums(table).T), strict=True))
    if "rouge" in metrics:
        clips["rouge_l"] = rouge_l_clips(captions)
    if "cider" in metrics:
        clips["cider_d"] = cider_d_clips(captions, document_frequencies)
    corpus |= {name: float(clips[name].mean()) for name in ("rouge_l", "cider_d") if name in clips}
    if "diversity" in metrics:
        corpus |= diversity_of(captions.candidates)
    return Scores(num_clips=captions.num_clips, corpus=corpus, clips=clips, bleu_counts=counts)
