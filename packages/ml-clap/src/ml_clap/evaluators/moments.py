"""Moment retrieval: at which seconds of a long file is what a caption tells?

A manifest's row then has `start` and `end` (seconds) beside its captions; several rows name one file, and
rows of one file with one caption are the times of one event. Each file is cut into windows of several
lengths, every window is encoded once, and each caption ranks the windows of its own file. Of windows that
overlap by more than `SUPPRESSED_IOU` the worse ones are left out (greedy suppression), as a search would show
them.

R@1 at an IoU of 0.5 and of 0.7, and mAP over the IoUs 0.5 to 0.95, are those of Moment-DETR's evaluation
(QVHighlights), which audio moment retrieval took over. What guessing has is measured too: a window drawn at
random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F
from audio_common.prefetch import AudioSpan, BadFile

from ml_clap.evaluators.results import MomentMetrics
from ml_clap.evaluators.statistics import estimate

if TYPE_CHECKING:
    from torch import Tensor

    from ml_clap.data.manifest import Clip

RECALL_IOUS = (0.5, 0.7)
PRECISION_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
SUPPRESSED_IOU = 0.7
"""Overlap beyond which a window counts as the same hit as a better one."""
HOP = 0.5
"""From the start of one window to the next, as a share of its length."""

Span = tuple[float, float]
"""(start, end) in seconds."""


@dataclass(frozen=True)
class Query:
    """A caption, its file, and the times at which it is true."""

    file: Path
    text: str
    spans: tuple[Span, ...]


def read_moment(clip: Clip) -> Span:
    """Return `start` and `end` of a manifest's row.

    Raises:
        ValueError: one is missing, or they are no stretch of time; names the clip.
    """
    start, end = (_seconds(clip.extra.get(name)) for name in ("start", "end"))
    if start is None or end is None or not start < end:
        raise ValueError(
            f'the clip {clip.id!r} should say when its event is heard, as "start" and "end" in seconds with '
            f"start before end; got {clip.extra.get('start')!r} and {clip.extra.get('end')!r}"
        )
    return start, end


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0.0 <= value < math.inf else None


def gather_queries(clips: Sequence[Clip], language: str) -> list[Query]:
    """Return one query for each caption of each file in a language, with all the times it is there for."""
    spans: dict[tuple[Path, str], list[Span]] = {}
    for clip in clips:
        moment = read_moment(clip)
        for text in clip.captions.get(language, ()):
            spans.setdefault((clip.audio, text), []).append(moment)
    return [Query(file, text, tuple(sorted(set(found)))) for (file, text), found in spans.items()]


def candidate_windows(duration: float, lengths: Sequence[float]) -> list[Span]:
    """Return the windows of a file: of each length, half of it from start to start, the last to the end.

    A length beyond the file's is the whole file.

    >>> candidate_windows(5.0, [2.0, 10.0])
    [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (3.0, 5.0), (0.0, 5.0)]
    """
    windows: dict[Span, None] = {}
    for length in lengths:
        last = max(0.0, duration - length)
        starts = [*np.arange(0.0, last, HOP * length).tolist(), last]
        windows |= dict.fromkeys((start, min(duration, start + length)) for start in starts)
    return list(windows)


def iou(windows: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Return `(windows, spans)`: the intersection over the union of stretches of time `(n, 2)`."""
    both = np.minimum(windows[:, None, 1], spans[None, :, 1]) - np.maximum(
        windows[:, None, 0], spans[None, :, 0]
    )
    both = both.clip(min=0.0)
    lengths = np.diff(windows, axis=1) + np.diff(spans, axis=1).T
    return both / (lengths - both)


def suppress(windows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the places of windows `(n, 2)` that stay, best first: none overlaps a better one too much."""
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        kept.append(left[0])
        overlap = iou(windows[left[:1]], windows[left])[0]
        left = left[(overlap <= SUPPRESSED_IOU) & (left != left[0])]
    return np.array(kept)


def average_precision(overlaps: np.ndarray, threshold: float) -> float:
    """Return the average precision of ranked windows: `overlaps` `(windows, spans)`, best window first.

    A span is found by the first window whose IoU with it reaches the threshold; a second one is wrong.
    """
    waiting, hits, total = set(range(overlaps.shape[1])), 0, 0.0
    for place, row in enumerate(overlaps, start=1):
        fitting = [span for span in waiting if row[span] >= threshold]
        if fitting:
            waiting.remove(max(fitting, key=lambda span: row[span]))
            hits += 1
            total += hits / place
    return total / overlaps.shape[1]


def spans_of(files: Sequence[Path], durations: Sequence[float], lengths: Sequence[float]) -> list[AudioSpan]:
    """Return the windows of all files, to be encoded."""
    return [
        AudioSpan(file, start, end - start)
        for file, duration in zip(files, durations, strict=True)
        for start, end in candidate_windows(duration, lengths)
    ]


def measure_moments(
    queries: Sequence[Query],
    captions: Tensor,
    windows: Sequence[AudioSpan],
    embeddings: Tensor,
    *,
    bad: Sequence[BadFile] = (),
    num_samples: int = 0,
    seed: int = 0,
) -> MomentMetrics:
    """Rank the windows of each query's file, and measure where the right ones come; intervals resample files.

    Args:
        queries: of one language, at least one.
        captions: `(queries, dim)` their embeddings.
        windows: of all files.
        embeddings: `(windows, dim)`.
        bad: windows that could not be read.
        num_samples: bootstrap draws; 0: no intervals.
        seed: seed for the draws.
    """
    unread = {file.index for file in bad}
    places: dict[Path, list[int]] = {}
    for place, window in enumerate(windows):
        if place not in unread:
            places.setdefault(window.path, []).append(place)
    scored = [(query, row) for query, row in zip(queries, captions, strict=True) if query.file in places]
    if not scored:
        raise ValueError("none of the files with moments could be read")
    vectors = F.normalize(embeddings.float(), dim=1)
    rows = []
    for query, caption in scored:
        own = places[query.file]
        stretches = np.array([(windows[n].offset, windows[n].offset + windows[n].duration) for n in own])  # type: ignore[operator]
        scores = (vectors[own] @ caption.float().cpu()).numpy()
        rows.append(_judge(stretches, scores, np.array(query.spans)))
    values = np.array(rows)
    files = np.array([str(query.file) for query, _ in scored])

    measured = [
        estimate(column, files, num_samples=num_samples, seed=seed, is_percentage=True) for column in values.T
    ]
    names = ("r1_iou50", "r1_iou70", "map", "map_iou50", "guess_iou50", "guess_iou70")
    return MomentMetrics(
        **dict(zip(names, measured, strict=True)),
        num_queries=len(scored),
        num_files=len(set(files)),
        num_windows=sum(map(len, places.values())),
    )


def _judge(stretches: np.ndarray, scores: np.ndarray, spans: np.ndarray) -> list[float]:
    """Return a query's R@1 at both IoUs, mAP, mAP at 0.5, and guessing at both IoUs, in percent."""
    order = suppress(stretches, scores)
    overlaps = iou(stretches[order], spans)
    every = iou(stretches, spans).max(axis=1)
    first = [100.0 * float(overlaps[0].max() >= limit) for limit in RECALL_IOUS]
    guessed = [100.0 * float((every >= limit).mean()) for limit in RECALL_IOUS]
    precisions = [100.0 * average_precision(overlaps, limit) for limit in PRECISION_IOUS]
    return [*first, float(np.mean(precisions)), precisions[0], *guessed]
