"""The metric `timestamps`: events with their times, written and in the references, as columns of scores.

Clips whose times the references do not know are left out of these columns. F1 is of the counts of all clips
(micro), so that an interval is of summed counts, as the score itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aac_llm.data.predictions import Prediction
from aac_llm.data.timestamps import TimedEvent
from aac_llm.evaluators.columns import Column, Floats
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.timestamps import f1_of_counts, share_of_counts, timestamp_scores


@dataclass(frozen=True)
class Times:
    """Events of clips in time."""

    written: Sequence[Sequence[TimedEvent]] = ()
    """A system's, of each clip."""
    references: Sequence[Sequence[TimedEvent] | None] = ()
    """Those that are there, perhaps none; None: not known."""

    @classmethod
    def of_clips(
        cls, predictions: Sequence[Prediction], references: Mapping[str, Sequence[TimedEvent]]
    ) -> Times:
        """Put together what was predicted of clips and what the references know of them."""
        return cls([one.timestamps for one in predictions], [references.get(one.id) for one in predictions])

    @property
    def num_known(self) -> int:
        """Clips whose events are known."""
        return sum(events is not None for events in self.references)

    @property
    def are_there(self) -> bool:
        """Whether both sides have times."""
        return self.num_known > 0 and any(self.written)


def timestamp_columns(times: Times) -> dict[str, Column]:
    """Make the columns of the metric.

    Raises:
        MissingMetricError: one side has no times at all.
    """
    if not times.num_known:
        raise MissingMetricError(
            "the references have no timestamps", "name a manifest that holds them, with --references"
        )
    if not any(times.written):
        raise MissingMetricError(
            "no caption has timestamps", "let a captioner that was trained on times write them: --timestamps"
        )
    known = [place for place, events in enumerate(times.references) if events is not None]
    found = timestamp_scores(
        [times.written[place] for place in known], [times.references[place] or () for place in known]
    )
    tables = {name: _spread(table, known, len(times.references)) for name, table in found.tables.items()}
    # Only where every clip has a value: a page is sorted by them.
    is_whole = len(known) == len(times.references)

    def column(name: str, score: Callable[[Floats], Floats]) -> Column:
        table = tables[name]
        corpus = float(score(table.sum(axis=0)))
        # The last of a draw's sums is its number of clips, which counts do not need.
        return Column(corpus, score(table) if is_whole else None, table, lambda sums: score(sums[..., :-1]))

    columns = {
        "timed_event_f1": column("event", f1_of_counts),
        "timed_event_precision": column("event", lambda counts: share_of_counts(counts[..., [0, 1]])),
        "timed_event_recall": column("event", lambda counts: share_of_counts(counts[..., [0, 2]])),
        "timed_onset_f1": column("onset", f1_of_counts),
        "timed_segment_f1": column("segment", f1_of_counts),
        "hallucination": column("hallucination", share_of_counts),
    }
    if found.empty_hallucination is not None:
        columns["empty_hallucination"] = Column(found.empty_hallucination)
    return columns


def _spread(table: Floats, places: Sequence[int], size: int) -> Floats:
    """Put rows in their places among others that count nothing."""
    whole = np.zeros((size, table.shape[1]))
    whole[list(places)] = table
    return whole
