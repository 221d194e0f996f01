"""Put what a page or a request asks to the model, and give it as a request gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
import torch

from r1_aqa.answering.answer import Answer
from r1_aqa.answering.comparison import Comparison, compare
from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.options import take_letters_off
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.serving.uploads import Sound

MOST_SOUNDS = 4
MOST_OPTIONS = 16
"""They are asked about in as many orders."""
MOST_CHARACTERS = 2000
"""Of a question; an option may have a quarter."""


class RequestError(ValueError):
    """A question cannot be asked; the message says what to change."""


@dataclass(frozen=True)
class Asker:
    """A model that is asked."""

    llm: AudioLLM
    sound: SoundConfig
    """Which part of a long sound is heard."""
    prompt: PromptStyle | None
    """Instruction of questions that name none."""
    max_new_tokens: int
    """Longest answer that may be asked for, in tokens."""

    @torch.inference_mode()
    def ask(
        self,
        sounds: Sequence[Sound],
        question: str,
        options: Sequence[str] = (),
        *,
        letters: bool = False,
        prompt: PromptStyle | None = None,
        max_new_tokens: int | None = None,
        controls: bool = True,
    ) -> Comparison:
        """Return the answer to a question beside its controls; arguments as `compare` has them.

        Args:
            sounds: what was sent.
            question: its text.
            options: with or without letters; those with letters are shown with letters.
            letters: show letters before options that have none.
            prompt: instruction.
            max_new_tokens: longest answer; None: the most that is allowed.
            controls: ask in other orders and about silence, too.

        Raises:
            RequestError: what is wrong with the question.
            SoundTooLongError: a sound is longer than is heard, and `sound` has such sounds skipped.
            QuestionError: the question is longer than the model's context.
        """
        check_sounds(len(sounds))
        texts, had_letters = read_options(options)
        found = compare(
            self.llm,
            [np.asarray(sound.waveform, dtype=np.float32) for sound in sounds],
            check_text(question, "the question", MOST_CHARACTERS),
            texts,
            letters=letters or had_letters,
            sound=self.sound,
            style=check_prompt(prompt) or self.prompt,
            max_new_tokens=check_tokens(max_new_tokens, self.max_new_tokens),
            controls=controls,
        )
        complaints = tuple(f"{sound.name}: {text}" for sound in sounds for text in sound.complaints)
        return replace(found, answer=replace(found.answer, complaints=complaints))

    @property
    def hears(self) -> float:
        """Return how much of a sound is heard, seconds."""
        return self.sound.within(self.llm.max_seconds).limit


def split_options(text: str) -> tuple[str, ...]:
    """Return the options that somebody wrote, one a line; a single line may divide them by `;` or `,`.

    >>> split_options("a dog\\nrain, heavy"), split_options("a dog, rain"), split_options("")
    (('a dog', 'rain, heavy'), ('a dog', 'rain'), ())
    """
    lines = _stripped(text.splitlines())
    if len(lines) == 1:
        mark = ";" if ";" in lines[0] else ","
        return _stripped(lines[0].split(mark))
    return lines


def read_options(options: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return options without letters, in the order of these, and whether they had letters.

    Raises:
        RequestError: there are too few or too many, one is too long, or two are the same.
    """
    letters, texts = take_letters_off(_stripped(options))
    if letters:
        ordered = sorted(zip(letters, texts, strict=True), key=lambda pair: (len(pair[0]), pair[0]))
        texts = tuple(text.strip() for _, text in ordered)
    if len(texts) == 1:
        raise RequestError(f"there is one option, {texts[0]!r}: give at least two, or none for a free answer")
    if len(texts) > MOST_OPTIONS:
        raise RequestError(
            f"there are {len(texts)} options, at most {MOST_OPTIONS} are taken; leave some out"
        )
    for number, text in enumerate(texts):
        check_text(text, f"option {number + 1}", MOST_CHARACTERS // 4)
        if text in texts[:number]:
            raise RequestError(f"options {texts.index(text) + 1} and {number + 1} are the same: {text!r}")
    return texts, bool(letters)


def check_sounds(count: int) -> None:
    """Raise RequestError unless so many sounds can be asked about."""
    if not 1 <= count <= MOST_SOUNDS:
        what = "there is no sound: drop a file or record one" if not count else f"there are {count} sounds"
        raise RequestError(f"{what}; 1 to {MOST_SOUNDS} are taken")


def check_text(text: str, what: str, most: int) -> str:
    """Return a text without space around; raise RequestError if it is empty or longer than `most`."""
    text = text.strip()
    if not text:
        raise RequestError(f"{what} is empty")
    if len(text) > most:
        raise RequestError(f"{what} has {len(text)} characters, at most {most} are taken")
    return text


def check_prompt(prompt: str | None) -> PromptStyle | None:
    """Return the instruction of that name; raise RequestError for another one."""
    known = get_args(PromptStyle)
    if prompt is not None and prompt not in known:
        raise RequestError(f"prompt must be one of {', '.join(known)}, got {prompt!r:.60}")
    return prompt  # type: ignore[return-value]


def check_tokens(wanted: int | None, most: int) -> int:
    """Return the longest answer in tokens; raise RequestError if it is not from 1 to `most`."""
    if wanted is None:
        return most
    if not 1 <= wanted <= most:
        raise RequestError(f"max_new_tokens must be from 1 to {most} here, got {wanted}")
    return wanted


def as_json(found: Comparison, names: Sequence[str]) -> dict[str, Any]:
    """Return what a request is answered: numbers are probabilities from 0 to 1, and seconds."""
    return {
        **_answer_json(found.answer),
        "options": [asdict(option) for option in found.options],
        "orders": {"tried": found.num_orders, "same": found.same_in_orders} if found.options else None,
        "silence": None if found.silent_answer is None else _answer_json(found.silent_answer),
        "gain_nats": found.gain,
        "sounds": [
            {"name": name, "seconds": round(seconds, 3)}
            for name, seconds in zip(names, found.seconds, strict=True)
        ],
    }


def _answer_json(answer: Answer) -> dict[str, Any]:
    fields = ("text", "choice", "thinking", "completion", "cut", "truncated")
    return {name: getattr(answer, name) for name in fields} | {"complaints": list(answer.complaints)}


def _stripped(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for line in texts if (text := line.strip()))
