"""The command `ml-clap`: each verb's flags are the fields of its dataclass in `ml_clap.config`.

A verb names the function that does the work; its module (and torch) is imported after the arguments are
parsed, so that `--help` is quick. `python -m ml_clap` is the same command.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentError, ArgumentParser, Namespace

from ml_clap.config.classify import ClassifyConfig
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareClothoConfig,
    PrepareFolderConfig,
    PrepareReferenceConfig,
    PrepareTuxpaintConfig,
)
from ml_clap.config.quickstart import QuickstartConfig
from ml_clap.config.search import SearchConfig
from ml_clap.config.train import TrainConfig

TRACEBACK_VARIABLE = "ML_CLAP_TRACEBACK"


@dataclass(frozen=True)
class Verb:
    """A command: its settings, its work, and which settings are written without a flag."""

    name: str
    settings: type
    function: str
    """`module:name`."""
    positional: tuple[str, ...] = ()
    interrupted: str = "Nothing was saved."
    """Said after Ctrl-C."""


PREPARE = "ml_clap.data.prepare:prepare"
RESUMES = "What was done so far is kept; the same command goes on from there."

VERBS = (
    Verb("quickstart", QuickstartConfig, "ml_clap.quickstart:quickstart"),
    Verb("train", TrainConfig, "ml_clap.trainers.train:train"),
    Verb("evaluate", EvaluateConfig, "ml_clap.evaluators.evaluate:evaluate", ("data",)),
    Verb("classify", ClassifyConfig, "ml_clap.evaluators.zero_shot:classify", ("data",)),
    Verb("index", IndexConfig, "ml_clap.search.index:index", ("source",), RESUMES),
    Verb("search", SearchConfig, "ml_clap.search.search:search", ("index", "query")),
)
READERS = (
    Verb("reference", PrepareReferenceConfig, PREPARE, ("source",), RESUMES),
    Verb("clotho", PrepareClothoConfig, PREPARE, ("source",), RESUMES),
    Verb("audiocaps", PrepareAudioCapsConfig, PREPARE, ("source",), RESUMES),
    Verb("folder", PrepareFolderConfig, PREPARE, ("source",), RESUMES),
    Verb("tuxpaint", PrepareTuxpaintConfig, PREPARE, ("source",), RESUMES),
)
"""What `ml-clap prepare` can read."""


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
    except KeyboardInterrupt as stop:
        if wants_traceback:
            raise
        saved = str(stop) or (verb.interrupted if verb else "")
        print(f"\nml-clap: interrupted. {saved}".rstrip(), file=sys.stderr)
        sys.exit(130)
    except (ArgumentError, ValueError, FileNotFoundError) as error:
        if wants_traceback:
            raise
        print(f"ml-clap: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def build_parser() -> ArgumentParser:
    """The whole command line; `parse_args` raises `jsonargparse.ArgumentError` on a mistake."""
    parser = ArgumentParser(
        prog="ml-clap",
        description="Multilingual audio-text retrieval: train, evaluate, search sounds in many languages.",
        epilog="A mistake is told in one line; --traceback shows where it arose.",
        exit_on_error=False,
    )
    commands = parser.add_subcommands(dest="verb", metavar="VERB", title="verbs", description="")
    for verb in VERBS:
        commands.add_subcommand(verb.name, _verb_parser(verb), help=_first_sentence(verb.settings))
    readers = ArgumentParser(description="Make a manifest of a data set.", exit_on_error=False)
    commands.add_subcommand("prepare", readers, help="Make a manifest of a data set")
    # jsonargparse wants the outer level added before the inner one.
    kinds = readers.add_subcommands(dest="reader", metavar="READER", title="readers", description="")
    for verb in READERS:
        kinds.add_subcommand(verb.name, _verb_parser(verb), help=_first_sentence(verb.settings))
    return parser


def read_settings(parsed: Namespace) -> tuple[Verb, Any]:
    """The verb that was chosen, and its settings as a dataclass."""
    if parsed.verb == "prepare":
        reader = next(each for each in READERS if each.name == parsed.prepare.reader)
        return reader, _construct(reader.settings, parsed.prepare[reader.name])
    verb = next(each for each in VERBS if each.name == parsed.verb)
    return verb, _construct(verb.settings, parsed[verb.name])


def _verb_parser(verb: Verb) -> ArgumentParser:
    parser = ArgumentParser(description=(verb.settings.__doc__ or "").strip(), exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of settings; flags override it.")
    _add_fields(parser, parser, verb.settings, None, verb.positional)
    return parser


def _add_fields(
    parser: ArgumentParser,
    group: Any,
    cls: type,
    default: Any,
    positional: Sequence[str] = (),
    prefix: str = "",
) -> None:
    """One flag for each field of a dataclass, dotted for those of nested dataclasses."""
    hints, helps = get_type_hints(cls), _field_helps(cls)
    for each in fields(cls):
        name, hint = prefix + each.name, hints[each.name]
        value = _default(each) if default is None else getattr(default, each.name)
        if is_dataclass(hint):
            inner = parser.add_argument_group(f"{name}: {_first_sentence(hint)}")  # type: ignore[arg-type]
            _add_fields(parser, inner, hint, value, prefix=f"{name}.")  # type: ignore[arg-type]
            continue
        text = helps.get(each.name, "").replace("%", "%%")
        if each.name in positional:
            _add_positional(group, name, hint, text)
        else:
            # Where a word without a flag means something, a switch must not take it for its value.
            _add_flag(group, name, hint, text, value, switch_nargs=0 if positional else "?")


def _add_positional(group: Any, name: str, hint: Any, text: str) -> None:
    many = _item_type(hint)
    repeated: dict[str, Any] = {"nargs": "*", "default": []} if many else {}
    group.add_argument(name, type=many or hint, metavar=name.upper(), help=text, **repeated)


def _add_flag(group: Any, name: str, hint: Any, text: str, default: Any, *, switch_nargs: int | str) -> None:
    given: dict[str, Any] = {"required": True} if default is MISSING else {"default": default}
    many = _item_type(hint)
    if many:
        given |= {"nargs": "*"} | ({"default": list(default)} if isinstance(default, tuple) else {})
    if hint is bool:
        switch = ActionYesNo(yes_prefix="", no_prefix="no_")
        group.add_argument(f"--{name}", action=switch, nargs=switch_nargs, help=text, **given)
    else:
        group.add_argument(f"--{name}", type=many or hint, help=text, **given)


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _item_type(hint: Any) -> Any:
    """The type of the items of a tuple, None for what is not a tuple."""
    if get_origin(hint) is tuple:
        return get_args(hint)[0]
    inner = [each for each in get_args(hint) if each is not NoneType]
    return _item_type(inner[0]) if len(inner) == 1 and get_origin(hint) is not tuple else None


def _construct(cls: type, values: Namespace) -> Any:
    """The dataclass of parsed values; its own checks raise ValueError."""
    hints = get_type_hints(cls)
    made: dict[str, Any] = {}
    for each in fields(cls):
        value = values[each.name]
        if is_dataclass(hints[each.name]):
            value = _construct(hints[each.name], value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        made[each.name] = value
    return cls(**made)


def _field_helps(cls: type) -> dict[str, str]:
    helps: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):  # a reader's own text comes over that of all readers
        params = docstring_parser.parse_from_object(each).params
        helps |= {each.arg_name: " ".join((each.description or "").split()) for each in params}
    return helps


def _first_sentence(cls: type) -> str:
    return (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")


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
    logging.getLogger("ml_clap").setLevel(logging.INFO)


class _StderrHandler(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the moment, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
