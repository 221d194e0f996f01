"""Ask a question with its controls: what each option is worth to the model, in other orders, and in silence.

One answer does not tell whether a model heard anything: it may like first options, or know what sounds
streets usually have. So beside the answer stand the probability of every option

* as asked;
* over all rotations of the options, each once in each place: a liking for a place falls out
  (`r1_aqa.data.dependence.option_probabilities`);
* with silence in place of the sounds, as long as they are.

An option's probability is its share among the options: that of its whole text as an answer, behind what the
model thought before, if it thinks. Options with letters may be answered by the letter, the text, or both; the
probabilities of these are added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from r1_aqa.answering.answer import Answer, parse_answer
from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.dependence import option_probabilities, rotations
from r1_aqa.data.questions import Question, QuestionError
from r1_aqa.data.sounds import SAMPLE_RATE
from r1_aqa.models.asked import Written
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import answer_batch
from r1_aqa.models.option_scores import text_log_probs
from r1_aqa.models.prompt import format_target
from r1_aqa.models.prompt_cache import EncodedPrompts

CACHE_BYTES = 2**28
_THOUGHT = re.compile(r".*</(?:think|thinking)>\s*", re.S | re.I)
_THINKS = re.compile(r"\s*<(think|thinking)>", re.I)


@dataclass(frozen=True, kw_only=True)
class OptionScore:
    """What an option is worth to the model: its share of the probability of all options, 0 to 1."""

    text: str
    """The option, without letter."""
    letter: str | None
    """The letter that was shown before it; None without letters."""
    asked: float
    """As asked."""
    shuffled: float | None
    """Over all rotations of the options; None: not asked for."""
    silent: float | None
    """With silence in place of the sounds, options in the order asked; None: not asked for."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An answer, and what it would be without the sound and with the options in other orders."""

    answer: Answer
    """What the model writes; `choice` is an option's text without letter."""
    options: tuple[OptionScore, ...]
    """In the order asked; empty for a free answer."""
    silent_answer: Answer | None
    """What it writes about silence; None: not asked for."""
    num_orders: int
    """Orders of the options that were tried, that of the question included."""
    same_in_orders: int
    """Those in which the likeliest option is that of the order asked."""
    gain: float | None
    """How much likelier the sound makes what was written than silence does, nats; None: not asked for."""
    seconds: tuple[float, ...]
    """Length of each sound, seconds."""


def compare(
    llm: AudioLLM,
    sounds: Sequence[np.ndarray],
    question: str,
    options: Sequence[str] = (),
    *,
    letters: bool = False,
    sound: SoundConfig | None = None,
    style: PromptStyle | None = None,
    max_new_tokens: int = 256,
    controls: bool = True,
) -> Comparison:
    """Answer a question about one sound or several, and compare it with other orders and with silence.

    Args:
        llm: the model, as `load_for_answers` returns it.
        sounds: samples of each, `(samples,)` float at 16 kHz, in the order in which the question counts them.
        question: its text.
        options: without letters, each once; empty for a free answer.
        letters: show them as `(A) a dog`.
        sound: which part of a long sound is heard; None: as much as the model hears, from the beginning.
        style: instruction; None: `answer` where there are options, else the bare question.
        max_new_tokens: longest answer, in tokens.
        controls: ask in other orders and about silence, too.

    Raises:
        SoundTooLongError: a sound is longer than is heard, and `sound` has such sounds skipped.
        QuestionError: the question is longer than the model's context.
    """
    if sound is not None and sound.too_long == "windows":
        raise ValueError("sound.too_long windows: one sound is compared, not several parts; take truncate")
    asking = _Asking(
        llm,
        _rows(question, tuple(options), num_sounds=len(sounds), letters=letters, controls=controls),
        sounds,
        sound=sound or SoundConfig(max_seconds=None),
        style=style or ("answer" if options else "choices"),
    )
    asking.write(max_new_tokens)
    by_row = asking.option_log_probs(tuple(options)) if options else []
    orders = by_row[:-1] if controls else by_row
    likeliest = [int(np.argmax(row)) for row in orders]
    return Comparison(
        answer=asking.answer_of(0),
        options=_scores(options, by_row, letters=letters, controls=controls),
        silent_answer=asking.answer_of(-1) if controls else None,
        num_orders=len(likeliest),
        same_in_orders=sum(place == likeliest[0] for place in likeliest),
        gain=asking.gain() if controls else None,
        seconds=tuple(len(samples) / SAMPLE_RATE for samples in sounds),
    )


def with_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Return options as MMAU writes them.

    >>> with_letters(["a dog", "rain"])
    ('(A) a dog', '(B) rain')
    """
    return tuple(f"({letter}) {text}" for letter, text in zip(ascii_uppercase, options, strict=False))


def answer_forms(shown: str, text: str, style: PromptStyle) -> list[str]:
    """Return the answers that mean an option, from how it is shown and its text without letter.

    >>> answer_forms("(B) rain", "rain", "choices"), answer_forms("rain", "rain", "answer")
    (['(B) rain', 'rain', '(B)', 'B'], ['<answer>rain</answer>'])
    """
    letters = [] if shown == text else [shown[:3], shown[1:2]]
    return [format_target(form, style) for form in dict.fromkeys([shown, text, *letters])]


def before_answer(completion: str) -> str:
    """Return what a model wrote before its answer, thinking; thinking that was cut off is closed.

    >>> before_answer("<think>It barks.</think> <answer>a dog</answer>"), before_answer("a dog")
    ('<think>It barks.</think> ', '')
    """
    if thought := _THOUGHT.match(completion):
        return thought[0]
    opened = _THINKS.match(completion)
    return f"{completion}</{opened[1]}>" if opened else ""


@dataclass(frozen=True)
class _Row:
    """A question in one order of its options."""

    question: Question
    texts: tuple[str, ...]
    """The options without letters."""


def _rows(
    question: str, options: tuple[str, ...], *, num_sounds: int, letters: bool, controls: bool
) -> list[_Row]:
    """Return the question as asked, in all other orders, and last about silence."""
    orders = rotations(options) if options and controls else [options]
    kinds = [*(("sound", order) for order in orders), *([("silence", options)] if controls else [])]
    found: list[_Row] = []
    for kind, order in kinds:
        names = [Path(f"<{kind} {number}>") for number in range(num_sounds)]
        asked = Question(
            id=str(len(found)),
            audio=names[0],
            further_audio=tuple(names[1:]),
            question=question,
            choices=with_letters(order) if letters else order,
        )
        found.append(_Row(asked, order))
    return found


def _scores(
    options: Sequence[str], by_row: Sequence[Sequence[float]], *, letters: bool, controls: bool
) -> tuple[OptionScore, ...]:
    """Return the probabilities of the options from their log-probabilities in each row."""
    if not options:
        return ()
    asked = option_probabilities(by_row[:1])
    shuffled, silent = option_probabilities(by_row[:-1] or by_row), option_probabilities(by_row[-1:])
    return tuple(
        OptionScore(
            text=text,
            letter=ascii_uppercase[place] if letters else None,
            asked=float(asked[place]),
            shuffled=float(shuffled[place]) if controls else None,
            silent=float(silent[place]) if controls else None,
        )
        for place, text in enumerate(options)
    )


class _Asking:
    """Rows that are put to a model.

    Attributes:
        written: what the model wrote about some rows.
    """

    def __init__(
        self,
        llm: AudioLLM,
        rows: Sequence[_Row],
        samples: Sequence[np.ndarray],
        *,
        sound: SoundConfig,
        style: PromptStyle,
    ) -> None:
        self.llm, self.rows, self.style = llm, rows, style
        given = {Path(f"<sound {number}>"): one for number, one in enumerate(samples)}
        given |= {Path(f"<silence {number}>"): np.zeros_like(one) for number, one in enumerate(samples)}
        # One by one: beside longer prompts the last digits of an answer would be others.
        self.prompts = EncodedPrompts(
            llm,
            [row.question for row in rows],
            sound=sound,
            style=style,
            frozen=True,
            cache_bytes=CACHE_BYTES,
            one_by_one=True,
            given=given,
        )
        if why := next(iter(self.prompts.sounds.unaskable.values()), None):
            raise QuestionError(why)
        self.written: dict[int, Written] = {}

    def write(self, max_new_tokens: int) -> None:
        """Have the model answer: as asked and to silence; where it thinks before, in all orders."""
        thinks = self.style in ("think", "think_short")
        rows = range(len(self.rows)) if thinks else sorted({0, len(self.rows) - 1})
        for row in rows:
            (self.written[row],) = answer_batch(self.prompts, [row], max_new_tokens=max_new_tokens)

    def answer_of(self, row: int) -> Answer:
        """Return what was written of a row, its option without letter."""
        row %= len(self.rows)
        written, asked = self.written[row], self.rows[row].question
        found = parse_answer(written.text or "", asked.choices)
        place = None if found.choice is None else asked.choices.index(found.choice)
        return replace(
            found,
            choice=None if place is None else self.rows[row].texts[place],
            truncated=written.truncated,
            cut=self.prompts.sounds.is_cut(row),
        )

    def option_log_probs(self, options: Sequence[str]) -> list[list[float]]:
        """Return the log-probability of each option in each row, nats: `(rows, options)`."""
        found: list[list[float]] = []
        for number, row in enumerate(self.rows):
            own = self._log_probs_of(number)
            found.append([own[row.texts.index(option)] for option in options])
        return found

    def _log_probs_of(self, row: int) -> list[float]:
        shown, texts = self.rows[row].question.choices, self.rows[row].texts
        forms = [answer_forms(one, text, self.style) for one, text in zip(shown, texts, strict=True)]
        tokens = [self._tokens(form) for each in forms for form in each]
        thought = before_answer(self.written[row].text or "") if row in self.written else ""
        written = {row: self._tokens(thought)[:-1]} if thought else None
        scores = text_log_probs(self.prompts, [row] * len(tokens), tokens, written)
        parts = scores.float().cpu().split([len(each) for each in forms])
        return [float(part.logsumexp(0)) for part in parts]

    def gain(self) -> float:
        """Return how much likelier the sounds make what was written than silence does, nats."""
        # Without its end: what was cut off has none.
        tokens = self._tokens(self.written[0].text or "")[:-1]
        if not tokens:
            return 0.0
        heard = text_log_probs(self.prompts, [0], [tokens])
        silent = text_log_probs(self.prompts, [len(self.rows) - 1], [tokens])
        return float(heard - silent)

    def _tokens(self, text: str) -> list[int]:
        """Return the tokens of a whole answer, its end included."""
        ids = self.llm.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*ids, self.llm.tokenizer.eos_token_id]
