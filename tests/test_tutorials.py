"""The tutorials do what they say: each runs from first line to last, on the files of the lines before.

A line of an `sh` block is run as a reader would: commands of the package in this process, all else by
bash, in an empty folder beside the repository's `packages`. A `text` block after it is what the reader
sees: each of its lines must have been printed, but for numbers and spaces; `...` stands for lines that are
left out. The line before a block may say:

- `<!-- run-with: train --max_steps 2 -->`: add these flags, so that a test has the time (see test_readme.py);
- `<!-- no-run: reason -->`: only see that the package's commands parse;
- `<!-- exits 1: reason -->`: the command ends with this exit code, which the page explains;
- `<!-- varies: reason -->`: what is shown depends on how long was trained; it is not compared.

The sounds are those of Debian's package sonic-pi-samples (public domain), which `.ci/run` installs.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_readme import FENCE, LAUNCHERS, PACKAGES, with_additions

ROOT = Path(__file__).resolve().parent.parent
PAGES = {command: ROOT / "docs" / "tutorials" / f"{command}.md" for command in PACKAGES}
SAMPLES = Path("/usr/share/sonic-pi/samples")
HEREDOC = re.compile(r"<<'(\w+)'")


@pytest.mark.slow
@pytest.mark.parametrize("command", PACKAGES)
def test_a_tutorial_runs_from_its_first_line_to_its_last(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if find_spec(PACKAGES[command]) is None:
        pytest.skip(f"{command} is not installed here")
    if not SAMPLES.is_dir():
        pytest.skip(f"no sounds in {SAMPLES}: apt-get install sonic-pi-samples")
    (tmp_path / "packages").symlink_to(ROOT / "packages")
    monkeypatch.chdir(tmp_path)
    printed, compared = "", 0
    for note, language, body in blocks(PAGES[command]):
        if "no-run" in note:
            continue
        if language == "sh":
            printed = "".join(run(command, words, note, capfd) for words in statements(body, command))
        elif language == "text" and "varies" not in note:
            compared += 1
            missing = unprinted(body, printed)
            assert not missing, f"{PAGES[command].name} shows what is not printed: {missing}\n{printed}"
    assert compared, f"{PAGES[command].name} shows nothing that can be compared"


@pytest.mark.parametrize("command", PACKAGES)
def test_commands_of_a_tutorial_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(PACKAGES[command]) is None:
        pytest.skip(f"{command} is not installed here")
    read = import_module(f"{PACKAGES[command]}.cli").read
    monkeypatch.chdir(ROOT)
    shown = [words for _, language, body in blocks(PAGES[command]) for words in statements(body, command)]
    commands = [words[1:] for words in shown if words[0] == command]
    assert commands
    for words in commands:
        read(words)


def test_the_tutorials_take_the_same_sounds_which_ci_installs() -> None:
    folders = {
        body
        for page in PAGES.values()
        for _, _, body in blocks(page)
        if str(SAMPLES) in body and "cp " in body
    }
    assert len(folders) == 1
    names = {
        name
        for page in PAGES.values()
        for name in re.findall(r"apt-get install (\S+)", page.read_text(encoding="utf-8"))
    }
    assert names == {"sonic-pi-samples"}
    assert "sonic-pi-samples" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [*PAGES.values(), ROOT / "docs" / "tutorials" / "index.md"], ids=lambda p: p.name
)
def test_links_of_a_tutorial_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert links
    assert not missing


def test_a_line_that_is_not_printed_is_found() -> None:
    printed = "clips   95\nsplit train  60\n"
    assert unprinted("clips 94\n...\nsplit train 60\n", printed) == []
    assert unprinted("split test 60\n", printed) == ["split test 60"]


def test_a_block_is_cut_into_commands_and_shell() -> None:
    heredoc = "cat > a <<'END'\nr1-aqa is no command here\nEND"
    answer = "r1-aqa answer a \\\n  b  # why"
    program = "uv run --package r1-aqa --group transformers-5 python c.py"
    assert list(statements("\n".join([heredoc, "awk '{print", "}'", answer, program]), "r1-aqa")) == [
        ["bash", "-ec", f"{heredoc}\nawk '{{print\n}}'"],
        ["r1-aqa", "answer", "a", "b"],
        ["python", "c.py"],
    ]


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return note, language and text of each block of a page."""
    text = page.read_text(encoding="utf-8")
    return [(m["note"] or "", m["language"], m["body"]) for m in FENCE.finditer(text)]


def statements(body: str, command: str) -> Iterator[list[str]]:
    """Yield a block's statements as words: commands of the package, Python programs, the rest for bash."""
    shell: list[str] = []
    lines = iter(body.splitlines())
    for line in lines:
        plain = LAUNCHERS.sub("", line)
        if plain.split(" ")[0] in (command, "python"):
            if shell:
                yield ["bash", "-ec", "\n".join(shell)]
                shell = []
            while plain.endswith("\\"):
                plain = plain[:-1] + next(lines)
            yield shlex.split(plain, comments=True)
            continue
        shell.append(line)
        if heredoc := HEREDOC.search(line):
            while shell[-1] != heredoc[1]:
                shell.append(next(lines))
    if shell:
        yield ["bash", "-ec", "\n".join(shell)]


def run(command: str, words: list[str], note: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Run a statement, and return all that it prints; another exit code than the page says, or 0, fails."""
    expected = re.search(r"exits (\d+)", note)
    if words[0] == command:
        words = [command, *with_additions(words[1:], note)]
        try:
            import_module(f"{PACKAGES[command]}.cli").main(words[1:])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    else:
        if words[0] == "python":
            words = [sys.executable, *with_additions(words, note)[1:]]
        code = subprocess.run(words, env=os.environ | {"COLUMNS": "80"}).returncode
    output = capfd.readouterr()
    assert code == int(expected[1] if expected else 0), (
        f"{shlex.join(words)} ended with {code}:\n{output.out[-2000:]}{output.err[-3000:]}"
    )
    return output.out + output.err


def unprinted(shown: str, printed: str) -> list[str]:
    """Return the lines of `shown` that are not among the printed ones, numbers and spaces aside."""
    seen = {plain_line(line) for line in re.split(r"[\r\n]", printed)}
    return [line for line in shown.splitlines() if line.strip() != "..." and plain_line(line) not in seen]


def plain_line(line: str) -> str:
    return re.sub(r"\d[\d,.:]*", "0", " ".join(line.split()))
