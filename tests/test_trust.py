"""Code from a model folder or the hub is never run, whatever a person answers when transformers asks.

The sources are only read, so that each package's own environment checks all of them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"


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
