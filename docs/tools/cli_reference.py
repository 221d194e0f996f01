"""Write the reference of a command line from its code: `python docs/tools/cli_reference.py ml-clap`.

Run it in the package's environment. Without a name it writes the pages of all packages that are installed
there. The pages are committed; `tests/test_docs.py` compares them with the code.
"""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PAGES = Path(__file__).resolve().parent.parent / "reference"
MODULES = {"ml-clap": "ml_clap", "aac-llm": "aac_llm", "r1-aqa": "r1_aqa"}
"""Command -> its module."""
HEAD = """\
# {name}: every verb and flag

<!-- Written by docs/tools/cli_reference.py from the code: change docstrings in config/, and run it again. -->

{purpose}

Every flag is also a key of the YAML file that `--config` names, where `--data.train` is `train` below
`data`; `{name} VERB --print_config` prints such a file. A flag of many values takes all words up to the next
flag. Every verb takes `--config NAME|FILE`, `--print_config`, `-q` (warnings, errors and results alone), `-v`
(more), `--traceback`, `--version` and `--help`, and ends with 0 (done), 1 (done but for some items, which are
listed), 2 (refused, in one line), 70 (a fault of ours) or 130 (interrupted).

| verb | what it does |
|---|---|
{verbs}
"""


def page(name: str) -> str:
    """Return the reference of a package as Markdown."""
    program = import_module(f"{MODULES[name]}.cli").PROGRAM
    rows = [f"| [`{verb.name}`](#{anchor(name, verb)}) | {cell(summary(verb))} |" for verb in program.verbs]
    head = HEAD.format(name=name, purpose=program.purpose, verbs="\n".join(rows))
    return "\n".join([head, *(section(name, verb) for verb in program.verbs)])


def section(name: str, verb: Any) -> str:
    """Return a verb's purpose, example and flags."""
    options = verb.options
    actions = {action.dest: action for action in options.parser._actions}
    order = {dest: place for place, dest in enumerate(options.positional)}
    flags = [
        item(dest, actions[dest], options)
        for dest in sorted(options.hints, key=lambda dest: order.get(dest, len(order)))
    ]
    lines = [
        f"## {name} {verb.name}",
        "",
        "\n".join(escaped(line) for line in inspect.getdoc(verb.settings).splitlines()),
        "",
        "```text",
        options.usage(),
        f"{name} {verb.example}",
        "```",
        "",
        *flags,
        "",
    ]
    return "\n".join(lines)


def item(dest: str, action: Any, options: Any) -> str:
    """Return a flag's line: how it is written, what it means, and its default."""
    flag = dest.upper() if dest in options.positional else f"--{dest}"
    if dest in options.open:
        flag = f"--{dest}.KEY"
    return f"- `{flag}` `{action.metavar}`: {escaped(options.helps[dest])}{default(dest, action, options)}"


def default(dest: str, action: Any, options: Any) -> str:
    """Return a sentence about a default, or that there is none."""
    if dest in options.needed:
        return " **Required.**"
    value = action.default
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, bool):
        return f" *Default:* `{str(value).lower()}`"
    words = " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return f" *Default:* `{words}`" if words else ""


def summary(verb: Any) -> str:
    """Return the first sentence of a verb's description."""
    return inspect.getdoc(verb.settings).splitlines()[0].rstrip(".")


def anchor(name: str, verb: Any) -> str:
    """Return the address of a verb's heading within the page."""
    return re.sub(r"[^\w-]+", "-", f"{name} {verb.name}").lower()


def cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return escaped(" ".join(text.split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """Return a text whose `<` is no HTML, except within backticks, where Markdown sees to it."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def main() -> None:
    """Write the pages of the named packages, or of all that are installed."""
    names = sys.argv[1:] or [name for name, module in MODULES.items() if find_spec(module)]
    PAGES.mkdir(exist_ok=True)
    for name in names:
        path = PAGES / f"cli-{name}.md"
        path.write_text(page(name), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
