"""The command `r1-aqa`: each verb's flags are the fields of its dataclass in `r1_aqa.config`.

A verb names the function that does the work; its module (and torch) is imported after the arguments are
parsed, so that `--help` is quick. `python -m r1_aqa` is the same command.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.prepare import PrepareAVQAConfig, PrepareQuestionsConfig
from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.config.score import ScoreConfig
from r1_aqa.config.train import GRPOTrainConfig, SFTTrainConfig
from r1_aqa.flags import construct, first_sentence, settings_parser

TRACEBACK_VARIABLE = "R1_AQA_TRACEBACK"


@dataclass(frozen=True)
class Verb:
    """A command: its settings, its work, and which settings are written without a flag."""

    name: str
    settings: type
    function: str
    """`module:name`."""
    positional: tuple[str, ...] = ()
    interrupted: str = "Nothing was saved."
    """Said after Ctrl-C, unless the function says something itself."""
    has_model: bool = True
    """Whether it loads a model, and with it transformers."""


RESUMES = "What was done so far is kept; the same command goes on from there."

VERBS = (
    Verb("quickstart", QuickstartConfig, "r1_aqa.quickstart:quickstart", (), RESUMES),
    Verb("evaluate", EvaluateConfig, "r1_aqa.evaluators.evaluate:evaluate", ("data",), RESUMES),
    Verb("score", ScoreConfig, "r1_aqa.evaluators.scores:score", ("predictions",), has_model=False),
    Verb("answer", AnswerConfig, "r1_aqa.answering.answerer:answer", ("audio", "question")),
    Verb("rollouts", RolloutsConfig, "r1_aqa.trainers.rollout_page:show_rollouts", ("run",), has_model=False),
    Verb("merge", MergeConfig, "r1_aqa.models.lora:merge", ("source",)),
)
GROUPS = {
    "train": (
        "Train an audio LLM",
        (
            Verb("grpo", GRPOTrainConfig, "r1_aqa.trainers.train:train_grpo", (), RESUMES),
            Verb("sft", SFTTrainConfig, "r1_aqa.trainers.train:train_sft", (), RESUMES),
        ),
    ),
    "prepare": (
        "Make a file of questions of a data set",
        (
            Verb("avqa", PrepareAVQAConfig, "r1_aqa.data.prepare:prepare_avqa", ("source",), RESUMES, False),
            Verb(
                "questions",
                PrepareQuestionsConfig,
                "r1_aqa.data.prepare:prepare_questions",
                ("source",),
                RESUMES,
                False,
            ),
        ),
    ),
}
"""Verbs of two words, and what they are for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 after a user's mistake and with 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    wants_traceback = "--traceback" in words or bool(os.environ.get(TRACEBACK_VARIABLE))
    words = [word for word in words if word != "--traceback"]
    verb: Verb | None = None
    try:
        parsed = build_parser().parse_args(positional_first(words))
        verb, settings = read_settings(parsed)
        _quiet_libraries(verb)
        _load(verb.function)(settings)
        leave_processes()
    except KeyboardInterrupt as stop:
        if str(stop):  # all is saved, in every process
            leave_processes()
        if wants_traceback:
            raise
        saved = str(stop) or (verb.interrupted if verb else "")
        print(f"\nr1-aqa: interrupted. {saved}".rstrip(), file=sys.stderr)
        sys.exit(130)
    except (ArgumentError, ValueError, FileNotFoundError) as error:
        if wants_traceback:
            raise
        print(f"r1-aqa: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def positional_first(words: list[str]) -> list[str]:
    """`evaluate --model m --data mmar` as `evaluate mmar --model m`: what needs no flag may have one."""
    verbs = {each.name: each for each in VERBS}
    verbs |= {f"{name} {each.name}": each for name, (_, kinds) in GROUPS.items() for each in kinds}
    length = next((n for n in (1, 2) if " ".join(words[:n]) in verbs), 0)
    rest, given = words[length:], []
    positional = verbs[" ".join(words[:length])].positional if length else ()
    for flag in (f"--{name}" for name in positional):
        if flag in rest[:-1]:
            place = rest.index(flag)
            given.append(rest[place + 1])
            del rest[place : place + 2]
    return [*words[:length], *given, *rest]


def build_parser() -> ArgumentParser:
    """The whole command line; `parse_args` raises `jsonargparse.ArgumentError` on a mistake."""
    parser = ArgumentParser(
        prog="r1-aqa",
        description="Audio question answering: train audio LLMs by reinforcement, evaluate them, ask them.",
        epilog="A mistake is told in one line; --traceback shows where it arose.",
        exit_on_error=False,
    )
    commands = parser.add_subcommands(dest="verb", metavar="VERB", title="verbs", description="")
    for verb in VERBS:
        _add_verb(commands, verb)
    for name, (purpose, verbs) in GROUPS.items():
        group = ArgumentParser(description=f"{purpose}.", exit_on_error=False)
        commands.add_subcommand(name, group, help=purpose)
        # jsonargparse wants the outer level added before the inner one.
        kinds = group.add_subcommands(dest="kind", metavar="KIND", title="kinds", description="")
        for verb in verbs:
            _add_verb(kinds, verb)
    return parser


def read_settings(parsed: Namespace) -> tuple[Verb, Any]:
    """The verb that was chosen, and its settings as a dataclass."""
    if parsed.verb in GROUPS:
        chosen = parsed[parsed.verb]
        verb = next(each for each in GROUPS[parsed.verb][1] if each.name == chosen.kind)
        return verb, construct(verb.settings, chosen[verb.name])
    verb = next(each for each in VERBS if each.name == parsed.verb)
    return verb, construct(verb.settings, parsed[verb.name])


def _add_verb(commands: Any, verb: Verb) -> None:
    parser = settings_parser(verb.settings, verb.positional)
    commands.add_subcommand(verb.name, parser, help=first_sentence(verb.settings))


def leave_processes() -> None:
    """Part from the other processes of a launcher, if there are any.

    A process that just ends is aborted now and then by the threads of its process group (pytorch issue
    190489), and the launcher then kills the others, which may still be saving. After an error nothing is
    done: the others may be waiting for this one.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _load(function: str) -> Callable[[Any], object]:
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _quiet_libraries(verb: Verb) -> None:
    """Our own messages plainly on the standard error; of libraries only what is wrong."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_StderrHandler()])
    logging.getLogger("r1_aqa").setLevel(logging.INFO)
    if verb.has_model:
        from huggingface_hub import constants
        from huggingface_hub.utils import enable_progress_bars
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # a bar for each file of weights, in the midst of ours
        if not constants.HF_HUB_OFFLINE and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            enable_progress_bars()  # a download of minutes shows that it goes on


class _StderrHandler(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the moment, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
