"""What the README files and docs tell a reader to do works: Python blocks run, commands parse.

A block whose line before says `<!-- no-run: reason -->` needs what a test does not have (weights, data).
Its commands are still parsed. Run in each package's environment; pages of packages not installed there skip.
"""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "packages/*/README.md", "packages/*/*/README.md")
    for page in ROOT.glob(pattern)
)
FENCE = re.compile(r"(?P<note><!--[^\n]*-->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.S)
LAUNCHERS = re.compile(
    r"^(?:[A-Z_]+=\S+ |uv run (?:--isolated )?--package \S+ (?:--group \S+ |--extra \S+ )*"
    r"|accelerate launch (?:-\S+ (?:\d+ )?)*(?:-m |\$\(which )?)*"
)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(m["note"] or "", m["body"]) for m in FENCE.finditer(text) if m["language"] == language]


def commands(page: Path) -> list[list[str]]:
    """Every command of the page's sh blocks as words, line continuations joined, launchers taken off."""
    found = []
    for _, body in blocks(page, "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            line = LAUNCHERS.sub("", line.split(" #")[0].strip()).replace("ml_clap)", "ml-clap")
            for command in line.split(" && "):
                words = shlex.split(command, comments=True)
                if words:
                    found.append(words)
    return found


def needs(page: Path) -> str:
    return "audio_common" if "audio-common" in page.parts else "ml_clap"


def test_there_are_pages() -> None:
    assert Path("README.md") in PAGES
    assert any(commands(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    if find_spec(needs(page)) is None:
        pytest.skip(f"{needs(page)} is not installed here")
    runnable = [body for note, body in blocks(page, "python") if "no-run" not in note]
    if not runnable:
        pytest.skip("no runnable Python on this page")
    script = tmp_path / "blocks.py"
    script.write_text("\n".join(runnable), encoding="utf-8")
    result = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_ml_clap_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("ml_clap") is None:
        pytest.skip("ml-clap is not installed here")
    from ml_clap.cli import build_parser

    monkeypatch.chdir(ROOT)  # configs are named from the root
    for words in commands(page):
        if words[0] in ("ml-clap", "ml_clap"):
            build_parser().parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_named_files_exist(page: Path) -> None:
    named = [word for words in commands(page) for word in words if re.match(r"(packages|docs|tests)/", word)]
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [word for word in named if not (ROOT / word).exists()]
    missing += [link for link in links if not (ROOT / page.parent / link).exists()]
    assert not missing, f"{page} names what is not there: {missing}"


def test_nox_sessions_named_in_the_pages_exist() -> None:
    sessions = set(re.findall(r'name="([\w-]+)"', (ROOT / "noxfile.py").read_text()))
    sessions |= set(re.findall(r"@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text()))
    named = {w[w.index("-s") + 1] for page in PAGES for w in commands(page) if "nox" in w and "-s" in w}
    named |= {
        name for page in PAGES for name in re.findall(r"`uvx nox -s ([\w-]+)`", (ROOT / page).read_text())
    }
    assert named, "no page shows how to test one package"
    assert named <= sessions
