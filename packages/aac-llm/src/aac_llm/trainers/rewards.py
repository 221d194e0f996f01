"""Rewards of captions, each from 0 to 1: pure functions, except that a fluency detector is a model.

A reward takes captions `(rollouts,)`, those of a clip side by side, and for each the references of its clip,
and returns float64 `(rollouts,)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.data.manifest import Clip
from aac_llm.metrics.cider import SCALE, DocumentFrequencies, cider_d, pairwise_cider_d
from aac_llm.metrics.events import event_scores
from aac_llm.metrics.faults import rule_scores
from aac_llm.metrics.ngrams import Floats

RewardFunction = Callable[[Sequence[str], Sequence[Sequence[str]]], Floats]


def make_rewards(config: ReinforceConfig, clips: Sequence[Clip], device: str) -> dict[str, RewardFunction]:
    """Return the rewards that `config` names, in its order.

    Args:
        config: names, captions of a clip, and the fluency detector.
        clips: of training: how often n-grams are in their captions weighs these in CIDEr-D.
        device: of a fluency detector.

    Raises:
        MissingMetricError: there is no such detector.
    """
    frequencies = DocumentFrequencies.from_references([clip.captions for clip in clips])
    score = _detector(config.fluency_model, device) if config.fluency_model else rule_scores
    known: Mapping[str, RewardFunction] = {
        "cider": partial(cider_reward, frequencies=frequencies),
        "consensus": partial(consensus_reward, num_rollouts=config.num_rollouts, frequencies=frequencies),
        "events": events_reward,
        "fluency": partial(fluency_reward, score=score),
    }
    return {name: known[name] for name in config.rewards}


def cider_reward(
    captions: Sequence[str], references: Sequence[Sequence[str]], *, frequencies: DocumentFrequencies
) -> Floats:
    """Return CIDEr-D against the references, a tenth of it: 1 for a caption that equals all of them."""
    # The Gaussian's tail and rounding may lie above by 1e-16.
    return np.clip(cider_d(captions, references, frequencies)[1] / SCALE, 0, 1)


def consensus_reward(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    num_rollouts: int,
    frequencies: DocumentFrequencies,
) -> Floats:
    """Return the mean CIDEr-D, a tenth of it, with the clip's other captions; references are not read."""
    found = []
    for start in range(0, len(captions), num_rollouts):
        similarity = pairwise_cider_d(captions[start : start + num_rollouts], frequencies) / SCALE
        found.append((similarity.sum(1) - similarity.diagonal()) / (len(similarity) - 1))
    return np.clip(np.concatenate(found), 0, 1)


def events_reward(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Return the F1 of the sound events that a caption names, as `aac-llm evaluate` computes it."""
    return event_scores(captions, references).clips["f1"]


def fluency_reward(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    score: Callable[[Sequence[str]], np.ndarray] = rule_scores,
) -> Floats:
    """Return how surely a caption has no fault, by rules or a detector; references are not read."""
    return 1 - np.asarray(score(captions), dtype=np.float64)


def total_reward(found: Mapping[str, Floats], weights: Sequence[float]) -> Floats:
    """Return the weighted sum of rewards, `(rollouts,)`."""
    return np.sum([weight * values for weight, values in zip(weights, found.values(), strict=True)], axis=0)


def _detector(source: str, device: str) -> Callable[[Sequence[str]], np.ndarray]:
    from aac_llm.metrics.fluency import FluencyDetector

    return FluencyDetector.from_pretrained(source, device=device).error_probability
