"""What `audio_common` and its scenes export is there, and importing them costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import audio_common
import audio_common.scenes
import pytest


@pytest.mark.parametrize("package", [audio_common, audio_common.scenes])
def test_every_public_name_can_be_had(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    modules = ", ".join(f"audio_common.{name}" for name in ("check", "config", "files", "prefetch", "scenes"))
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'numpy'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_module_imports_itself_through_others() -> None:
    root = Path(audio_common.__file__).parent
    imports: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        if path.name != "__init__.py":
            tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            imports[name] = {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
    while leaves := {name for name, others in imports.items() if not others & imports.keys()}:
        for name in leaves:
            del imports[name]
    assert not imports
