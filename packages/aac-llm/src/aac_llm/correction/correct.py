"""The verb `correct`: a file of captions to one of repaired captions, and what was decided on each."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from aac_llm.config.correct import CorrectConfig
from aac_llm.correction.acceptance import NO_ANSWER
from aac_llm.correction.corrector import CHUNK, Corrector
from aac_llm.correction.gate import threshold_used, with_default_detector
from aac_llm.data.journal import Journal, identify
from aac_llm.data.predictions import Prediction, write_predictions
from aac_llm.data.systems import read_system
from aac_llm.data.word_changes import word_changes
from aac_llm.files import is_stream, read_bytes
from aac_llm.lock import hold_outputs
from aac_llm.output import Progress, console, printable

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

NUM_SHOWN = 20
"""Changes and refusals in the table on the screen; all are in the output."""
LONGEST_SHOWN = 300
"""Characters of a text in that table."""
HOW_IT_IS_ASKED = {
    "device",
    "batch_size",
    "api_key_variable",
    "request_timeout",
    "max_retries",
    "concurrency",
    "sound_timeout",
    "engine",
    "ray",
}
"""Settings that may differ between the captions of one file."""


def correct(config: CorrectConfig) -> int:
    """Repair the captions of a file, say what was done, and return 1 if rows or answers are missing."""
    began = time.monotonic()
    config = with_default_detector(config)
    problems: list[str] = []
    corrected = correct_file(config, problems=problems)
    considered = [one.correction for one in corrected if one.correction is not None]
    if considered:
        console(stderr=is_stream(config.out)).print(_table(considered))
    logger.info("%s", _summary(config, corrected, time.monotonic() - began))
    for problem in problems[:NUM_SHOWN]:
        logger.warning("left out: %s", problem)
    if len(problems) > NUM_SHOWN:
        logger.warning("left out: %s more rows that cannot be read", f"{len(problems) - NUM_SHOWN:,}")
    return 1 if problems or any(str(row["reason"]).startswith(NO_ANSWER) for row in considered) else 0


def correct_file(
    config: CorrectConfig, corrector: Corrector | None = None, *, problems: list[str] | None = None
) -> list[Prediction]:
    """Repair the captions of a file into another one, going on where a killed run was.

    Args:
        config: settings.
        corrector: instead of making one of `config`.
        problems: gets the rows of the file that cannot be read.

    Raises:
        FileNotFoundError: there is no such file of predictions.
        ValueError: it cannot be read, or `config.out` was made with other settings.
        BusyError: another process is writing `config.out`.
    """
    config = with_default_detector(config)
    with hold_outputs(config.out):
        return _correct_file(config, corrector, [] if problems is None else problems)


def _correct_file(
    config: CorrectConfig, corrector: Corrector | None, problems: list[str]
) -> list[Prediction]:
    predictions = read_system(config.predictions, problems)
    by_ray = config.engine == "ray" and corrector is None
    corrector = corrector or Corrector(config)
    corrector.check()  # before there is a file
    journal = None
    if not is_stream(config.out):
        journal = Journal(config.out, _describe(config), overwrite=config.overwrite)
    done = _answered(journal) if journal else {}
    made = _correct_here(corrector, [one for one in predictions if one.key not in done])
    if by_ray and journal:
        from aac_llm.correction.by_ray import correct_by_ray

        made = correct_by_ray(config, predictions, journal)
    with Progress("Correcting", len(predictions), start=len(done)) as progress:
        for chunk in made:
            if journal:
                journal.append(chunk)
            done |= {prediction.key: prediction for prediction in chunk}
            progress.advance(len(chunk))
    ordered = [done[prediction.key] for prediction in predictions]
    if journal:
        journal.finish(ordered, [], bad_rows=problems)
    else:
        write_predictions(config.out, ordered)
    return ordered


def _correct_here(corrector: Corrector, left: Sequence[Prediction]) -> Iterator[list[Prediction]]:
    for start in range(0, len(left), CHUNK):
        yield corrector.correct_predictions(left[start : start + CHUNK])


def _answered(journal: Journal) -> dict[tuple[str, float | None], Prediction]:
    """Return what a file holds, but for captions to which the model gave no answer: they are asked again."""
    kept = [
        prediction
        for prediction in journal.predictions
        if not prediction.correction or not str(prediction.correction.get("reason")).startswith(NO_ANSWER)
    ]
    if len(kept) < len(journal.predictions):
        write_predictions(journal.out, kept)
        journal.predictions = kept
    return {prediction.key: prediction for prediction in kept}


def _describe(config: CorrectConfig) -> dict[str, Any]:
    """Return the settings on which a correction depends, which all in one file share."""
    free = HOW_IT_IS_ASKED | {"predictions", "out", "overwrite", "gate", "threshold"}
    settings = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in free}
    # The captions themselves, not the name of their file: it may have been captioned anew meanwhile.
    digest = hashlib.sha256(read_bytes(config.predictions)).hexdigest()
    # What auto and none stood for: defaults may change between versions, and a detector may be trained anew.
    return settings | {
        "gate": config.gate_used,
        "threshold": threshold_used(config),
        "fluency_model": config.fluency_model and identify(config.fluency_model),
        "predictions_sha256": digest,
    }


# Printing


def difference(before: str, after: str) -> str:
    """Write both texts as one: words that went in `[-...-]`, words that came in `{+...+}`.

    >>> difference("a dog dog barks", "a dog barks loudly")
    'a dog [-dog-] barks {+loudly+}'
    """
    signs = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return " ".join(signs[kind].format(words) for kind, words in word_changes(before, after))


def _table(considered: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("caption", "score", "decision", box=None)
    for row in sorted(considered, key=lambda row: not row["accepted"])[:NUM_SHOWN]:
        after = row.get("score_after")
        scores = f"{row['score_before']:.2f}" + ("" if after is None else f" \u2192 {after:.2f}")
        table.add_row(
            Text(_shortened(printable(difference(row["before"], row.get("answer", row["before"]))))),
            scores,
            Text(_shortened(printable(row["reason"]))),
        )
    return table


def _shortened(text: str) -> str:
    """Return a text of the table, which a caption of a thousand words would push off the screen."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ..."


def _summary(config: CorrectConfig, corrected: Sequence[Prediction], seconds: float) -> str:
    reasons = [str(one.correction["reason"]) for one in corrected if one.correction]
    kinds = Counter(_kind(reason) for reason in reasons)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return (
        f"{config.out}: {len(corrected):,} captions, {kinds.total():,} held back by gate {config.gate_used}"
        + (f" ({counts})" if counts else "")
        + f", in {seconds:,.1f} s"
    )


def _kind(reason: str) -> str:
    """Return a reason without its details.

    >>> _kind("kept: adds cat, dog"), _kind("kept: no answer (HTTP 500)")
    ('kept: adds an event', 'kept: no answer')
    """
    for start, kind in (
        ("kept: adds ", "kept: adds an event"),
        ("kept: drops ", "kept: drops an event"),
        ("kept: changes ", "kept: changes the meaning"),
    ):
        if reason.startswith(start):
            return kind
    return reason.partition(" (")[0]
