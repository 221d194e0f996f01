"""Check that a model's answers depend on the audio at all.

A processor that ignores `audios=`, a trainer that drops features, a clip that was cut to nothing: each trains
or scores a model on the text alone, without an error, and with a score well above chance (always the first
option is right in 39.5 % of MMAU test-mini). So before the first update and in every evaluation the
log-probability of the right answers is computed with the right audio, with another question's, and with
silence, and must change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import audio_common
import numpy as np
import torch
from audio_common import AudioError
from torch import Tensor

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import SAMPLE_RATE, load_sound
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.log_probs import Prompts, completion_log_probs, completion_logits
from r1_aqa.models.prompt import format_target
from r1_aqa.models.template import PromptTemplate

MOST_QUESTIONS = 8
"""Questions that are tried."""

LEAST_CHANGE = 1e-4
"""Nats, for a whole answer: rounding changes it by less, a random encoder by far more."""


class DeafModelError(ValueError):
    """Answers do not depend on the audio."""


@dataclass(frozen=True)
class HeardReport:
    """Mean change of the log-probability of a right answer, in nats."""

    exchanged: float
    """Change with another question's audio."""
    silenced: float
    """Change with silence."""
    num_questions: int
    """Questions that were tried."""

    @property
    def hears(self) -> bool:
        """Return whether both changes are more than rounding."""
        return min(self.exchanged, self.silenced) > LEAST_CHANGE

    def __str__(self) -> str:
        return (
            f"log-probability of the right answer changes by {self.exchanged:.3g} nats with other audio "
            f"and by {self.silenced:.3g} with silence ({self.num_questions} questions)"
        )


@torch.no_grad()
def check_heard(
    llm: AudioLLM,
    questions: Iterable[Question],
    sound: SoundConfig,
    *,
    prompt: PromptStyle = "answer",
    template: PromptTemplate | None = None,
    decoder: Any = audio_common,
) -> HeardReport:
    """Try the first few questions with their own audio, another one, and silence.

    Raises:
        ValueError: no question with an answer or an option has audio that can be read.
    """
    if sound.too_long == "windows":  # the first window is enough to know
        sound = replace(sound, too_long="truncate")
    laid_out = (
        (q, samples, llm.format_question(q, prompt, template))
        for q, samples in with_sounds(questions, sound.within(llm.max_seconds), decoder)
        if q.answer or q.choices
    )
    able = ((q, samples, text) for q, samples, text in laid_out if llm.why_too_long(text) is None)
    tried = list(islice(able, MOST_QUESTIONS))
    if not tried:
        raise ValueError(
            "the check that audio is heard needs a question with an answer or options whose audio can be read"
        )
    chosen, sounds, texts = map(list, zip(*tried, strict=True))
    targets = [format_target(q.answer or q.choices[0], prompt) for q in chosen]
    # Dropout would change the answers, too.
    training = llm.model.training
    llm.model.eval()
    own = _answer_log_probs(llm, texts, sounds, targets)
    exchanged = _answer_log_probs(llm, texts, _exchanged(sounds), targets)
    silence = [[np.zeros_like(one) for one in each] for each in sounds]
    silenced = _answer_log_probs(llm, texts, silence, targets)
    llm.model.train(training)
    return HeardReport(
        float((exchanged - own).abs().mean()), float((silenced - own).abs().mean()), len(chosen)
    )


def require_heard(
    llm: AudioLLM,
    questions: Iterable[Question],
    sound: SoundConfig,
    *,
    prompt: PromptStyle = "answer",
    template: PromptTemplate | None = None,
    decoder: Any = audio_common,
) -> HeardReport:
    """Return the report of `check_heard`, or refuse a model that does not hear.

    Raises:
        DeafModelError: the model does not hear.
    """
    report = check_heard(llm, questions, sound, prompt=prompt, template=template, decoder=decoder)
    if not report.hears:
        raise DeafModelError(
            f"the model does not hear: {report}, where more than {LEAST_CHANGE:g} was expected. Its answers "
            "would be learned or scored from the text alone. Check that the audio is not silent, that the "
            "folder holds an audio LLM with its encoder's weights (no message about newly initialized ones), "
            "and that its processor belongs to it; --no_check_heard goes on regardless."
        )
    return report


def with_sounds(
    questions: Iterable[Question], sound: SoundConfig, decoder: Any = audio_common
) -> Iterator[tuple[Question, list[np.ndarray]]]:
    """Yield questions with the samples of their sounds; those that cannot be asked are skipped."""
    for question in questions:
        if question.fault:
            continue
        try:
            yield question, [load_sound(audio, sound, decoder=decoder) for audio in question.audios]
        except (AudioError, OSError):
            continue


def _exchanged(sounds: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
    """Return the sounds of questions with another one in the place of each."""
    others = iter(other_sounds([one for each in sounds for one in each]))
    return [list(islice(others, len(each))) for each in sounds]


def other_sounds(sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return another audio for each, fitted to its length: the prompt keeps its number of audio tokens.

    It is the next one that differs; where all are the same, a rising tone of the same level (backwards, a
    tone would be the same tone, and noise the same noise).
    """
    found = []
    for index, own in enumerate(sounds):
        rest = [*sounds[index + 1 :], *sounds[:index]]
        others = (sound for sound in rest if not np.array_equal(np.resize(sound, own.shape), own))
        other = next(others, _sweep_like(own))
        # Repeated or cut to the own length: another number of audio tokens would change the answer, too.
        found.append(np.resize(other, own.shape).astype(np.float32))
    return found


def _sweep_like(own: np.ndarray) -> np.ndarray:
    level = float(np.sqrt(np.mean(own**2))) if own.size else 0.0
    frequencies = np.geomspace(100, 6_000, own.size)
    return (level or 0.1) * np.sqrt(2) * np.sin(2 * np.pi * np.cumsum(frequencies) / SAMPLE_RATE)


def _answer_log_probs(
    llm: AudioLLM, texts: Sequence[str], sounds: Sequence[Sequence[np.ndarray]], targets: Sequence[str]
) -> Tensor:
    """Return the log-probability of each target, `(questions,)`."""
    device, totals = llm.device, []
    # One by one: in a batch padding alone would change the numbers.
    for text, samples, target in zip(texts, sounds, targets, strict=True):
        inputs = {name: value.to(device) for name, value in llm.encode([text], [samples]).items()}
        ids = llm.tokenizer(target, add_special_tokens=False, return_tensors="pt")["input_ids"].to(device)
        rows = torch.zeros(1, dtype=torch.long, device=device)
        logits = completion_logits(llm, Prompts(inputs=inputs), rows, ids, torch.ones_like(ids))
        totals.append(completion_log_probs(logits, ids).sum())
    return torch.stack(totals).cpu()
