"""Tab completion: a shell's script, which shtab makes of the verbs and flags.

The script needs nothing of this program while it completes, so that it is quick; it is as old as the version
that printed it. The same folder is in r1-aqa, aac-llm and ml-clap; a test compares them.
"""

from __future__ import annotations

import inspect
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import shtab

from r1_aqa.command_line.failures import UsageError
from r1_aqa.command_line.options import RECIPES, _items, _members

SHELLS = tuple(shtab.SUPPORTED_SHELLS)


def completion(
    name: str, verbs: Sequence[Any], groups: Mapping[str, str], switches: Sequence[str], shell: str
) -> str:
    """Return the script that completes a program's command line.

    Args:
        name: of the program.
        verbs: `Verb`s.
        groups: the first of two words -> what it is for.
        switches: flags of every verb that take no value.
        shell: one of `SHELLS`.
    """
    if shell not in SHELLS:
        raise UsageError(f"--print_completion: expected one of {', '.join(SHELLS)}, got {shell!r}")
    parser = ArgumentParser(name, add_help=False)
    _add_switches(parser, switches)
    first = parser.add_subparsers()
    seconds: dict[str, Any] = {}
    for verb in verbs:
        words = verb.name.split()
        place = first
        if len(words) == 2:
            if words[0] not in seconds:
                group = first.add_parser(words[0], help=_plain(groups.get(words[0], "")), add_help=False)
                _add_switches(group, switches)
                seconds[words[0]] = group.add_subparsers()
            place = seconds[words[0]]
        summary = _plain((inspect.getdoc(verb.settings) or "").splitlines()[0])
        _add_verb(place.add_parser(words[-1], help=summary, add_help=False), verb, switches)
    recipes = " ".join(path.stem for path in sorted(RECIPES.glob("*.yaml")))
    files = 'compgen -f -X "!*.yaml" -- "$1"; compgen -d -- "$1"'
    function = f'{_function(name)}() {{ compgen -W "{recipes}" -- "$1"; {files}; }}'
    return shtab.complete(parser, shell, preamble={"bash": function})  # type: ignore[arg-type]


def _add_verb(parser: ArgumentParser, verb: Any, switches: Sequence[str]) -> None:
    _add_switches(parser, switches)
    config: Any = parser.add_argument("--config", help="A shipped recipe, or a YAML file of settings")
    program = parser.prog.split()[0]
    config.complete = {"bash": _function(program), "zsh": "_files", "tcsh": "f"}
    options = verb.options
    for name, hint in options.hints.items():
        if name in options.open:
            continue
        text = _plain(options.helps[name].partition(". ")[0])
        flag: Any
        if hint is bool:
            parser.add_argument(f"--{name}", action="store_true", help=text)
            parser.add_argument(f"--no_{name}", action="store_true", help=text)
            continue
        kinds = _items(hint)
        nargs = "*" if ... in kinds else len(kinds) or None
        flag = parser.add_argument(f"--{name}", nargs=nargs, help=text, **_values(hint))
        _complete_files(flag)
        if name in verb.positional:
            many = "*" if ... in kinds else "?"
            _complete_files(parser.add_argument(name, nargs=many, help=text, **_values(hint)))


def _add_switches(parser: ArgumentParser, switches: Sequence[str]) -> None:
    for name in switches:
        parser.add_argument(name, action="store_true")


def _values(hint: Any) -> dict[str, Any]:
    """Return argparse's settings for the values that a type takes."""
    members = _members(next(iter(_items(hint)), hint))
    choices = [str(value) for kind in members if get_origin(kind) is Literal for value in get_args(kind)]
    if choices:
        return {"choices": choices}
    return {"type": Path if Path in members or str in members else float}


def _complete_files(action: Any) -> None:
    """Let paths, and texts, which may be paths, be completed by the names of files."""
    if action.type is Path:
        action.complete = shtab.FILE


def _function(program: str) -> str:
    return f"_{program.replace('-', '_')}_recipes"


def _plain(text: str) -> str:
    """Return a help text without what a shell would take for its own."""
    return "".join(letter for letter in text if letter not in "`'\"$\\[]:").rstrip(".")
