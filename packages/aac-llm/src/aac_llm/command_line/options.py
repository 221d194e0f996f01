"""A verb's options: jsonargparse's, and what it cannot do: words in any order, typos helped, files by line.

jsonargparse makes options of a dataclass and their help, converts values, builds the dataclass, writes files.
It gets no raw words and files: it takes `1:30` for 90, `012` for 10 and `yes` for true, and names no lines.
"""

from __future__ import annotations

import inspect
import re
from argparse import SUPPRESS, Action, ArgumentError, RawDescriptionHelpFormatter
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_loader, set_parsing_settings

from aac_llm.command_line.failures import UsageError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
"""The settings that are shipped."""
FLAG = re.compile(r"--?[^\W\d]")
"""How a flag begins, but neither `-`, `--` nor a negative number."""
NAMES = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", bool: "{true,false}"}
FORMS = {
    int: r"(?!\+0[0-9])[+-]?[0-9]+",  # +012 is 10 in YAML
    float: r"(?!\+0[0-9])[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?",
    bool: "(?i:true|false)",
    NoneType: "null",
}
"""All that may be written for a type, if not in quotes."""

ELSEWHERE = {
    "bf16": ("precision",),
    "epsilon": ("clip",),
    "fp16": ("precision",),
    "init_from": ("model",),
    "lang": ("language", "languages"),
    "language": ("lang", "languages"),
    "lr": ("learning_rate",),
    "max_completion_length": ("max_new_tokens",),
    "model": ("init_from",),
    "model_name_or_path": ("init_from", "model"),
    "num_epochs": ("epochs",),
    "num_generations": ("num_rollouts", "num_candidates"),
    "num_iterations": ("updates_per_rollout",),
    "num_train_epochs": ("epochs",),
    "output": ("out",),
    "output_dir": ("out",),
    "per_device_train_batch_size": ("batch_size",),
    "save_total_limit": ("keep_checkpoints",),
}
"""Flags as transformers, TRL and our other verbs call them, and what they may be called here."""

set_parsing_settings(docstring_parse_attribute_docstrings=True)
set_loader("text", lambda text: text)  # by default texts are read as YAML, `~` and `#` as null


class Options:
    """The options of a dataclass of settings.

    Args:
        command: the program's name and the verb.
        settings: the dataclass.
        positional: options that may be written without a flag, in this order.
    """

    def __init__(self, command: str, settings: type, positional: Sequence[str] = ()) -> None:
        self.command, self.settings, self.positional = command, settings, positional
        self.parser = ArgumentParser(
            exit_on_error=False, add_help=False, print_config=None, parser_mode="text"
        )
        self.parser.add_class_arguments(settings)
        actions = {action.dest: action for action in self.parser._actions if hasattr(action, "_typehint")}
        self.hints = {name: action._typehint for name, action in actions.items()}
        self.helps = {name: " ".join((action.help or "").split()) for name, action in actions.items()}
        self.groups = list((self.parser.groups or {}).values())
        self.sections = {group.dest: group.title for group in self.groups if group.dest}
        self.needed = [name for name, action in actions.items() if action.required]
        self.many = [name for name, hint in self.hints.items() if ... in _items(hint)]
        self.open = [name for name, hint in self.hints.items() if get_origin(hint) is dict]
        for name, action in actions.items():
            action.required, action.metavar, action.help = False, _takes(self.hints[name]), self.helps[name]

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Return what was given, by dotted name: in files, and over it in words."""
        given = self._read_words(words)
        values: dict[str, Any] = {}
        for file in [value for name, value in given if name == "config"]:
            values |= self._read_file(find_recipe(file))
        for name, value in given:
            if name in self.open:  # single keys, beside those of files
                values[name] = values.get(name, {}) | value
            elif name != "config":
                values[name] = value
        return values

    def construct(self, values: dict[str, Any]) -> Any:
        """Return the settings; UsageError says what is missing, ValueError what they refuse themselves."""
        if lacking := [name for name in self.needed if name not in values]:
            names = [name.upper() if name in self.positional else f"--{name}" for name in lacking]
            takers = [name for name in self.many if len(values.get(name, ())) > 1]
            hint = f" (did --{takers[0]} take it? Write {names[0]} first, or after --)" if takers else ""
            hint = hint if lacking[0] in self.positional else ""
            raise UsageError(f"{', '.join(names)} missing{hint}; usage: {self.usage()}")
        # jsonargparse would guess what the texts of unknown keys mean.
        texts = deepcopy({name: values[name] for name in self.open if name in values})
        return self.settings(**vars(self.parser.instantiate(self._parse(values))) | texts)

    def usage(self) -> str:
        """Return how the verb is called, with what must be given."""
        words = [f"{name.upper()} ..." if name in self.many else name.upper() for name in self.positional]
        pairs = zip(words, self.positional, strict=True)
        words = [word if name in self.needed else f"[{word}]" for word, name in pairs]
        flags = [f"--{n} {_takes(self.hints[n])}" for n in self.needed if n not in self.positional]
        return " ".join([self.command, *words, *flags, "[options]"])

    def help(self, example: str, common: str) -> str:
        """Return what the verb does, an example, and each option with its type and default."""
        order = {name: place for place, name in enumerate(self.positional)}
        for action in self.parser._actions:
            action.required, default = action.dest in self.needed, action.default
            if action.dest in self.sections:
                action.help = SUPPRESS  # jsonargparse's flags for files of sections
            elif action.dest in order:
                action.option_strings, action.metavar = [], action.dest.upper()
            elif action.dest in self.open:
                action.option_strings, action.metavar = [f"--{action.dest}.KEY"], "VALUE"
                action.default = "none"
            elif self.hints[action.dest] is bool:
                action.nargs, action.default = 0, str(default).lower()
                action.option_strings = [*action.option_strings, f"--no_{action.dest}"][: 1 + default]
            if isinstance(default, tuple):
                action.default = " ".join(map(str, default)) or "none"
        for group in self.groups:
            group.title = f"{group.title} ({group.dest})" if group.dest else "settings"
            group._group_actions.sort(key=lambda action: order.get(action.dest, len(order)))
        many = ", ".join(f"--{name}" for name in self.many if name not in order)
        note = f"Write {' '.join(order).upper()} before flags of many values ({many}), or after --.\n\n"
        self.parser.usage, self.parser.formatter_class = self.usage(), _Formatter
        self.parser.description = f"{inspect.getdoc(self.settings)}\n\nexample:\n  {example}"
        self.parser.epilog = (note if many and order else "") + common
        return self.parser.format_help()

    def config_text(self, values: dict[str, Any]) -> str:
        """Return all settings as a YAML file with their help as comments; `--config` reads it back."""
        import yaml

        dumped = self.parser.dump(self._parse(values), skip_validation=True, skip_unset=False)
        lines = dumped.splitlines()
        for name, line, _ in reversed(list(_keys(yaml.compose(dumped)))):
            if self._section(name):
                continue
            indent = "  " * name.count(".")
            if name in self.needed and name not in values:
                lines[line - 1] = (
                    f"{indent}# {name.rpartition('.')[2]}: {_takes(self.hints[name])} (required)"
                )
            lines.insert(line - 1, f"{indent}# {self.sections.get(name) or self.helps[name]}")
        return "\n".join([f"# {self.command} --config FILE", *lines, ""])

    def _parse(self, values: dict[str, Any]) -> Namespace:
        try:
            return self.parser.parse_object(Namespace(values))
        except ArgumentError as error:
            raise UsageError(" ".join(str(error).split())) from None

    def _read_words(self, words: Sequence[str]) -> list[tuple[str, Any]]:
        """Return names and values in the order of the words, words without a flag last."""
        end = words.index("--") if "--" in words else len(words)
        queue, free, given = deque(words[:end]), list[str](), list[tuple[str, Any]]()
        hints = self.hints | {"config": str}
        while queue:
            word = queue.popleft()
            flag, equals, text = word.partition("=")
            name = flag.removeprefix("--")
            if not FLAG.match(word):
                free.append(word)
            elif section := self._section(name):
                texts = [text] if equals else _take(flag, tuple[str, ...], queue) or ["true"]
                given.append((section, {name[len(section) + 1 :]: texts if texts[1:] else texts[0]}))
            elif name in self.open:
                raise UsageError(f"{flag} has keys of its own: write {flag}.KEY VALUE")
            elif name in hints:
                texts = [text] if equals else _take(flag, hints[name], queue)
                given.append((name, _check(flag, hints[name], texts)))
            elif hints.get(name.removeprefix("no_")) is bool and not equals:
                given.append((name.removeprefix("no_"), "false"))
            else:
                raise UsageError(f"unknown flag {flag}{nearest(name, hints).replace('mean ', 'mean --')}")
        free += words[end + 1 :]
        for name in [name for name in self.positional if name not in dict(given)]:
            texts, free = (free, []) if name in self.many else (free[:1], free[1:])
            given += [(name, _check(name.upper(), self.hints[name], texts))] if texts else []
        if free:
            taken = ", ".join(f"{name.upper()} is {dict(given)[name]}" for name in self.positional)
            raise UsageError(f"unexpected word {free[0]!r}" + (f" ({taken})" if taken else ""))
        return given

    def _read_file(self, path: Path) -> dict[str, Any]:
        """Return a file's values by dotted name; UsageError names the line of a mistake."""
        import yaml

        try:
            # Only the tree of texts: what they mean is up to the types.
            root: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or "not a file of settings"
            raise UsageError(f"{path}{f', line {mark.line + 1}' if mark else ''}: {problem}") from None
        if root is not None and root.id != "mapping":
            raise UsageError(f"{path}: expected settings as `key: value`, got {_kind(root)}")
        values, lines = dict[str, Any](), dict[str, int]()
        for name, line, node in _keys(root) if root else ():
            where, first = f"{path}, line {line}:", lines.setdefault(name, line)
            is_open = bool(self._section(name))
            if name not in self.hints and name not in self.sections and not is_open:
                raise UsageError(f"{where} unknown key {name}{nearest(name, self.hints | self.sections)}")
            if first != line:
                raise UsageError(f"{where} {name} is there twice, first in line {first}")
            if name in self.open and (node.id == "mapping" or _kind(node) == "nothing"):
                values[name] = _plain(node) or {}
            elif name in self.hints and name not in self.open:
                values[name] = _value(node, self.hints[name], f"{where} {name}")
            elif node.id != "mapping" and not is_open:
                raise UsageError(f"{where} {name}: expected keys of its own, got {_kind(node)}")
        return values

    def _section(self, name: str) -> str:
        """Return the setting with keys of its own that `name` is a key of, or nothing."""
        return next((section for section in self.open if name.startswith(f"{section}.")), "")


class Quoted(str):
    """A text that stands in quotes in a file, and so is neither a number nor null."""

    def __repr__(self) -> str:
        return f'"{self}"'


class _Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def _get_type_str(self, action: Action) -> None:
        """Leave the type to the word after the flag."""


def find_recipe(name: str) -> Path:
    """Return the file of a path or of the name of a shipped recipe."""
    shipped = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    if Path(name).is_file() or name in shipped:
        return Path(name) if Path(name).is_file() else shipped[name]
    if Path(name).is_dir():
        raise UsageError(f"--config {name} is a folder; name a YAML file in it")
    recipes = f" Shipped recipes: {', '.join(shipped)}." if shipped else ""
    raise UsageError(f"--config: there is no file {name}{nearest(name, shipped) or '.'}{recipes}")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean NAME?`, or nothing if no name is like it."""
    name, names = name.replace("-", "_").strip("_"), list(names)
    leaves = {known.rpartition(".")[2]: known for known in reversed(names)}
    close = [known for known in ELSEWHERE.get(name, ()) if known in names]
    close = close or ([leaves[name]] if name in leaves else get_close_matches(name, names, n=1))
    close = close or [known for known in names if known.startswith(name)]
    close = close or [leaves[leaf] for leaf in get_close_matches(name, leaves, n=1)]
    return f"; did you mean {close[0]}?" if close else ""


def _take(flag: str, hint: Any, queue: deque[str]) -> list[str]:
    """Return the texts of a flag, taken from the words after it."""
    if hint is bool:
        return [queue.popleft()] if queue and queue[0] in ("true", "false") else ["true"]
    kinds, texts = _items(hint), list[str]()
    most = len(queue) if ... in kinds else len(kinds) or 1
    while queue and len(texts) < most and not FLAG.match(queue[0]):
        if texts and ... in kinds and not _fits(queue[0], kinds[0]):
            break
        texts.append(queue.popleft())
    if not texts and ... not in kinds:
        raise UsageError(f"{flag} needs a value: {_takes(hint)} (or {flag}=VALUE if it begins with -)")
    return texts


def _check(where: str, hint: Any, texts: list[str]) -> Any:
    """Return the text, or texts for a tuple; UsageError if the type takes no such."""
    kinds = _items(hint)
    if kinds and ... not in kinds and len(kinds) != len(texts):
        raise UsageError(f"{where}: expected {_takes(hint)}, got {len(texts)} values")
    hint = kinds[0] if kinds else hint
    for text in texts:
        if not _fits(text, hint):
            choices = [
                name for kind in _members(hint) if get_origin(kind) is Literal for name in get_args(kind)
            ]
            raise UsageError(f"{where}: expected {_takes(hint)}, got {text!r}{nearest(text, choices)}")
    plain = [str(text) for text in texts]
    return plain if kinds else plain[0]


def _fits(text: str, hint: Any) -> bool:
    """Return whether a text may stand for a type: jsonargparse would take all that YAML 1.1 does."""
    plain = not isinstance(text, Quoted)
    return any(
        kind is str
        or (kind is Path and text != "")
        or (get_origin(kind) is Literal and text in map(str, get_args(kind)))
        or (kind in FORMS and plain and re.fullmatch(FORMS[kind], text) is not None)
        for kind in _members(hint)
    )


def _value(node: Any, hint: Any, where: str) -> Any:
    """Return what stands in a file for a setting, as words would."""
    nodes, kinds = node.value if node.id == "sequence" else [node], _items(hint)
    nothing = [part for part in nodes if _kind(part) == "nothing"]
    if nothing == [node] and NoneType in _members(hint):
        return None
    if (node.id == "sequence") != bool(kinds) or any(part.id != "scalar" for part in nodes):
        expected = f"a list of {_takes(hint).removesuffix(' ...')}" if kinds else _takes(hint)
        raise UsageError(f"{where}: expected {expected}, got {_kind(node)}")
    if nothing:
        raise UsageError(f"{where}: expected {_takes(kinds[0] if kinds else hint)}, got nothing")
    if node.value == "null" and NoneType in _members(hint):
        raise UsageError(f"{where}: write null without quotes for nothing; it cannot be a text here")
    return _check(where, hint, [Quoted(part.value) if part.style else part.value for part in nodes])


def _keys(mapping: Any, prefix: str = "") -> Iterator[tuple[str, int, Any]]:
    """Yield dotted name, line and value of each key, a section before its keys."""
    for key, node in mapping.value:
        yield f"{prefix}{key.value}", key.start_mark.line + 1, node
        if node.id == "mapping":
            yield from _keys(node, f"{prefix}{key.value}.")


def _plain(node: Any) -> Any:
    """Return what stands in a file for keys whose types are not known here: texts, None, lists, mappings."""
    if node.id == "mapping":
        return {key.value: _plain(part) for key, part in node.value}
    if node.id == "sequence":
        return [_plain(part) for part in node.value]
    return None if _kind(node) == "nothing" else node.value


def _kind(node: Any) -> str:
    """Return what stands in a file, in words."""
    if node.id != "scalar":
        return {"sequence": "a list", "mapping": "a mapping"}[node.id]
    is_null = not node.style and node.value in ("", "~", "null", "Null", "NULL")
    return "nothing" if is_null else repr(node.value)


def _takes(hint: Any) -> str:
    """Return a short name of a type: INT, PATH ..., {fp32,bf16}."""
    if items := _items(hint):
        names = [_takes(kind) for kind in items if kind is not ...]
        return f"{names[0]} ..." if ... in items else " ".join(names)
    kinds = [kind for kind in _members(hint) if kind is not NoneType]
    if any(get_origin(kind) is dict for kind in kinds):
        return "KEY: VALUE"
    return "|".join(NAMES.get(kind) or "{" + ",".join(map(str, get_args(kind))) + "}" for kind in kinds)


def _items(hint: Any) -> tuple[Any, ...]:
    """Return the types of a tuple's items, `...` among them for any number; nothing for other types."""
    return next((get_args(kind) for kind in _members(hint) if get_origin(kind) is tuple), ())


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
