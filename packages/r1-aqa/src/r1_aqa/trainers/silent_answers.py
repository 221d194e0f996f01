"""What the model of the start answers without the sound, for rewards that compare with it.

Any reward that names `silent_answer` is given it: once for each question, greedy, by the model as it is
before the first update. The answers are kept in OUT/silent_answers.jsonl: a training that resumes has another
model, which must not be asked.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from audio_common.strict_json import read_records
from transformers import TrainerCallback

from r1_aqa.config.train import GRPOTrainConfig
from r1_aqa.data.questions import Question, column
from r1_aqa.files import append_line, to_json, write_atomically
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import answer_batch
from r1_aqa.models.option_scores import stamp_of
from r1_aqa.models.silence import silent_prompts
from r1_aqa.models.template import read_template
from r1_aqa.output import Progress
from r1_aqa.rewards.rewards import is_correct

logger = logging.getLogger(__name__)

COLUMN = "silent_answer"
BATCH = 16
"""Questions answered at once; always the same ones together, for a batch changes last digits."""


def needs_silent_answers(rewards: Sequence[Callable[..., Any]], questions: Sequence[Question]) -> bool:
    """Return whether a reward names the answers in silence, and the questions do not have them all."""
    is_named = any(COLUMN in signature(reward).parameters for reward in rewards)
    return is_named and any(column(question, COLUMN) is None for question in questions)


class SilentAnswers(TrainerCallback):
    """Asks all training questions in silence before the first update, and gives rewards the answers.

    Args:
        config: of the training.
        llm: its model.
        questions: row by row.
        give: is called with the answers, row by row.
    """

    def __init__(
        self,
        config: GRPOTrainConfig,
        llm: AudioLLM,
        questions: Sequence[Question],
        give: Callable[[list[str]], object],
    ) -> None:
        self.config, self.llm, self.give = config, llm, give
        self.template = read_template(config.template)
        self.questions = list(questions)
        self.file = config.out / f"{COLUMN}s.jsonl"

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read or make the answers.

        Raises:
            ValueError: the training resumes, and answers of its beginning are missing.
        """
        keys = [self._key(question) for question in self.questions]
        is_begun = state.global_step > 0
        # What another model said is of no use, but in the middle the model of the start is known by its file.
        stamp = None if is_begun else stamp_of(self.config.init_from)
        known = read_answers(self.file, stamp)
        # All processes have read the same before the first of them writes: they answer the same batches.
        PartialState().wait_for_everyone()
        if is_begun and (missing := [key for key in keys if key not in known]):
            raise ValueError(
                f"{self.file} lacks the answers in silence to {len(missing)} of {len(keys)} questions, and "
                "the model that gave them has learned since; begin anew in another --out"
            )
        if not is_begun:
            if state.is_world_process_zero:
                rows = [{"model": stamp, "question": key, "answer": text} for key, text in known.items()]
                write_atomically(self.file, b"".join(to_json(row) + b"\n" for row in rows))
            self._ask(dict(zip(keys, self.questions, strict=True)), known, stamp, state.is_world_process_zero)
        answers = [known[key] for key in keys]
        if state.is_world_process_zero:
            say_known(self.questions, answers)
        self.give(answers)

    def _ask(
        self, asked: dict[str, Question], known: dict[str, str], stamp: str | None, is_writer: bool
    ) -> None:
        """Add what is not known yet."""
        keys, random_state = list(asked), torch.random.get_rng_state()
        training = self.llm.model.training
        self.llm.model.eval()
        clips = None
        start = sum(key in known for key in keys)
        with Progress("Answering in silence", len(keys), start=start, shown=is_writer) as progress:
            for first in range(0, len(keys), BATCH):
                batch = keys[first : first + BATCH]
                waiting = [key for key in batch if key not in known]
                if not waiting:
                    continue
                prompts = silent_prompts(
                    self.llm,
                    [asked[key] for key in batch],
                    style=self.config.prompt,
                    template=self.template,
                    clips=clips,
                )
                clips = prompts.clips
                rows = [row for row in range(len(batch)) if row not in prompts.sounds.unaskable]
                said = answer_batch(prompts, rows, max_new_tokens=self.config.max_new_tokens) if rows else []
                texts = dict(zip(rows, (written.text or "" for written in said), strict=True))
                # What cannot be asked is no question of this training either; it has no answer.
                for key, text in zip(batch, (texts.get(row, "") for row in range(len(batch))), strict=True):
                    if key in waiting and is_writer:
                        append_line(self.file, {"model": stamp, "question": key, "answer": text})
                    known.setdefault(key, text)
                progress.advance(len(waiting))
        self.llm.model.train(training)
        torch.random.set_rng_state(random_state)  # a training with this reward draws the same rollouts

    def _key(self, question: Question) -> str:
        """Return what two questions have in common that are the same without their sound."""
        layout = self.template.text if self.template else self.config.prompt
        settings = [layout, self.config.max_new_tokens]
        seen = [question.question, question.about_video, len(question.audios), *question.choices]
        return hashlib.sha256(to_json([settings, seen])).hexdigest()[:32]


def read_answers(path: Path, stamp: str | None = None) -> dict[str, str]:
    """Return the kept answers by question, only those of a model if its stamp is given."""
    needed = {"model", "question", "answer"}
    rows = [row for row in read_records(path) if needed <= row.keys()]
    return {row["question"]: row["answer"] for row in rows if stamp in (None, row["model"])}


def say_known(questions: Sequence[Question], answers: Sequence[str]) -> None:
    """Say how many questions the model answers rightly in silence, beside how many chance would."""
    right = sum(
        is_correct(text, question.choices, question.answer or "", needs_block=False)
        for question, text in zip(questions, answers, strict=True)
    )
    chance = sum(q.choices.count(q.answer or "") / len(q.choices) for q in questions if q.choices)
    logger.info(
        "%d of %d questions are answered right in silence at the start (%.0f by chance): a counterfactual "
        "reward pays nothing for them",
        right,
        len(questions),
        chance,
    )
