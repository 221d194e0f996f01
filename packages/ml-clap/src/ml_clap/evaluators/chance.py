"""What guessing has in retrieval: candidates in random order, some of which are right."""

from __future__ import annotations

from ml_clap.evaluators.results import RetrievalResult
from ml_clap.evaluators.retrieval import PRECISION_CUTOFF


def chance_of_recall(cutoff: int, num_candidates: int, num_right: float = 1.0) -> float:
    """Return the percentage of queries with a right candidate among the first `cutoff`.

    Args:
        cutoff: k of R@k.
        num_candidates: what is ranked.
        num_right: right ones among them; a mean over queries gives about their mean.

    >>> chance_of_recall(10, 200), round(chance_of_recall(1, 1000, 5), 3), chance_of_recall(10, 10)
    (5.0, 0.5, 100.0)
    """
    missed = 1.0
    for place in range(min(cutoff, num_candidates)):
        missed *= max(0.0, num_candidates - num_right - place) / (num_candidates - place)
    return round(100.0 * (1.0 - missed), 9)


def chance_of_precision(num_candidates: int, num_right: float = 1.0) -> float:
    """Return the expected mAP@10 in percent: a right one at rank r has j of them up to it, and counts j / r.

    >>> round(chance_of_precision(1), 6), round(chance_of_precision(100), 3)
    (100.0, 2.929)
    """
    others = (num_right - 1) / max(1, num_candidates - 1)
    ranks = range(1, min(PRECISION_CUTOFF, num_candidates) + 1)
    return 100.0 / num_candidates * sum((1 + (rank - 1) * others) / rank for rank in ranks)


def guess(result: RetrievalResult) -> dict[str, dict[str, float]]:
    """Return what guessing has in one language: direction -> metric (r1, r5, r10, r50, map10) -> percent."""
    clips, captions = result.audio_to_text.num_queries, result.text_to_audio.num_queries
    sizes = {
        "text_to_audio": (result.text_to_audio.num_candidates, 1.0),
        "audio_to_text": (result.audio_to_text.num_candidates, captions / clips),
    }
    return {
        direction: {f"r{cutoff}": chance_of_recall(cutoff, *size) for cutoff in (1, 5, 10, 50)}
        | {"map10": chance_of_precision(*size)}
        for direction, size in sizes.items()
    }
