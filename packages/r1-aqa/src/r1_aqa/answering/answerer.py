"""Answer questions about sounds, from Python; `r1_aqa.answering.command` is `r1-aqa answer`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, overload

import audio_common
import numpy as np
import torch
from audio_common import AudioError, DecodeLimits, DecodePool, as_waveform, one_or_many

from r1_aqa.answering.answer import Answer, check_numbers, check_texts, parse_answer
from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import SAMPLE_RATE, describe_cuts
from r1_aqa.models.audio_llm import AudioLLM, load_for_answers
from r1_aqa.models.generation import generate_answers
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.template import PromptTemplate
from r1_aqa.models.windows import Completion
from r1_aqa.rewards.matching import choose_window

logger = logging.getLogger(__name__)

Sound = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | torch.Tensor
"""What is taken for one sound."""
CACHE_BYTES = 2**28


class Answerer:
    """A loaded audio LLM that answers questions.

    >>> answerer = Answerer.from_pretrained("mispeech/r1-aqa")  # doctest: +SKIP
    >>> answerer.answer("street.wav", "What is heard?", ["a dog", "a car"]).choice  # doctest: +SKIP
    'a car'
    >>> [answer.text for answer in answerer.answer(["a.wav", "b.wav"], "What is heard?")]  # doctest: +SKIP
    ['rain', 'a dog barks twice']
    """

    def __init__(
        self, llm: AudioLLM, sound: SoundConfig | None = None, decode_limits: DecodeLimits | None = None
    ) -> None:
        self.llm, self.decode_limits = llm, decode_limits
        self.sound = sound or SoundConfig(max_seconds=None)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        family: str | None = None,
        sound: SoundConfig | None = None,
        decode_limits: DecodeLimits | None = None,
    ) -> Answerer:
        """Load a model by hub id, or from a folder of a model, of adapters or of a run.

        Args:
            source: e.g. `mispeech/r1-aqa`; adapters name their base, of a run the best model is taken.
            dtype: float32, bfloat16, float16; `auto`: bfloat16 on a GPU, float32 without.
            device: cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one.
            family: `FILE.py:NAME`, a `Family` of one's own; None: a kind of model that is known here.
            sound: how audio is read; None: as long as the model hears, 30 s or more.
            decode_limits: time and memory that decoding a file may take, in processes of its own; None: it is
                decoded in this process, without limits.

        Raises:
            ValueError: not an audio LLM that is known here.
        """
        return cls(load_for_answers(source, dtype=dtype, device=device, family=family), sound, decode_limits)

    @overload
    def answer(
        self,
        audio: Sound,
        question: str,
        choices: Iterable[str] | None = (),
        *,
        further_audio: Sequence[Sound] = (),
        sample_rate: int = SAMPLE_RATE,
        prompt: PromptStyle | None = None,
        template: PromptTemplate | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        audio: list[Sound] | tuple[Sound, ...],
        question: str,
        choices: Iterable[str] | None = (),
        *,
        further_audio: Sequence[Sound] = (),
        sample_rate: int = SAMPLE_RATE,
        prompt: PromptStyle | None = None,
        template: PromptTemplate | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> list[Answer]: ...
    def answer(
        self,
        audio: Sound | list[Sound] | tuple[Sound, ...],
        question: str,
        choices: Iterable[str] | None = (),
        *,
        further_audio: Sequence[Sound] = (),
        sample_rate: int = SAMPLE_RATE,
        prompt: PromptStyle | None = None,
        template: PromptTemplate | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> Answer | list[Answer]:
        """Answer a question about one sound, or about each of several.

        Args:
            audio: a path, bytes or a binary file object of a sound file, or samples as an array or tensor
                `(samples,)` or `(channels, samples)`; or a list of these.
            question: its text, without options.
            choices: options to choose from; empty for a free answer.
            further_audio: sounds that the question is about, too: `Which of the two is louder?`; with several
                in `audio`, beside each of them.
            sample_rate: Hz, of arrays and tensors.
            prompt: instruction; None: `answer` where there are options, else the bare question.
            template: layout of one's own, in place of `prompt`: `PromptTemplate.read(path)`.
            max_new_tokens: longest answer, in tokens.
            temperature: sampling temperature, 0 for the likeliest answer.
            batch_size: sounds at once.

        Returns:
            An answer, or for a list a list of them in its order; empty for an empty list. In a list a sound
            that cannot be read, or is skipped as too long, has an answer with an `error` and without text.

        Raises:
            AudioError: the one sound cannot be read, or is no sound.
            ValueError: a question without text, or a single option.
        """
        choices = check_texts(question, choices)
        sounds, are_many = one_or_many(audio)
        if isinstance(further_audio, str | bytes | os.PathLike):
            raise TypeError(f"further_audio: expected several sounds, got one {type(further_audio).__name__}")
        labels = [f"audio[{number}]" for number in range(len(sounds))] if len(sounds) > 1 else [""]
        labels += [f"further_audio[{number}]" for number in range(len(further_audio))]
        names, given, unreadable = self._name_sounds([*sounds, *further_audio], labels, sample_rate)
        questions = [
            Question(
                id=str(row),
                audio=name,
                question=question,
                choices=choices,
                further_audio=tuple(names[len(sounds) :]),
            )
            for row, name in enumerate(names[: len(sounds)])
        ]
        answers = self._answer_all(
            questions,
            given,
            unreadable,
            prompt=prompt,
            template=template,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=batch_size,
        )
        if are_many:
            say_errors(answers)
            return answers
        if answers[0].error is not None:
            raise AudioError(answers[0].error)
        return answers[0]

    def answer_all(
        self,
        questions: Sequence[Question],
        *,
        prompt: PromptStyle | None = None,
        template: PromptTemplate | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> list[Answer]:
        """Return the answers in the order of the questions; a clip is encoded once for all about it.

        A question whose sound cannot be read, or is skipped as too long, has an answer with an `error` and
        without text.

        Args:
            questions: with or without options, e.g. those of `read_questions`.
            prompt: as `answer` has it.
            template: as `answer` has it.
            max_new_tokens: longest answer, in tokens.
            temperature: sampling temperature, 0 for the likeliest answer.
            batch_size: questions at once.

        Raises:
            TypeError, ValueError: something is no `Question`, or has a fault.
        """
        for row, question in enumerate(questions):
            if not isinstance(question, Question):
                raise TypeError(f"questions[{row}]: expected a Question, got {type(question).__name__}")
            if question.fault:
                raise ValueError(f"questions[{row}] cannot be asked: {question.fault}")
        answers = self._answer_all(
            questions,
            {},
            {},
            prompt=prompt,
            template=template,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=batch_size,
        )
        say_errors(answers)
        return answers

    def _name_sounds(
        self, sounds: Sequence[Sound], labels: Sequence[str], sample_rate: int
    ) -> tuple[list[Path], dict[Path, np.ndarray], dict[Path, str]]:
        """Return a path for each sound, the samples of those that are not files, and why others have none."""
        names, given, unreadable = [], dict[Path, np.ndarray](), dict[Path, str]()
        for number, sound in enumerate(sounds):
            if isinstance(sound, str | os.PathLike):
                names.append(Path(sound))
                continue
            names.append(Path(f"<sound {number}>"))
            try:
                waveform = as_waveform(sound, array_rate=sample_rate, channel=self.sound.channel)
                given[names[-1]] = np.asarray(waveform, dtype=np.float32)
            except AudioError as error:
                # Of several sounds the message must say which.
                unreadable[names[-1]] = f"{labels[number]}: {error}" if labels[number] else str(error)
        return names, given, unreadable

    @torch.inference_mode()
    def _answer_all(
        self,
        questions: Sequence[Question],
        given: dict[Path, np.ndarray],
        unreadable: dict[Path, str],
        *,
        prompt: PromptStyle | None,
        template: PromptTemplate | None,
        max_new_tokens: int,
        temperature: float,
        batch_size: int,
    ) -> list[Answer]:
        check_numbers(max_new_tokens=max_new_tokens, temperature=temperature, batch_size=batch_size)
        completions: dict[int, Completion] = {}
        limits = self.decode_limits
        with DecodePool(limits, num_workers=2) if limits else nullcontext(audio_common) as decoder:
            # A template lays out questions with options and without.
            styled = prompt or ("answer" if template else None)
            for style in ("answer", "choices") if styled is None else (styled,):
                rows = [
                    i for i, q in enumerate(questions) if styled or bool(q.choices) == (style == "answer")
                ]
                prompts = EncodedPrompts(
                    self.llm,
                    [questions[i] for i in rows],
                    sound=self.sound,
                    style=style,
                    template=template,
                    frozen=True,
                    cache_bytes=CACHE_BYTES,
                    given=given,
                    decoder=decoder,
                )
                prompts.sounds.unreadable |= unreadable
                # What cannot be read is in the answers, and need not be said before.
                prompts.sounds.on_unreadable = lambda question, why: None
                for batch in generate_answers(
                    prompts,
                    range(len(rows)),
                    batch_size=batch_size,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    choose=choose_window,
                ):
                    completions |= {rows[completion.row]: completion for completion in batch}
                self._say_cuts(prompts)
        truncated = sum(completion.truncated for completion in completions.values())
        if truncated:
            logger.warning(
                "%d of %d answers were ended after %d tokens (max_new_tokens) and may lack their end",
                truncated,
                len(questions),
                max_new_tokens,
            )
        return [_answer_of(completions[i], q.choices) for i, q in enumerate(questions)]

    def _say_cuts(self, prompts: EncodedPrompts) -> None:
        advice = "sound.too_long windows asks about all of them"
        _, line = describe_cuts(prompts.sounds, range(len(prompts.questions)), advice)
        if line:
            logger.warning("%s", line)
        if len(prompts.questions) > len(prompts.asked):
            logger.info(
                "asked about %d windows of %g s of %d sounds",
                len(prompts.questions),
                prompts.windows.seconds,
                len(prompts.asked),
            )


def _answer_of(completion: Completion, choices: Sequence[str]) -> Answer:
    found = parse_answer(completion.text or "", choices)
    return replace(
        found,
        cut=completion.cut,
        truncated=completion.truncated,
        windows=completion.windows,
        complaints=completion.complaints,
        error=completion.error,
    )


def say_errors(answers: Sequence[Answer]) -> None:
    """Say how many of several sounds have no answer, and why the first of them."""
    errors = [answer.error for answer in answers if answer.error is not None]
    if errors:
        logger.warning("%d of %d sounds have no answer, the first: %s", len(errors), len(answers), errors[0])
