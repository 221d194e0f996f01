"""Every message of docs/troubleshooting.md is one that the code has, and those that are cheap are raised.

`…` stands for what differs. The sources are only read, so that each environment checks the messages of all
packages; what is run is of the package that is installed in it.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "troubleshooting.md"
ANY = "…"
LONGEST = 600
"""Letters of a message; longer texts are docstrings, pages and scripts."""
NAMES = {"r1-aqa": "r1_aqa", "aac-llm": "aac_llm", "ml-clap": "ml_clap"}
HERE = [name for name, module in NAMES.items() if find_spec(module) is not None]

RAISED = {
    "unknown verb …": "dance",
    "write the verb first, then …": "--out x",
    "unknown flag …": "quickstart --zzz 1",
    "… needs a value: … (or …=VALUE if it begins with -)": "quickstart --out",
    "…: expected …, got …": "quickstart --seed x",
    "… missing…; usage: …": "evaluate",
    "unexpected word …": "quickstart word",
    "--config: there is no file …": "train{kind} --config nothing",
    "… unknown key …": "train{kind} --config unknown.yaml",
    "… is there twice, first in line …": "train{kind} --config twice.yaml",
    "…: expected settings as `key: value`, got …": "train{kind} --config list.yaml",
    "--print_completion: expected one of …, got …": "--print_completion dash",
    "there is no file …": "evaluate gone.jsonl --model a/b{out}",
    "… is a folder; a file is needed": "{file_of_folder}",
    "… is a …; the output needs a …": "quickstart --out unknown.yaml",
    "there is no model folder …": "evaluate m.jsonl --model runs/gone{out}",
}
"""Message -> the command that raises it, in every package."""
RAISED_BY = {
    "r1-aqa": {
        "… what? One of: …": "train",
        "…; known benchmarks: …": "evaluate gone --out o --model a/b",
        "… is no model: it has neither …, nor has a best/ or last/ in it": "answer m.jsonl what --model .",
    },
    "aac-llm": {
        "… is no captioner: it has no …, nor has a best/ or last/ in it": "caption m.jsonl --model . --out o",
    },
    "ml-clap": {
        "… is no model: there is no … in it, nor in a best/ or last/ of it": "evaluate m.jsonl --model .",
        "… is no index: `ml-clap index` makes one": "search . dog",
        "query: nothing to search for; give a text, --audio FILE or --queries FILE": "search .",
    },
}
VALUES = {
    "r1-aqa": {
        "kind": " grpo",
        "out": " --out o",
        "file_of_folder": "prepare avqa . --audio . --out o.jsonl",
    },
    "aac-llm": {"kind": "", "out": "", "file_of_folder": "prepare jsonl . --out o.jsonl"},
    "ml-clap": {"kind": "", "out": "", "file_of_folder": "evaluate . --model a/b"},
}


def messages() -> list[str]:
    """Return the messages of the page."""
    rows = [re.match(r"\| `(.+)` \| [^|]*\| [^|]*\|$", line) for line in PAGE.read_text("utf-8").splitlines()]
    return [row[1] for row in rows if row]


def templates() -> Iterator[str]:
    """Yield every text of the sources, with `…` for what is put into it."""
    for path in sorted(ROOT.glob("packages/*/src/**/*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else ANY for part in node.values)


def has(text: str, message: str) -> bool:
    """Tell whether a text has the parts of a message that do not differ, in their order."""
    place = 0
    for part in filter(None, (part.strip() for part in message.split(ANY))):
        place = text.find(part, place) + len(part)
        if place < len(part):
            return False
    return True


def test_the_page_has_messages() -> None:
    assert len(messages()) > 80
    assert len(set(messages())) == len(messages())


def test_every_message_is_in_the_code() -> None:
    texts = {text for text in templates() if len(text) < LONGEST}
    unknown = [message for message in messages() if not any(has(text, message) for text in texts)]
    assert not unknown, "\n".join(unknown)


def test_what_the_hub_and_the_system_refuse_is_on_the_page() -> None:
    path = ROOT / "packages/r1-aqa/src/r1_aqa/command_line/failures.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    [hub] = [node.value for node in assigned if getattr(node.targets[0], "id", "") == "HUB"]
    missing = {value.value for value in hub.values} - set(messages())
    assert not missing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name."""
    folder = tmp_path_factory.mktemp("trouble")
    (folder / "unknown.yaml").write_text("sede: 1\n")
    (folder / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (folder / "list.yaml").write_text("- seed\n")
    row = {
        "id": "1",
        "audio": "a.wav",
        "captions": ["x"],
        "question": "?",
        "choices": ["x", "y"],
        "answer": "x",
    }
    (folder / "m.jsonl").write_text(json.dumps(row) + "\n")
    return folder


@pytest.mark.parametrize("name", HERE)
def test_messages_are_raised(name: str, folder: Path) -> None:
    """All commands in one process: each would import the same again."""
    raised = {message: words.format(**VALUES[name]) for message, words in RAISED.items()} | RAISED_BY[name]
    assert set(raised) <= set(messages())
    script = """
import contextlib, importlib, io, json, sys
main = importlib.import_module(sys.argv[1] + ".cli").main
said = {}
for message, words in json.loads(sys.argv[2]).items():
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(errors):
        try:
            main(words.split())
        except SystemExit as stop:
            print("exit code", stop.code)
    said[message] = errors.getvalue()
print(json.dumps(said))
"""
    words = [sys.executable, "-c", script, NAMES[name], json.dumps(raised)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    wrong = {m: text for m, text in said.items() if not has(text, m) or "exit code 2" not in text}
    assert not wrong, "\n".join(f"{raised[m]}\n  expected {m}\n  got {text}" for m, text in wrong.items())
