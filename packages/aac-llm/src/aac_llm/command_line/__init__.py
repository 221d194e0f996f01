"""A command line made of verbs, each a dataclass of settings and a function.

A field is a flag (`--data.train`), a key of the YAML files that `--config` names, and a line of
`--print_config`. The work's module, and torch with it, is imported after all has been read and checked, so
that help and mistakes are quick. The same folder is in r1-aqa, aac-llm and ml-clap; a test compares them.

Exit codes: 0 done, 1 done but for some items (listed), 2 refused or impossible, 70 a bug, 130 interrupted.
"""

from __future__ import annotations

import atexit
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NoReturn

from aac_llm.command_line.checks import (
    require_any,
    require_file,
    require_folder,
    require_model,
    require_module,
)
from aac_llm.command_line.failures import UsageError, describe
from aac_llm.output import printable, set_up

__all__ = [
    "Program",
    "UsageError",
    "Verb",
    "leave_processes",
    "require_any",
    "require_file",
    "require_folder",
    "require_model",
    "require_module",
]

PACKAGE = __name__.partition(".")[0]
NAME = PACKAGE.replace("_", "-")
SWITCHES = {
    **dict.fromkeys(("-h", "--help"), "help"),
    **dict.fromkeys(("-q", "--quiet"), "quiet"),
    **dict.fromkeys(("-v", "--verbose"), "verbose"),
    **{f"--{name}": name for name in ("version", "traceback", "print_config")},
}
"""Flags of every verb, accepted anywhere before `--`."""
COMMON = f"""\
for every verb:
  --config NAME|FILE        A shipped recipe, or a YAML file of settings; flags override it.
  --print_config            Print all settings as such a file, with comments, and stop.
  -q, --quiet               Say nothing but warnings, errors and results.
  -v, --verbose             Say more, to find a fault.
  --traceback               Print the full trace of an error.
  --version                 Print the version and stop.
  --print_completion SHELL  Print a script for tab completion (bash, zsh, tcsh) and stop, as in
                            eval "$({NAME} --print_completion bash)"
  -h, --help                Print this help and stop."""
COMPLETION = "--print_completion"


@dataclass(frozen=True)
class Verb:
    """A command: its settings and its work."""

    name: str
    """One word, or two: `train grpo`."""
    settings: type
    """Dataclass; its docstring describes the verb, those under its fields the flags."""
    function: str
    """`module:name`, called with the settings; what it returns, if a number, is the exit code."""
    positional: tuple[str, ...] = ()
    """Settings that may be written without a flag, in this order; one of many values last."""
    interrupted: str = "Nothing was saved."
    """Said after Ctrl-C, unless the function says something itself."""
    example: str = ""
    """A command that works, without the program's name."""
    check: Callable[[Any], object] | None = None
    """Looks at the settings before anything heavy is imported: `require_file(config.data)`, ..."""
    has_model: bool = True
    """Whether it loads a model, and with it transformers."""

    @property
    def options(self) -> Any:
        """Its options; jsonargparse is imported here, and not for `--version` and lists of verbs."""
        return import_module(f"{__name__}.options").Options(
            f"{NAME} {self.name}", self.settings, self.positional
        )


@dataclass(frozen=True)
class Program:
    """The whole command line of a package."""

    purpose: str
    verbs: tuple[Verb, ...]
    groups: Mapping[str, str] = field(default_factory=dict)
    """What the first of two words is for: {"train": "Train an audio LLM"}."""
    extras: Mapping[str, str] = field(default_factory=dict)
    """Modules that need not be installed -> the extra that brings them."""

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Run a command; exits unless all went well."""
        words, switches = _split_switches(sys.argv[1:] if arguments is None else arguments)
        try:
            code = self._run(words, switches)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError) and _leave_broken_pipe():
                sys.exit(141)  # what a shell calls an end by SIGPIPE
            if "traceback" in switches or os.environ.get(f"{PACKAGE.upper()}_TRACEBACK"):
                import traceback

                traceback.print_exc()
            code = self._failed(error, words)
        if arguments is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            end_process(code)
        if code:
            sys.exit(code)

    def read(self, words: Sequence[str]) -> tuple[Verb, Any]:
        """Return the verb that is meant and its settings; UsageError or ValueError says what is wrong."""
        verb, rest = self._find(_split_switches(words)[0])
        options = verb.options
        return verb, options.construct(options.read(rest))

    def _run(self, words: list[str], switches: set[str]) -> int:
        """Do what the words say; return the exit code."""
        if "version" in switches:
            from importlib.metadata import version

            print(NAME, version(NAME))
        elif "help" in switches:
            print(self._help(words), end="")
        elif not words:
            print(self._help([]), end="", file=sys.stderr)
            return 2
        elif words[0].partition("=")[0] == COMPLETION:
            print(self._completion(words))
        elif "print_config" in switches:
            verb, rest = self._find(words)
            print(verb.options.config_text(verb.options.read(rest)), end="")
        else:
            verb, settings = self.read(words)
            if verb.check:
                verb.check(settings)
            set_up(quiet="quiet" in switches, verbose="verbose" in switches, has_model=verb.has_model)
            code = _load(verb.function)(settings)
            leave_processes()
            return int(code) if isinstance(code, int) else 0
        return 0

    def _find(self, words: list[str]) -> tuple[Verb, list[str]]:
        """Return the verb of the first one or two words, and the words after it."""
        for verb in self.verbs:
            length = len(verb.name.split())
            if verb.name == " ".join(words[:length]):
                return verb, words[length:]
        from aac_llm.command_line.options import FLAG, nearest

        verbs = [verb.name.split() for verb in self.verbs]
        if kinds := [names[1] for names in verbs if names[1:] and names[0] == words[0]]:
            if len(words) < 2 or FLAG.match(words[1]):
                raise UsageError(f"{words[0]} what? One of: {', '.join(kinds)}")
        elif FLAG.match(words[0]):
            raise UsageError(f"write the verb first, then {words[0]}")
        known = kinds or list(dict.fromkeys(names[0] for names in verbs))
        words = words[: 2 if kinds else 1]
        hint = nearest(words[-1], known) or f"; known: {', '.join(known)}"
        raise UsageError(f"unknown verb {' '.join(words)}{hint}")

    def _help(self, words: list[str]) -> str:
        """Return the help of a verb, or of the program or the verbs that begin with a word."""
        rows = [verb for verb in self.verbs if verb.name.split()[: len(words)] == words]
        if len(words) > 1 or not rows or rows[0].name == " ".join(words):
            verb, _ = self._find(words)
            return verb.options.help(f"{NAME} {verb.example}", COMMON)
        lines = [
            f"  {v.name:25} {(inspect.getdoc(v.settings) or '').splitlines()[0].rstrip('.')}" for v in rows
        ]
        purpose = f"{self.groups.get(words[0], '')}." if words else self.purpose
        usage = f"usage: {' '.join([NAME, *words])} VERB ..."
        return "\n".join([usage, "", purpose, "", "verbs:", *lines, "", COMMON, ""])

    def _completion(self, words: list[str]) -> str:
        """Return the script of tab completion for the shell that the words name."""
        from aac_llm.command_line.completion import completion

        shell = words[0].partition("=")[2] or "".join(words[1:2]) or "bash"
        return completion(NAME, self.verbs, self.groups, tuple(SWITCHES), shell)

    def _failed(self, error: BaseException, words: list[str]) -> int:
        """Say in one line what went wrong; return the exit code."""
        if not isinstance(error, KeyboardInterrupt):
            line, code = describe(error, PACKAGE, self.extras)
            print(f"{NAME}: {printable(line)}", file=sys.stderr)
            return code
        if str(error):  # all is saved, in every process
            leave_processes()
        known = [verb for verb in self.verbs if verb.name == " ".join(words[: len(verb.name.split())])]
        saved = str(error) or "".join(verb.interrupted for verb in known)
        print(f"\n{NAME}: interrupted. {saved}".rstrip(), file=sys.stderr)
        return 130


def leave_processes() -> None:
    """Part from the other processes of a launcher, if there are any.

    After an error nothing is done: the others may be waiting for this one.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def end_process(code: int) -> NoReturn:
    """End one process of several at once, without Python's finalization.

    In finalization, threads of torch.distributed and of autograd abort the process now and then, even after
    the process group is destroyed (pytorch issue 190489). The launcher takes that for a failure and kills the
    other processes, which may still be saving.
    """
    atexit._run_exitfuncs()  # closed logs, trackers that upload, workers that are to end
    with suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
    os._exit(code)


def _split_switches(words: Sequence[str]) -> tuple[list[str], set[str]]:
    """Return the words without the flags of every verb, and these flags."""
    end = words.index("--") if "--" in words else len(words)
    found = {SWITCHES[word] for word in words[:end] if word in SWITCHES}
    return [word for word in words[:end] if word not in SWITCHES] + list(words[end:]), found


def _load(function: str) -> Callable[[Any], object]:
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def _leave_broken_pipe() -> bool:
    """Return whether nobody reads our output any more (`| head`), and then drop what is still buffered."""
    import select

    poll = select.poll()  # a worker's broken pipe is another matter
    poll.register(sys.stdout.fileno(), select.POLLERR)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
