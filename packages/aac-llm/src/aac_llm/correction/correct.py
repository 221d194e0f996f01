"""Correction of captions by a second language model, and the verb `correct`.

A gate (`gate.py`) says which captions need repair, and the model proposes one. It is accepted only if it is
no worse by the gate and names the same sound events (`events.py`) and the same people; all else keeps the
caption as it was (`verdict.py`). What was decided, and why, stands beside every caption that the gate held
back.

The paper corrects with "another pre-trained LLM" and tells neither its name, nor its prompt, nor which
captions it was shown; the authors' code has none of it. This is our own design.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from difflib import SequenceMatcher
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aac_llm.captioning.predictions import Prediction, read_predictions, write_predictions
from aac_llm.config.correct import CorrectConfig, CorrectionSettings
from aac_llm.correction.acceptance import FLUENT, NO_ANSWER, Correction, clean_answer, judge, keep
from aac_llm.correction.gate import THRESHOLDS, Gate, rule_gate
from aac_llm.correction.llm import LLM, LLMError, LocalLLM, check_source

if TYPE_CHECKING:
    from rich.table import Table

    from aac_llm.captioning.journal import Journal

NUM_SHOWN = 20
"""Changes and refusals in the table on the screen; all are in the output."""
MAX_WORDS = 200
"""Longer texts are not shown to a model."""
CHUNK = 64
"""Captions between two writes to the disk."""


class Corrector:
    """Repairs captions; the models are loaded when the first caption needs them.

    Args:
        config: settings.
        llm: instead of loading `config.llm`: a function from captions to answers.
        gate: instead of `config.gate`.

    Raises:
        ValueError: neither a language model nor the name of one is given.
    """

    def __init__(
        self, config: CorrectionSettings, *, llm: LLM | None = None, gate: Gate | None = None
    ) -> None:
        if llm is None and config.llm is None:
            raise ValueError("no language model: llm must name one (folder, hub id, or the endpoint's name)")
        self.config = config
        self._llm = llm
        self._gate = gate

    def check(self) -> None:
        """Look for the local model's configuration, so that a wrong name is told before a long job.

        Raises:
            ValueError: there is no such model.
        """
        if self._llm is None and self.config.endpoint is None:
            check_source(str(self.config.llm))

    @cached_property
    def llm(self) -> LLM:
        """Captions -> answers."""
        if self._llm is not None:
            return self._llm
        if self.config.endpoint is not None:
            from aac_llm.correction.endpoint import EndpointLLM

            return EndpointLLM.from_settings(self.config)
        return self._local

    @cached_property
    def gate(self) -> Gate:
        """What says which captions need repair."""
        if self._gate is not None:
            return self._gate
        name, threshold = self.config.gate_used, self.config.threshold
        if name == "rules":
            return rule_gate(threshold)
        threshold = THRESHOLDS[name] if threshold is None else threshold
        if name == "lm":
            return Gate("lm", threshold, self._local.surprise)
        from aac_llm.metrics.fluency import FluencyDetector

        detector = FluencyDetector.from_pretrained(str(self.config.fluency_model))
        return Gate("fluency", threshold, detector.error_probability)

    @cached_property
    def _local(self) -> LocalLLM:
        return LocalLLM.from_pretrained(
            str(self.config.llm),
            device=self.config.device,
            dtype=self.config.dtype,
            max_new_tokens=self.config.max_new_tokens,
            batch_size=self.config.batch_size,
        )

    def correct(self, captions: Sequence[str]) -> list[Correction]:
        """Repair what needs it; one result for each caption, in order."""
        if not captions:
            return []
        scores = [float(score) for score in self.gate.score(captions)]
        places = [place for place, score in enumerate(scores) if score >= self.gate.threshold]
        results = [
            Correction(text, text, False, FLUENT, score) for text, score in zip(captions, scores, strict=True)
        ]
        for place, result in zip(places, self._repair([results[place] for place in places]), strict=True):
            results[place] = result
        return results

    def _repair(self, held_back: list[Correction]) -> list[Correction]:
        captions = [each.before for each in held_back]
        answers = self._ask(captions)
        proposals = [clean_answer(answer, text) for answer, text in zip(answers, captions, strict=True)]
        texts = [each for each in proposals if isinstance(each, str)]
        scores = iter(self.gate.score(texts) if texts else ())
        return [
            keep(result, str(proposal))
            if isinstance(proposal, LLMError)
            else judge(result, proposal, float(next(scores)))
            for result, proposal in zip(held_back, proposals, strict=True)
        ]

    def _ask(self, captions: list[str]) -> Sequence[str | LLMError]:
        """An answer for each, whatever the model does; it is not asked about what cannot be a caption."""
        asked = [place for place, caption in enumerate(captions) if 0 < len(caption.split()) <= MAX_WORDS]
        answers: list[str | LLMError] = [LLMError(f"a caption has 1 to {MAX_WORDS} words")] * len(captions)
        if not asked:
            return answers
        try:
            found = self.llm([captions[place] for place in asked])
        except LLMError as error:
            found = [error] * len(asked)
        if len(found) != len(asked):
            raise ValueError(f"the language model gave {len(found)} answers to {len(asked)} captions")
        for place, answer in zip(asked, found, strict=True):
            answers[place] = answer
        return answers


# ------------------------------------------------------------------------------------------- predictions


def correct_predictions(corrector: Corrector, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The same predictions with repaired captions; those that the gate held back say what was decided."""
    found = corrector.correct([each.caption for each in predictions])
    return [
        _with_correction(each, result, corrector) for each, result in zip(predictions, found, strict=True)
    ]


def _with_correction(prediction: Prediction, result: Correction, corrector: Corrector) -> Prediction:
    if not result.considered:
        return prediction
    record = {name: value for name, value in asdict(result).items() if value is not None}
    original = prediction.original
    if result.accepted and original is None:
        original = result.before
    return replace(
        prediction,
        caption=result.after,
        original=original,
        correction=record | {"gate": corrector.gate.name, "llm": corrector.config.llm},
    )


def correct(config: CorrectConfig) -> None:
    """Repair the captions of a file, and print what was done."""
    from rich.console import Console

    began = time.monotonic()
    corrected = correct_file(config)
    considered = [each.correction for each in corrected if each.correction is not None]
    if considered:
        Console().print(_table(considered))
    print(_summary(config, corrected, time.monotonic() - began))


def correct_file(config: CorrectConfig, corrector: Corrector | None = None) -> list[Prediction]:
    """Repair the captions of a file into another one, going on where a killed run was.

    Args:
        config: settings.
        corrector: instead of making one of `config`.

    Raises:
        FileNotFoundError: there is no such file of predictions.
        ValueError: it cannot be read, or `config.out` was made with other settings.
    """
    from aac_llm.captioning.journal import Journal

    predictions = read_predictions(config.predictions)
    corrector = corrector or Corrector(config)
    corrector.check()  # before there is a file
    journal = Journal(config.out, _describe(config), overwrite=config.overwrite)
    done = _answered(journal)
    left = [each for each in predictions if each.key not in done]
    for start in range(0, len(left), CHUNK):
        chunk = correct_predictions(corrector, left[start : start + CHUNK])
        journal.append(chunk)
        done |= {each.key: each for each in chunk}
    ordered = [done[each.key] for each in predictions]
    journal.finish(ordered, [])
    return ordered


def _answered(journal: Journal) -> dict[tuple[str, float | None], Prediction]:
    """What a file holds, but for captions to which the model gave no answer: they are asked again."""
    kept = [
        each
        for each in journal.predictions
        if not each.correction or not str(each.correction.get("reason")).startswith(NO_ANSWER)
    ]
    if len(kept) < len(journal.predictions):
        write_predictions(journal.out, kept)
        journal.predictions = kept
    return {each.key: each for each in kept}


def _describe(config: CorrectConfig) -> dict[str, Any]:
    """What a correction depends on, which all in one file share: not how an endpoint is asked."""
    free = {"predictions", "out", "overwrite", "device", "batch_size", "api_key_variable"}
    free |= {"request_timeout", "max_retries", "concurrency", "gate", "threshold"}
    settings = {each.name: getattr(config, each.name) for each in fields(config) if each.name not in free}
    digest = hashlib.sha256(config.predictions.read_bytes()).hexdigest()
    threshold = THRESHOLDS[config.gate_used] if config.threshold is None else config.threshold
    return settings | {"gate": config.gate_used, "threshold": threshold, "predictions_sha256": digest}


# ---------------------------------------------------------------------------------------------- printing


def difference(before: str, after: str) -> str:
    """One text of both: words that went in `[-...-]`, words that came in `{+...+}`.

    >>> difference("a dog dog barks", "a dog barks loudly")
    'a dog [-dog-] barks {+loudly+}'
    """
    old, new = before.split(), after.split()
    parts = []
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts += old[i:j]
            continue
        parts += [f"[-{' '.join(old[i:j])}-]"] * (i < j) + [f"{{+{' '.join(new[k:m])}+}}"] * (k < m)
    return " ".join(parts)


def _table(considered: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("caption", "score", "decision", box=None)
    for row in sorted(considered, key=lambda row: not row["accepted"])[:NUM_SHOWN]:
        after = row.get("score_after")
        scores = f"{row['score_before']:.2f}" + ("" if after is None else f" \u2192 {after:.2f}")
        table.add_row(
            Text(difference(row["before"], row.get("answer", row["before"]))), scores, Text(row["reason"])
        )
    return table


def _summary(config: CorrectConfig, corrected: Sequence[Prediction], seconds: float) -> str:
    reasons = Counter(str(each.correction["reason"]) for each in corrected if each.correction)
    kinds: Counter[str] = Counter()
    for reason, count in reasons.items():
        kinds[_kind(reason)] += count
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    return (
        f"{config.out}: {len(corrected):,} captions, {kinds.total():,} held back by gate {config.gate_used}"
        + (f" ({told})" if told else "")
        + f", in {seconds:,.1f} s"
    )


def _kind(reason: str) -> str:
    """A reason without its details.

    >>> _kind("kept: adds cat, dog"), _kind("kept: no answer (HTTP 500)")
    ('kept: adds an event', 'kept: no answer')
    """
    for start, kind in (("kept: adds ", "kept: adds an event"), ("kept: drops ", "kept: drops an event")):
        if reason.startswith(start):
            return kind
    return reason.partition(" (")[0]
