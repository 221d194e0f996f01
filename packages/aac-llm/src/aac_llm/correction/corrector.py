"""Repair captions by a second language model.

A gate (`gate.py`) says which captions need repair. One of the captioner's own candidates may take the place
(`choice.py`); else the model proposes a repair. It is accepted only if it is better by the gate, names the
same sound events (`metrics/events.py`) and people, and says the same (`meaning.py`); all else keeps the
caption as it was (`acceptance.py`). A program that hears the sound may object (`sound_scorer.py`). What was
decided, and why, stands beside every caption that the gate held back.

The paper corrects with "another pre-trained LLM" and tells neither its name, nor its prompt, nor which
captions it was shown; the authors' code has none of it. This is our own design.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property

from aac_llm.config.correct import CorrectionConfig
from aac_llm.correction.acceptance import (
    CHOSEN,
    FLUENT,
    Correction,
    clean_answer,
    judge,
    judge_by_sound,
    keep,
)
from aac_llm.correction.choice import choose, with_score_of
from aac_llm.correction.gate import Gate, both_gate, rule_gate, threshold_used, with_default_detector
from aac_llm.correction.llm import LLM, LLMError, LocalLLM, check_source
from aac_llm.correction.sound_scorer import ScorerError, SoundScorer
from aac_llm.data.predictions import Prediction

logger = logging.getLogger(__name__)

CHUNK = 64
"""Captions that a job repairs at once: between two writes to the disk, and in one run of the sound scorer."""
MAX_WORDS = 200
"""Longer texts are not shown to a model."""


class Corrector:
    """Repairs captions; the models are loaded when the first caption needs them.

    Args:
        config: settings.
        llm: instead of loading `config.llm`: a function from captions to answers.
        gate: instead of `config.gate`.

    Raises:
        ValueError: neither a language model nor the name of one is given.
    """

    def __init__(self, config: CorrectionConfig, *, llm: LLM | None = None, gate: Gate | None = None) -> None:
        if llm is None and config.llm is None and not config.choose:
            raise ValueError("no language model: llm must name one (folder, hub id, or the endpoint's name)")
        self.config = config if gate is not None else with_default_detector(config)
        self._llm = llm
        self._gate = gate

    def check(self) -> None:
        """Look for the local model and the sound scorer, so that a wrong name is an error before a long job.

        Raises:
            ValueError: there is no such model or program.
        """
        if self._llm is None and self.config.llm is not None and self.config.endpoint is None:
            check_source(self.config.llm)
        if self.sound_scorer is not None:
            self.sound_scorer.check()

    @cached_property
    def llm(self) -> LLM:
        """A function from captions to answers."""
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
        name, threshold = self.config.gate_used, threshold_used(self.config)
        if name == "rules":
            if self.config.gate == "auto":
                logger.info("gate: rules; `aac-llm fluency` trains a detector that finds more")
            return rule_gate(threshold)
        if name == "lm":
            return Gate("lm", threshold, self._local.surprise)
        from aac_llm.metrics.fluency import FluencyDetector

        if self.config.gate == "auto":
            logger.info("gate: %s, with the detector %s", name, self.config.fluency_model)
        detector = FluencyDetector.from_pretrained(str(self.config.fluency_model))
        if name == "both":
            return both_gate(detector.fault_score, detector.threshold, threshold)
        return Gate("fluency", threshold, detector.fault_score)

    @cached_property
    def sound_scorer(self) -> SoundScorer | None:
        """What says how well texts fit sounds, if anything does."""
        if self.config.sound_scorer is None:
            return None
        return SoundScorer(
            self.config.sound_scorer,
            timeout=self.config.sound_timeout,
            # The endpoint's key is for the endpoint.
            secrets=(self.config.api_key_variable,),
        )

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
        """Repair what needs it; return one result for each caption, in order."""
        if isinstance(captions, str):
            raise TypeError(f"expected a list of captions, got one text {captions!r}")
        return self._decide([Prediction(str(n), None, caption) for n, caption in enumerate(captions)])

    def correct_predictions(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions with repaired captions; those held back by the gate say what was decided."""
        return [
            self._with_correction(prediction, result)
            for prediction, result in zip(predictions, self._decide(predictions), strict=True)
        ]

    def _decide(self, predictions: Sequence[Prediction]) -> list[Correction]:
        if not predictions:
            return []
        captions = [prediction.caption for prediction in predictions]
        scores = [float(score) for score in self.gate.score(captions)]
        results = [
            Correction(text, text, False, FLUENT, score) for text, score in zip(captions, scores, strict=True)
        ]
        # At the threshold it counts as broken, so that threshold 0 shows every caption to the model.
        places = [place for place, score in enumerate(scores) if score >= self.gate.threshold]
        if self.config.choose and places:
            held_back = [results[place] for place in places]
            chosen = choose(
                [predictions[place] for place in places], held_back, self.gate, self._similarities
            )
            results = _replaced(results, places, chosen)
            places = [place for place in places if not results[place].considered]
        return _replaced(
            results, places, self._repair([predictions[n] for n in places], [results[n] for n in places])
        )

    def _with_correction(self, prediction: Prediction, result: Correction) -> Prediction:
        # Most captions: their lines stay as the captioner wrote them.
        if not result.considered:
            return prediction
        record = {name: value for name, value in asdict(result).items() if value is not None}
        original = prediction.original
        # A second correction keeps what the captioner said, not what the first made of it.
        if result.accepted and original is None:
            original = result.before
        if result.reason == CHOSEN:
            prediction = with_score_of(prediction, result.after)
        return replace(
            prediction,
            caption=result.after,
            original=original,
            correction=record | {"gate": self.gate.name, "llm": self.config.llm},
        )

    def _repair(self, predictions: Sequence[Prediction], held_back: list[Correction]) -> list[Correction]:
        if self._llm is None and self.config.llm is None:
            return [keep(result, "kept: no candidate is fluent") for result in held_back]
        captions = [correction.before for correction in held_back]
        answers = self._ask(captions)
        proposals = [clean_answer(answer, text) for answer, text in zip(answers, captions, strict=True)]
        texts = [proposal for proposal in proposals if isinstance(proposal, str)]
        # Scored together: the gate may be a model.
        scores = iter(self.gate.score(texts) if texts else ())
        results = [
            keep(result, str(proposal))
            if isinstance(proposal, LLMError)
            else judge(result, proposal, float(next(scores)))
            for result, proposal in zip(held_back, proposals, strict=True)
        ]
        return self._heard(predictions, results)

    def _heard(self, predictions: Sequence[Prediction], results: list[Correction]) -> list[Correction]:
        """Let the sound judge what was accepted, if there is a scorer."""
        places = [place for place, result in enumerate(results) if result.accepted]
        texts = [(predictions[place], (results[place].before, results[place].after)) for place in places]
        found = self._similarities(texts)
        if found is None:
            return results
        judged = [
            judge_by_sound(results[place], before, after, self.config.sound_margin)
            for place, (before, after) in zip(places, found, strict=True)
        ]
        return _replaced(results, places, judged)

    def _similarities(
        self, asked: Sequence[tuple[Prediction, Sequence[str]]]
    ) -> list[list[float | ScorerError]] | None:
        """Return how well each text fits its prediction's sound; None without a scorer."""
        if self.sound_scorer is None:
            return None
        # One run of the program for all; a line without a sound is not sent.
        pairs = [
            (prediction.audio, text)
            for prediction, texts in asked
            for text in texts
            if prediction.audio is not None
        ]
        found = iter(self.sound_scorer(pairs))
        lacking = ScorerError("the caption's line names no sound")
        return [
            [lacking if prediction.audio is None else next(found) for _ in texts]
            for prediction, texts in asked
        ]

    def _ask(self, captions: list[str]) -> Sequence[str | LLMError]:
        """Return an answer for each, whatever the model does; what cannot be a caption is not asked about."""
        asked = [place for place, caption in enumerate(captions) if 0 < len(caption.split()) <= MAX_WORDS]
        answers: list[str | LLMError] = [LLMError(f"a caption has 1 to {MAX_WORDS} words")] * len(captions)
        if not asked:
            return answers
        try:
            found = self.llm([captions[place] for place in asked])
        # A model that fails as a whole costs answers, not the job.
        except LLMError as error:
            found = [error] * len(asked)
        # Answers would go to the wrong captions without notice.
        if len(found) != len(asked):
            raise ValueError(f"the language model gave {len(found)} answers to {len(asked)} captions")
        for place, answer in zip(asked, found, strict=True):
            answers[place] = answer
        return answers


def _replaced(
    results: Sequence[Correction], places: Sequence[int], others: Sequence[Correction]
) -> list[Correction]:
    found = dict(zip(places, others, strict=True))
    return [found.get(place, result) for place, result in enumerate(results)]
