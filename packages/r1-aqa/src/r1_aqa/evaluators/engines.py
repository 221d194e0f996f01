"""What answers the questions of an evaluation: transformers, vLLM, or a service behind an endpoint.

Each says how questions are put to it (`asked`), answers their rows (`answer`), and tells whether it hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import audio_common
from torch import Tensor

from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.asked import AskedQuestions, Written
from r1_aqa.models.audio_llm import AudioLLM, load_for_answers
from r1_aqa.models.chat import format_question, longest_seconds
from r1_aqa.models.endpoint import Endpoint
from r1_aqa.models.generation import answer_batch
from r1_aqa.models.heard import require_heard
from r1_aqa.models.prompt_cache import EncodedPrompts, LRUCache
from r1_aqa.models.remote import RemoteModel, describe_prompt
from r1_aqa.models.run_folder import say_sound_changes
from r1_aqa.models.template import PromptTemplate
from r1_aqa.models.vllm import VLLMModel


class Engine(Protocol):
    """A model that answers questions about sounds."""

    @property
    def given_up(self) -> str | None:
        """Return why the model will not answer any more; None while it does."""

    def asked(self, questions: Sequence[Question], *, silent: bool) -> AskedQuestions:
        """Return the questions of a run as they are put to the model."""

    def answer(self, asked: AskedQuestions, rows: Sequence[int]) -> list[Written]:
        """Return what the model writes about rows whose sounds can be read."""

    def check_heard(self, questions: Sequence[Question]) -> str | None:
        """Return how answers depend on the sounds; None where it cannot be told.

        Raises:
            DeafModelError: they do not.
        """


def make_engine(
    config: EvaluateConfig, template: PromptTemplate | None, questions: Sequence[Question], decoder: Any
) -> Engine:
    """Return what `config` names: a model loaded, or a service's client."""
    if config.endpoint is not None:
        return RemoteEngine(config, template, decoder)
    if config.engine == "vllm":
        return VLLMEngine(config, template, questions, decoder)
    assert config.model is not None  # the configuration has one or the other
    llm = load_for_answers(config.model, dtype=config.dtype, device=config.device, family=config.family)
    say_sound_changes(config.model, asdict(config.sound), llm.max_seconds)
    return TransformersEngine(llm, config, template, decoder)


class TransformersEngine:
    """A model of transformers; a clip's encoding is kept while questions about it are left, in any run."""

    given_up = None

    def __init__(
        self,
        llm: AudioLLM,
        config: EvaluateConfig,
        template: PromptTemplate | None = None,
        decoder: Any = audio_common,
    ) -> None:
        self.llm, self.config, self.template, self.decoder = llm, config, template, decoder
        # Options in another order are other prompts about the same clips: the encoder runs once.
        self._clips: LRUCache[Tensor] | None = None

    def asked(self, questions: Sequence[Question], *, silent: bool) -> EncodedPrompts:
        """Return the questions of a run; nothing is trained, so all encodings may be kept."""
        prompts = EncodedPrompts(
            self.llm,
            questions,
            sound=self.config.sound,
            style=self.config.prompt,
            template=self.template,
            frozen=True,
            cache_bytes=int(self.config.cache_gigabytes * 2**30),
            silent=silent,
            clips=self._clips,
            decoder=self.decoder,
        )
        self._clips = prompts.clips
        return prompts

    def answer(self, asked: AskedQuestions, rows: Sequence[int]) -> list[Written]:
        """Return the model's greedy answers."""
        assert isinstance(asked, EncodedPrompts)
        written = answer_batch(asked, rows, max_new_tokens=self.config.max_new_tokens)
        # Each row is asked once: kept, ten thousand of them would fill the cache for nothing.
        asked.forget(rows, keep_clips=self.config.shuffles > 0)
        return written

    def check_heard(self, questions: Sequence[Question]) -> str | None:
        """Return how the log-probability of right answers depends on the sounds."""
        config = self.config
        report = require_heard(
            self.llm,
            questions,
            config.sound,
            prompt=config.prompt,
            template=self.template,
            decoder=self.decoder,
        )
        return str(report)


class VLLMEngine:
    """A model that vLLM runs."""

    given_up = None

    def __init__(
        self,
        config: EvaluateConfig,
        template: PromptTemplate | None,
        questions: Sequence[Question],
        decoder: Any,
    ) -> None:
        assert config.model is not None
        self.config, self.template, self.decoder = config, template, decoder
        self.model = VLLMModel(
            config.model,
            dtype=config.dtype,
            max_new_tokens=config.max_new_tokens,
            max_audios=max((len(question.audios) for question in questions), default=1),
            seed=config.seed,
        )
        self._hears = longest_seconds(self.model.processor, self.model.family)
        say_sound_changes(config.model, asdict(config.sound), self._hears)

    def asked(self, questions: Sequence[Question], *, silent: bool) -> AskedQuestions:
        """Return the questions of a run in the chats that transformers would be given."""
        write = partial(
            format_question,
            self.model.processor,
            self.model.family,
            style=self.config.prompt,
            template=self.template,
        )
        return AskedQuestions(
            questions,
            sound=self.config.sound.within(self._hears),
            write=write,
            silent=silent,
            decoder=self.decoder,
        )

    def answer(self, asked: AskedQuestions, rows: Sequence[int]) -> list[Written]:
        """Return the model's greedy answers."""
        return self.model.answer(asked, rows)

    def check_heard(self, questions: Sequence[Question]) -> str | None:
        """Return None: log-probabilities of given answers are not asked for."""
        return None


class RemoteEngine:
    """A service behind an OpenAI-compatible endpoint."""

    def __init__(self, config: EvaluateConfig, template: PromptTemplate | None, decoder: Any) -> None:
        self.config, self.template, self.decoder = config, template, decoder
        endpoint = Endpoint.from_settings(config, str(config.endpoint_model))
        self.model = RemoteModel(endpoint, config.prompt, template)

    def asked(self, questions: Sequence[Question], *, silent: bool) -> AskedQuestions:
        """Return the questions of a run; sounds are sent as long as `sound.max_seconds` allows."""
        return AskedQuestions(
            questions,
            sound=self.config.sound,
            write=lambda question: describe_prompt(question, self.config.prompt, self.template),
            silent=silent,
            decoder=self.decoder,
        )

    def answer(self, asked: AskedQuestions, rows: Sequence[int]) -> list[Written]:
        """Return the service's answers, at temperature 0."""
        return self.model.answer(asked, rows)

    def check_heard(self, questions: Sequence[Question]) -> str | None:
        """Return None: services give no log-probabilities of given answers."""
        return None

    @property
    def given_up(self) -> str | None:
        """Return why the service is not asked any more."""
        return self.model.endpoint.given_up
