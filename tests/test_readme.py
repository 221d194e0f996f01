"""What the README files and docs tell a reader to do works: Python blocks run, commands parse, chains run.

A package's README is one chain: its commands run in the order of the page, in one folder, each on the files
of those before, and after a quickstart also the commands that it prints last. `make_inputs` of
`packages/NAME/tests/readme_inputs.py` makes the recordings and data sets that the page presumes. The line
before a block may say:

- `<!-- no-run: reason -->`: it needs what a test does not have (weights, a GPU); commands are still parsed.
- `<!-- run-with: quickstart --steps 4; train --max_steps 2 -->`: run these verbs with these flags added, so
  that a test has the time.

Run in each package's environment: a Python block belongs to the packages that
it imports, a command to the package of that name; what belongs to a package not installed there is left out.
"""

import ast
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "packages/*/README.md", "packages/*/*/README.md")
    for page in ROOT.glob(pattern)
)
FENCE = re.compile(r"(?P<note><!--[^\n]*-->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.S)
PACKAGES = {"ml-clap": "ml_clap", "aac-llm": "aac_llm", "r1-aqa": "r1_aqa"}
"""Command -> the module whose `cli` reads it."""
SYSTEM = ("tar",)
"""Commands of the system that pages make files with."""
LAUNCHERS = re.compile(
    r"^(?:[A-Z_]+=\S+ |uv run (?:--isolated )?--package \S+ (?:--group \S+ |--extra \S+ )*"
    r"|accelerate launch (?:--\S+ (?:\d+ |\S+\.yaml )?)*(?:-m )?)*"
)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(m["note"] or "", m["body"]) for m in FENCE.finditer(text) if m["language"] == language]


def commands(page: Path) -> list[list[str]]:
    """Every command of the page's sh blocks as words, line continuations joined, launchers taken off."""
    return [words for _, words in commands_with_notes(page)]


def commands_with_notes(page: Path) -> list[tuple[str, list[str]]]:
    """Every command of the page's sh blocks, with the remark before its block."""
    found = []
    for note, body in blocks(page, "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            line = LAUNCHERS.sub("", line.split(" #")[0].strip())
            for command in line.split(" && "):
                words = shlex.split(command, comments=True)
                if words:
                    found.append((note, words))
    return found


def chain(page: Path, command: str) -> list[list[str]]:
    """Every command of a package, or of the system, that its page says to run; with what `run-with` adds."""
    return [
        [words[0], *with_additions(words[1:], note)]
        for note, words in commands_with_notes(page)
        if words[0] in (command, *SYSTEM) and "no-run" not in note
    ]


def with_additions(words: list[str], note: str) -> list[str]:
    added = re.search(r"run-with:(.*?)-->", note, re.S)
    for part in added[1].split(";") if added else ():
        verb, _, flags = part.strip().partition(" --")
        if words[: len(verb.split())] == verb.split():
            words = [*words, *shlex.split(f"--{flags}")]
    return words


def is_installed(code: str) -> bool:
    """Whether all of our packages that a Python block imports are here."""
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module or "" for node in imports if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    ours = {name.split(".")[0] for name in names} & {"audio_common", *PACKAGES.values()}
    return all(find_spec(name) for name in ours)


def test_there_are_pages() -> None:
    assert Path("README.md") in PAGES
    assert any(commands(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    runnable = [body for note, body in blocks(page, "python") if "no-run" not in note and is_installed(body)]
    if not runnable:
        pytest.skip("no Python on this page that can run here")
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(runnable), encoding="utf-8")
    result = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", PACKAGES)
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_parse(page: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(PACKAGES[command]) is None:
        pytest.skip(f"{command} is not installed here")
    shown = [words[1:] for words in commands(page) if words[0] in (command, PACKAGES[command])]
    if not shown:
        pytest.skip(f"no {command} on this page")
    read = import_module(f"{PACKAGES[command]}.cli").read
    monkeypatch.chdir(ROOT)
    for words in shown:
        read(words)


@pytest.mark.slow
@pytest.mark.parametrize("command", PACKAGES)
def test_every_command_of_the_readme_runs_on_the_files_of_those_before(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_spec(PACKAGES[command]) is None:
        pytest.skip(f"{command} is not installed here")
    run_path(str(ROOT / "packages" / command / "tests" / "readme_inputs.py"))["make_inputs"](tmp_path)
    monkeypatch.chdir(tmp_path)
    for program, *words in chain(Path("packages", command, "README.md"), command):
        if program in SYSTEM:
            subprocess.run([program, *words], check=True)
            continue
        printed = run_command(command, words, capsys)
        if words[0] == "quickstart":
            shown = [
                shlex.split(line)[1:] for line in printed.splitlines() if line.startswith(f"  {command} ")
            ]
            assert shown, f"{command} quickstart ends without a next step"
            for following in shown:
                if following[0] == "serve":  # until Ctrl-C; the tests of serving run it
                    import_module(f"{PACKAGES[command]}.cli").read(following)
                else:
                    run_command(command, following, capsys)


def run_command(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command in this process, and return what it prints; anything but exit code 0 fails."""
    try:
        import_module(f"{PACKAGES[command]}.cli").main(words)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    assert code == 0, f"{shlex.join([command, *words])} ended with {code}:\n{printed.err[-3000:]}"
    return printed.out


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_named_files_exist(page: Path) -> None:
    named = [word for words in commands(page) for word in words if re.match(r"(packages|docs|tests)/", word)]
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [word for word in named if not (ROOT / word).exists()]
    missing += [link for link in links if not (ROOT / page.parent / link).exists()]
    assert not missing, f"{page} names what is not there: {missing}"


def test_nox_sessions_named_in_the_pages_exist() -> None:
    source = (ROOT / "noxfile.py").read_text()
    sessions = set(re.findall(r'name="([\w-]+)"', source))
    sessions |= set(re.findall(r"@nox\.session(?:\(default=False\))?\n(?:@.*\n)*def (\w+)", source))
    named = {w[w.index("-s") + 1] for page in PAGES for w in commands(page) if "nox" in w and "-s" in w}
    named |= {
        name for page in PAGES for name in re.findall(r"`uvx nox -s ([\w-]+)`", (ROOT / page).read_text())
    }
    assert named, "no page shows how to test one package"
    assert named <= sessions
