"""Code from a model folder or the hub is never run, and what comes from outside is read by strict readers.

The sources are only read, so that each package's own environment checks all of them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
OF_ITS_PARENT = ("decode_worker.py", "pickle", "load")
"""A process that decodes is told what to do by the one that started it, through a pipe of theirs alone."""


def loading_calls(path: Path) -> Iterator[ast.Call]:
    """Yield the calls of transformers' Auto classes that may run a folder's own code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if name.startswith("Auto") and node.func.attr in ("from_pretrained", "from_config"):
            yield node


def is_refusing(call: ast.Call) -> bool:
    return any(
        word.arg == "trust_remote_code" and isinstance(word.value, ast.Constant) and word.value.value is False
        for word in call.keywords
    )


@pytest.mark.parametrize("package", ["aac-llm", "ml-clap", "r1-aqa"])
def test_every_model_is_loaded_without_its_own_code(package: str) -> None:
    calls = [
        (path, call)
        for folder in ("src", "benchmarks")
        for path in sorted((PACKAGES / package / folder).rglob("*.py"))
        for call in loading_calls(path)
    ]
    assert calls
    trusting = [
        f"{path.relative_to(PACKAGES)}:{call.lineno}" for path, call in calls if not is_refusing(call)
    ]
    assert not trusting


@pytest.mark.parametrize("package", ["aac-llm", "audio-common", "ml-clap", "r1-aqa"])
def test_json_is_read_by_the_strict_reader_alone(package: str) -> None:
    elsewhere = [
        f"{path.relative_to(PACKAGES)}:{node.lineno}"
        for path in sorted((PACKAGES / package / "src").rglob("*.py"))
        if path.name != "strict_json.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("load", "loads")
        and getattr(node.value, "id", "") == "json"
    ]
    assert not elsewhere


@pytest.mark.parametrize("package", ["aac-llm", "audio-common", "ml-clap", "r1-aqa"])
def test_no_pickle_is_read(package: str) -> None:
    for path in sorted((PACKAGES / package / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner, name = getattr(node.func.value, "id", ""), node.func.attr
            place = f"{path.relative_to(PACKAGES)}:{node.lineno}"
            words = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if (path.name, owner, name) != OF_ITS_PARENT:
                assert owner not in ("pickle", "dill", "joblib") or name == "dumps", place
            if (owner, name) == ("torch", "load"):
                assert words.get("weights_only") is True, place
            if (owner, name) == ("np", "load"):
                assert words.get("allow_pickle", False) is False, place


@pytest.mark.parametrize("package", ["aac-llm", "ml-clap", "r1-aqa"])
def test_every_download_can_be_pinned(package: str) -> None:
    unpinned = [
        f"{path.relative_to(PACKAGES)}:{call.lineno}"
        for path in sorted((PACKAGES / package / "src").rglob("*.py"))
        for call in loading_calls(path)
        if call.func.attr == "from_pretrained"  # type: ignore[attr-defined]
        and not any(word.arg in ("revision", None) for word in call.keywords)
    ]
    assert not unpinned
