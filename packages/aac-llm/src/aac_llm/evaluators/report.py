"""How results of captions are shown and kept: a table on the terminal, and JSON that says what made it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aac_llm.evaluators.evaluate import Evaluation

NAMES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
    "meteor": "METEOR",
    "spice": "SPICE",
    "spider": "SPIDEr",
    "fer": "FER",
    "spider_fl": "SPIDEr-FL",
    "sbert_sim": "SBERT",
    "fense": "FENSE",
    "event_precision": "event precision",
    "event_recall": "event recall",
    "event_f1": "event F1",
    "bleu": "BLEU",
    "rouge": "ROUGE-L",
    "cider": "CIDEr-D",
    "sbert": "SBERT",
    "events": "events",
    "diversity": "diversity",
}
"""What scores and metrics are called in print."""
LOWER_IS_BETTER = frozenset({"fer"})
NUM_SHOWN = 5
"""Ids and files named on the terminal; all are in the JSON."""


def display_name(name: str) -> str:
    """What a score is called in print; one without an entry, its words."""
    return NAMES.get(name, name.replace("_", " "))


def format_score(name: str, value: float) -> str:
    """Four decimals; whole numbers, as of words, without any.

    >>> format_score("cider_d", 0.48178), format_score("vocabulary", 68.0)
    ('0.4818', '68')
    """
    counts = name not in NAMES and float(value).is_integer() and abs(value) > 1
    return f"{value:,.0f}" if counts else f"{value:.4f}"


def table_rows(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The corpus table as text: column names, and a row for each score."""
    columns = ["score", "value"]
    columns += ["95 % interval"] if evaluation.intervals else []
    # What the other system scored, and how far ours is ahead.
    columns += ["other", "change", "95 % interval", "p"] if evaluation.comparison else []
    rows = []
    for name, value in evaluation.corpus.items():
        row = [display_name(name), format_score(name, value)]
        row += [_interval(evaluation.intervals.get(name))] if evaluation.intervals else []
        if evaluation.comparison:
            row += _comparison(name, evaluation)
        rows.append(row)
    return columns, rows


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader must know beside the numbers: clips and metrics that are not in them, a line each."""
    lines = [_listing("without a caption, not scored", evaluation.missing)]
    lines += [_listing("without references, not scored", evaluation.extra)]
    lines += [_listing("could not be read", evaluation.bad_files)]
    lines += [f"{display_name(name)} not computed: {why}" for name, why in evaluation.unavailable.items()]
    return [line for line in lines if line]


def print_report(evaluation: Evaluation) -> None:
    """The table and its notes on the standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = f"{evaluation.num_clips:,} clips, {_references(evaluation)}"
    # As Text: names in [brackets] are no markup.
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    columns, rows = table_rows(evaluation)
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width
        console = Console(width=120, soft_wrap=True)
    console.print(table)
    for line in notes(evaluation):
        console.print(Text(_printable(line)))


def write_json_report(path: Path, evaluation: Evaluation, config: Any) -> None:
    """Keep all numbers, clip by clip, with the version and the settings that made them."""
    record = {"aac_llm": version("aac-llm"), "settings": to_plain(config), "results": to_plain(evaluation)}
    text = json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (_escape_surrogates(text) + "\n").encode())


def to_plain(value: Any) -> Any:
    """A value in JSON's own types: dataclasses become objects, paths text, numbers that are none null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader, and no interruption, sees half of it; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _references(evaluation: Evaluation) -> str:
    counts = [len(clip.references) for clip in evaluation.clips]
    low, high = min(counts), max(counts)
    each = f"{low}" if low == high else f"{low} to {high}"
    return f"{each} reference{'s' if high > 1 else ''} each"


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


def _escape_surrogates(text: str) -> str:
    """File names that are no valid Unicode cannot be UTF-8; JSON's escapes can hold them."""
    return "".join(f"\\u{ord(each):04x}" if "\ud800" <= each <= "\udfff" else each for each in text)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
