"""Answers to questions about sounds, from Python and by `r1-aqa answer`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.evaluators.evaluate import in_batches, load_for_answers
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import answer_batch
from r1_aqa.models.prompt import PromptStyle
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.rewards.matching import match_choice, read_answer

_THINKING = re.compile(r"<think>(.*?)(?:</think>|$)", re.S)
CACHE_BYTES = 2**28


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    """The answer itself: of the answer block, or all when there is none."""
    choice: str | None
    """The option that is meant; None without options, or when the answer names none or several."""
    thinking: str | None
    """What was thought before, with a thinking prompt."""
    completion: str
    """Everything that the model wrote."""


class Answerer:
    """A loaded model that answers questions.

    >>> answerer = Answerer.from_pretrained("mispeech/r1-aqa")  # doctest: +SKIP
    >>> answerer.answer("street.wav", "What is heard?", ["a dog", "a car"]).choice  # doctest: +SKIP
    'a car'
    """

    def __init__(self, llm: AudioLLM, sound: SoundConfig | None = None) -> None:
        self.llm, self.sound = llm, sound or SoundConfig()

    @classmethod
    def from_pretrained(cls, source: str | Path, *, dtype: str = "auto", device: str = "auto") -> Answerer:
        """A model by hub name, from its folder, or from a folder of adapters (which names its base).

        Raises:
            ValueError: not an audio LLM that is known here.
        """
        return cls(load_for_answers(str(source), dtype=dtype, device=device))

    def answer(
        self,
        clip: str | Path,
        question: str,
        choices: Sequence[str] = (),
        *,
        prompt: PromptStyle | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
    ) -> Answer:
        """One question; see `answer_all`."""
        asked = Question(id="", audio=Path(clip), question=question, choices=tuple(choices))
        settings = {"prompt": prompt, "max_new_tokens": max_new_tokens, "temperature": temperature}
        return self.answer_all([asked], **settings)[0]  # type: ignore[arg-type]

    def answer_all(
        self,
        questions: Sequence[Question],
        *,
        prompt: PromptStyle | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> list[Answer]:
        """Answers in the order of the questions; a clip is encoded once for all questions about it.

        Args:
            questions: with or without options.
            prompt: instruction; None: `answer` where there are options, else the bare question.
            max_new_tokens: longest answer.
            temperature: 0 for the likeliest answer.
            batch_size: questions at once.

        Raises:
            AudioError: a sound cannot be read.
        """
        found: dict[int, str] = {}
        for style in ("answer", "choices") if prompt is None else (prompt,):
            rows = [i for i, q in enumerate(questions) if prompt or bool(q.choices) == (style == "answer")]
            prompts = EncodedPrompts(
                self.llm,
                [questions[i] for i in rows],
                sound=self.sound,
                style=style,
                frozen=True,
                cache_bytes=CACHE_BYTES,
            )
            for batch in in_batches(prompts, range(len(rows)), batch_size):
                texts = answer_batch(prompts, batch, max_new_tokens=max_new_tokens, temperature=temperature)
                found |= {rows[i]: text for i, text in zip(batch, texts, strict=True)}
        return [parse_answer(found[i], q.choices) for i, q in enumerate(questions)]


def parse_answer(completion: str, choices: Sequence[str]) -> Answer:
    """What a completion says: its answer, the option that is meant, its thinking."""
    text = read_answer(completion, needs_block=False)
    index = match_choice(text, choices)
    thinking = _THINKING.search(completion)
    return Answer(
        text if text is not None else completion.strip(),
        None if index is None else choices[index],
        thinking[1].strip() if thinking else None,
        completion,
    )


def answer(config: AnswerConfig) -> Answer:
    """Ask and print.

    Raises:
        FileNotFoundError: there is no such clip.
    """
    if not config.clip.is_file():
        raise FileNotFoundError(f"there is no sound {config.clip}")
    answerer = Answerer(
        load_for_answers(config.model, dtype=config.dtype, device=config.device), config.sound
    )
    found = answerer.answer(
        config.clip,
        config.question,
        config.choices,
        prompt=config.prompt,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
    )
    if config.json:
        print(json.dumps(asdict(found), ensure_ascii=False))
    else:
        print(found.choice or found.text)
    return found
