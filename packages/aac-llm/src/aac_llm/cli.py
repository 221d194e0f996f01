"""The command `aac-llm`: each verb's flags are the fields of its dataclass in `aac_llm.config`.

A verb names the function that does the work; its module (and torch) is imported after the arguments are
parsed, so that `--help` is quick. `python -m aac_llm` is the same command.
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

from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareAutoACDConfig,
    PrepareClothoConfig,
    PrepareJSONLConfig,
    PrepareMACSConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
    PrepareWavCapsConfig,
)
from aac_llm.config.quickstart import QuickstartConfig
from aac_llm.config.train import TrainConfig
from aac_llm.flags import construct, first_sentence, settings_parser

TRACEBACK_VARIABLE = "AAC_LLM_TRACEBACK"


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


PREPARE = "aac_llm.data.prepare:prepare"
RESUMES = "What was done so far is kept; the same command goes on from there."

VERBS = (
    Verb("quickstart", QuickstartConfig, "aac_llm.quickstart:quickstart", (), RESUMES),
    Verb("train", TrainConfig, "aac_llm.trainers.train:train", (), RESUMES),
    Verb("caption", CaptionConfig, "aac_llm.captioning.caption:caption", ("files",), RESUMES),
    Verb("correct", CorrectConfig, "aac_llm.correction.correct:correct", ("predictions",), RESUMES),
    Verb("evaluate", EvaluateConfig, "aac_llm.evaluators.evaluate:evaluate", ("source",)),
)
READERS = (
    Verb("clotho", PrepareClothoConfig, PREPARE, ("source",), RESUMES),
    Verb("audiocaps", PrepareAudioCapsConfig, PREPARE, ("source",), RESUMES),
    Verb("wavcaps", PrepareWavCapsConfig, PREPARE, ("source",), RESUMES),
    Verb("macs", PrepareMACSConfig, PREPARE, ("source",), RESUMES),
    Verb("autoacd", PrepareAutoACDConfig, PREPARE, ("source",), RESUMES),
    Verb("reference", PrepareReferenceConfig, PREPARE, ("source",), RESUMES),
    Verb("slam", PrepareSLAMConfig, PREPARE, ("source",), RESUMES),
    Verb("jsonl", PrepareJSONLConfig, PREPARE, ("source",), RESUMES),
)
"""What `aac-llm prepare` can read."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 after a user's mistake and with 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    wants_traceback = "--traceback" in words or bool(os.environ.get(TRACEBACK_VARIABLE))
    words = [word for word in words if word != "--traceback"]
    verb: Verb | None = None
    try:
        parsed = build_parser().parse_args(words)
        verb, settings = read_settings(parsed)
        _quiet_libraries()
        _load(verb.function)(settings)
        leave_processes()
    except KeyboardInterrupt as stop:
        if str(stop):  # all is saved, in every process
            leave_processes()
        if wants_traceback:
            raise
        saved = str(stop) or (verb.interrupted if verb else "")
        print(f"\naac-llm: interrupted. {saved}".rstrip(), file=sys.stderr)
        sys.exit(130)
    except (ArgumentError, ValueError, FileNotFoundError) as error:
        if wants_traceback:
            raise
        print(f"aac-llm: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def build_parser() -> ArgumentParser:
    """The whole command line; `parse_args` raises `jsonargparse.ArgumentError` on a mistake."""
    parser = ArgumentParser(
        prog="aac-llm",
        description="Captions from any sound: train a captioner, score it, caption files, correct captions.",
        epilog="A mistake is told in one line; --traceback shows where it arose.",
        exit_on_error=False,
    )
    commands = parser.add_subcommands(dest="verb", metavar="VERB", title="verbs", description="")
    for verb in VERBS:
        _add_verb(commands, verb)
    readers = ArgumentParser(description="Make a manifest of a data set.", exit_on_error=False)
    commands.add_subcommand("prepare", readers, help="Make a manifest of a data set")
    # jsonargparse wants the outer level added before the inner one.
    kinds = readers.add_subcommands(dest="reader", metavar="READER", title="readers", description="")
    for verb in READERS:
        _add_verb(kinds, verb)
    return parser


def read_settings(parsed: Namespace) -> tuple[Verb, Any]:
    """The verb that was chosen, and its settings as a dataclass."""
    if parsed.verb == "prepare":
        reader = next(each for each in READERS if each.name == parsed.prepare.reader)
        return reader, construct(reader.settings, parsed.prepare[reader.name])
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


def _quiet_libraries() -> None:
    """Our own messages plainly on the standard error; of libraries only what is wrong."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_StderrHandler()])
    logging.getLogger("aac_llm").setLevel(logging.INFO)


class _StderrHandler(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the moment, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
