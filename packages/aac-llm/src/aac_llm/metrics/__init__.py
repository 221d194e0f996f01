"""Captioning metrics. Those named here are pure Python and NumPy, need no Java and load no torch.

BLEU, ROUGE-L and CIDEr-D give the numbers of coco-caption, its tokeniser included. METEOR and SPICE (jars),
and the sentence-embedding and fluency metrics (models), are in modules of their own, imported when used.

    >>> from aac_llm.metrics import score_captions
    >>> scores = score_captions(["a dog barks loudly"], [["a dog barks", "one dog barks twice"]])
    >>> scores.num_clips, round(scores.corpus["rouge_l"], 3)
    (1, 0.88)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aac_llm.metrics.cider import CiderD, DocumentFrequencies, cider_d, pairwise_cider_d
    from aac_llm.metrics.rouge import rouge_l
    from aac_llm.metrics.score import PURE_METRICS, Scores, score_captions
    from aac_llm.metrics.statistics import Comparison, Interval, bootstrap_interval, compare_systems
    from aac_llm.metrics.tokenizer import tokenize

__all__ = [
    "PURE_METRICS",
    "CiderD",
    "Comparison",
    "DocumentFrequencies",
    "Interval",
    "Scores",
    "bootstrap_interval",
    "cider_d",
    "compare_systems",
    "pairwise_cider_d",
    "rouge_l",
    "score_captions",
    "tokenize",
]

_HOMES = {
    "PURE_METRICS": "score",
    "CiderD": "cider",
    "Comparison": "statistics",
    "DocumentFrequencies": "cider",
    "Interval": "statistics",
    "Scores": "score",
    "bootstrap_interval": "statistics",
    "cider_d": "cider",
    "compare_systems": "statistics",
    "pairwise_cider_d": "cider",
    "rouge_l": "rouge",
    "score_captions": "score",
    "tokenize": "tokenizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aac_llm.metrics' has no attribute {name!r}")
    return getattr(import_module(f"aac_llm.metrics.{_HOMES[name]}"), name)
