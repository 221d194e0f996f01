"""Answer questions about audio files, from Python and by `r1-aqa answer`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import overload

from audio_common import AudioError

from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.model import PromptStyle
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.files import is_stream, write_json
from r1_aqa.models.audio_llm import AudioLLM, load_for_answers
from r1_aqa.models.generation import generate_answers
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.rewards.matching import match_choice, read_answer

CACHE_BYTES = 2**28
_THINKING = re.compile(r"<think>(.*?)(?:</think>|$)", re.S)


@dataclass(frozen=True)
class Answer:
    """A model's answer to a question."""

    text: str
    """The answer itself: the content of the answer block, or everything when there is none."""
    choice: str | None
    """The option that is meant; None without options, or when the answer names none or several."""
    thinking: str | None
    """The thinking before it, with a thinking prompt; None without."""
    completion: str
    """Everything that the model wrote."""


def parse_answer(completion: str, choices: Sequence[str]) -> Answer:
    """Return the answer of a completion, the option that is meant, and its thinking."""
    text = read_answer(completion, needs_block=False)
    index = match_choice(text, choices)
    thinking = _THINKING.search(completion)
    return Answer(
        text if text is not None else completion.strip(),
        None if index is None else choices[index],
        thinking[1].strip() if thinking else None,
        completion,
    )


class Answerer:
    """A loaded audio LLM that answers questions.

    >>> answerer = Answerer.from_pretrained("mispeech/r1-aqa")  # doctest: +SKIP
    >>> answerer.answer("street.wav", "What is heard?", ["a dog", "a car"]).choice  # doctest: +SKIP
    'a car'
    >>> [answer.text for answer in answerer.answer(["a.wav", "b.wav"], "What is heard?")]  # doctest: +SKIP
    ['rain', 'a dog barks twice']
    """

    def __init__(self, llm: AudioLLM, sound: SoundConfig | None = None) -> None:
        self.llm, self.sound = llm, sound or SoundConfig()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        sound: SoundConfig | None = None,
    ) -> Answerer:
        """Load a model by hub id, or from a folder of a model, of adapters or of a run.

        Args:
            source: e.g. `mispeech/r1-aqa`; adapters name their base, of a run the best model is taken.
            dtype: float32, bfloat16, float16; `auto`: bfloat16 on a GPU, float32 without.
            device: cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one.
            sound: how audio is read; None: cut to its first 30 s.

        Raises:
            ValueError: not an audio LLM that is known here.
        """
        return cls(load_for_answers(source, dtype=dtype, device=device), sound)

    @overload  # a text is a sequence of texts, too; the first signature takes it
    def answer(  # type: ignore[overload-overlap]
        self,
        audio: str | Path,
        question: str,
        choices: Sequence[str] = (),
        *,
        prompt: PromptStyle | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        audio: Sequence[str | Path],
        question: str,
        choices: Sequence[str] = (),
        *,
        prompt: PromptStyle | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> list[Answer]: ...
    def answer(
        self,
        audio: str | Path | Sequence[str | Path],
        question: str,
        choices: Sequence[str] = (),
        *,
        prompt: PromptStyle | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> Answer | list[Answer]:
        """Answer a question about one audio file, or about each of several.

        Args:
            audio: a path, or several.
            question: its text, without options.
            choices: options to choose from; empty for a free answer.
            prompt: instruction; None: `answer` where there are options, else the bare question.
            max_new_tokens: longest answer, in tokens.
            temperature: sampling temperature, 0 for the likeliest answer.
            batch_size: files at once.

        Returns:
            An answer, or for several paths a list of them in their order.

        Raises:
            AudioError: a file cannot be read.
            ValueError: a question without text, or a single option.
        """
        paths = [audio] if isinstance(audio, str | Path) else list(audio)
        questions = [
            Question(id=str(row), audio=Path(path), question=question, choices=tuple(choices))
            for row, path in enumerate(paths)
        ]
        answers = self.answer_all(
            questions,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            batch_size=batch_size,
        )
        return answers[0] if isinstance(audio, str | Path) else answers

    def answer_all(
        self,
        questions: Sequence[Question],
        *,
        prompt: PromptStyle | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> list[Answer]:
        """Return the answers in the order of the questions; a clip is encoded once for all about it.

        Args:
            questions: with or without options, e.g. those of `read_questions`.
            prompt: as `answer` has it.
            max_new_tokens: longest answer, in tokens.
            temperature: sampling temperature, 0 for the likeliest answer.
            batch_size: questions at once.

        Raises:
            AudioError: a file cannot be read.
        """
        completions: dict[int, str] = {}
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
            for batch in generate_answers(
                prompts,
                range(len(rows)),
                batch_size=batch_size,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
            ):
                for completion in batch:
                    if completion.text is None:
                        raise AudioError(completion.error or "the audio cannot be read")
                    completions[rows[completion.row]] = completion.text
        return [parse_answer(completions[i], q.choices) for i, q in enumerate(questions)]


def answer(config: AnswerConfig) -> Answer:
    """Answer the question of a command and print the answer.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: it cannot be read.
    """
    if not config.audio.is_file():
        raise FileNotFoundError(f"there is no file {config.audio}")
    answerer = Answerer.from_pretrained(
        config.model, dtype=config.dtype, device=config.device, sound=config.sound
    )
    found = answerer.answer(
        config.audio,
        config.question,
        config.choices,
        prompt=config.prompt,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
    )
    if config.json is not None:
        write_json(config.json, asdict(found))
    if not is_stream(config.json):
        print(found.choice or found.text)
    return found
