"""Results of an evaluation: their types, a table on the terminal, and JSON that says what made them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from aac_llm.data.timestamps import TimedEvent
from aac_llm.evaluators.score_table import Unavailable
from aac_llm.files import write_json
from aac_llm.output import console, printable

NAMES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
    "meteor": "METEOR",
    "spice": "SPICE",
    "spice_like": "spice_like",
    "spider": "SPIDEr",
    "spider_like": "spider_like",
    "fer": "FER",
    "spider_fl": "SPIDEr-FL",
    "sbert_sim": "SBERT",
    "fense": "FENSE",
    "fer_like": "FER-like",
    "spider_fl_like": "SPIDEr-FL-like",
    "sentence_sim": "sentence similarity",
    "fense_like": "FENSE-like",
    "clair_a_like": "CLAIR-A-like",
    "event_precision": "event precision",
    "event_recall": "event recall",
    "event_f1": "event F1",
    "timed_event_f1": "timed event F1",
    "timed_event_precision": "timed precision",
    "timed_event_recall": "timed recall",
    "timed_onset_f1": "onset F1",
    "timed_segment_f1": "segment F1 (1 s)",
    "hallucination": "hallucination",
    "empty_hallucination": "of empty clips",
    "bleu": "BLEU",
    "rouge": "ROUGE-L",
    "cider": "CIDEr-D",
    "sbert": "SBERT",
    "clair_a": "CLAIR-A",
    "events": "events",
    "diversity": "diversity",
    "timestamps": "timestamps",
}
"""Names of scores and metrics in print."""
LOWER_IS_BETTER = frozenset({"fer", "fer_like", "hallucination", "empty_hallucination"})
NUM_SHOWN = 5
"""Ids and files named on the terminal; all are in the JSON."""


@dataclass(frozen=True)
class ScoredClip:
    """A clip with its captions, references and scores."""

    id: str
    audio: str | None
    caption: str
    references: tuple[str, ...]
    scores: dict[str, float]
    """Scores of the metrics that score single clips."""
    other_caption: str | None = None
    """The caption of the system that is compared with."""
    confidence: float | None = None
    """How likely the caption is right, by the model."""
    timestamps: tuple[TimedEvent, ...] = ()
    """Events that the captioner wrote."""
    reference_timestamps: tuple[TimedEvent, ...] = ()
    """Events of the references."""
    original: str | None = None
    """The caption before correction, where a correction was accepted."""
    decision: str | None = None
    """What correction decided on the caption, where a gate held it back."""


@dataclass(frozen=True)
class Difference:
    """How much better a system is than another one by one score."""

    other: float
    """The other system's score."""
    difference: float
    """Ours less the other's."""
    interval: tuple[float, float] | None = None
    """95 % interval of a paired bootstrap over clips; None: the score cannot be drawn."""
    p_value: float | None = None
    """Two-sided, of a permutation test."""


@dataclass(frozen=True)
class Evaluation:
    """All results of a system."""

    num_clips: int
    corpus: dict[str, float]
    """Score -> value over all clips."""
    intervals: dict[str, tuple[float, float]]
    """95 % intervals, by the bootstrap over clips."""
    clips: tuple[ScoredClip, ...]
    """In the order of the references."""
    unavailable: dict[str, Unavailable]
    """Metrics that were asked for and could not run, with what to do."""
    comparison: dict[str, Difference]
    """Differences to a second system, by score."""
    missing: tuple[str, ...] = ()
    """Ids with references but without a caption; not scored."""
    extra: tuple[str, ...] = ()
    """Ids with a caption but without references; not scored."""
    bad_files: tuple[str, ...] = ()
    """Sounds that the model could not caption, and why."""
    bad_rows: tuple[str, ...] = ()
    """Rows of the files that could not be read, and why; not scored."""
    complaints: tuple[str, ...] = ()
    """What is odd about sounds that were captioned nevertheless."""
    notes: tuple[str, ...] = ()
    """What was cut or left out and what a score means, each with the flag that changes it."""
    made_by: dict[str, str] = field(default_factory=dict)
    """Score -> the models or programs that made it, with their versions."""
    bad_answers: tuple[str, ...] = ()
    """Why a language model's judgement is missing, for each caption without one."""


def display_name(name: str) -> str:
    """Return what a score is called in print; a name without an entry becomes words."""
    return NAMES.get(name, name.replace("_", " "))


def format_score(name: str, value: float) -> str:
    """Format a score: four decimals, or none for whole numbers, as of words.

    >>> format_score("cider_d", 0.48178), format_score("vocabulary", 68.0)
    ('0.4818', '68')
    """
    counts = name not in NAMES and float(value).is_integer() and abs(value) > 1
    return f"{value:,.0f}" if counts else f"{value:.4f}"


def table_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return the corpus table as text: column names, and a row for each score."""
    columns = ["score", "value"]
    columns += ["95 % interval"] if evaluation.intervals else []
    # What the other system scored, and how far ours is ahead.
    columns += ["other", "change", "95 % interval", "p"] if evaluation.comparison else []
    columns += ["made by"] if evaluation.made_by else []
    rows = []
    for name, value in evaluation.corpus.items():
        row = [display_name(name), format_score(name, value)]
        row += [_interval(evaluation.intervals.get(name))] if evaluation.intervals else []
        if evaluation.comparison:
            row += _comparison(name, evaluation)
        row += [evaluation.made_by.get(name, "")] if evaluation.made_by else []
        rows.append(row)
    return columns, rows


def notes(evaluation: Evaluation) -> list[str]:
    """Return notes to the numbers, a line each: clips and metrics that are not in them."""
    lines = [_listing("without a caption, not scored", evaluation.missing)]
    lines += [_listing("without references, not scored", evaluation.extra)]
    lines += [_listing("sounds could not be captioned", evaluation.bad_files)]
    lines += [_listing("rows could not be read", evaluation.bad_rows)]
    lines += [_listing("oddities of sounds that were captioned", evaluation.complaints), *evaluation.notes]
    lines += [f"{display_name(name)} not computed: {why}" for name, why in evaluation.unavailable.items()]
    return [line for line in lines if line]


def summary(evaluation: Evaluation) -> str:
    """Return how many clips were scored, against how many references."""
    return f"{evaluation.num_clips:,} clips, {_references(evaluation)}"


def print_report(evaluation: Evaluation, file: TextIO | None = None) -> None:
    """Print the table and its notes, to the standard output by default."""
    from rich.table import Table
    from rich.text import Text

    # As Text: names in [brackets] are no markup.
    table = Table(title=Text(summary(evaluation)), title_justify="left", box=None, pad_edge=False)
    columns, rows = table_rows(evaluation)
    for name in columns:
        table.add_column(
            Text(name), justify="left" if name in ("score", "made by") else "right", no_wrap=True
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    screen = console(file=file or sys.stdout)
    if not screen.is_terminal:  # a file or a pipe has no width
        screen = console(file=file or sys.stdout, width=120, soft_wrap=True)
    screen.print(table)
    for line in notes(evaluation):
        screen.print(Text(printable(line)))


def write_json_report(path: Path, evaluation: Evaluation, config: Any) -> None:
    """Write all numbers, clip by clip, with the version and the settings that made them; `-`: print them."""
    write_json(path, {"aac_llm": version("aac-llm"), "settings": config, "results": evaluation})


def _references(evaluation: Evaluation) -> str:
    counts = [len(clip.references) for clip in evaluation.clips]
    # CIDEr-D and BLEU depend on it, so it stands beside them.
    low, high = min(counts), max(counts)
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"{number} reference{'s' if high > 1 else ''} each"


def _comparison(name: str, evaluation: Evaluation) -> list[str]:
    found = evaluation.comparison.get(name)
    if found is None:
        return ["", "", "", ""]
    p = "" if found.p_value is None else f"{found.p_value:.3f}"
    change = f"{found.difference:+.4f}"
    return [format_score(name, found.other), change, _interval(found.interval), p]


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _listing(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NUM_SHOWN:,} more" if len(names) > NUM_SHOWN else ""
    return f"{len(names):,} {what}: {', '.join(names[:NUM_SHOWN])}{more}"
