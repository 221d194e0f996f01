"""Every package has the same rooms, and imports run one way through them.

The sources are only read, so that each package's own environment checks the arrows of all.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
MODULES = {"audio-common": "audio_common", "r1-aqa": "r1_aqa", "aac-llm": "aac_llm", "ml-clap": "ml_clap"}
APPLICATIONS = ("r1-aqa", "aac-llm", "ml-clap")

FILES = {"files", "lock"}
DATA = {"config", "data"} | FILES
MODELS = DATA | {"models", "output", "tables", "figures", "own_code", "bulk"}
MAY_IMPORT = {
    "config": {"config"},
    "files": {"config"},
    "lock": {"files"},
    "output": {"config", "files"},
    "bulk": {"config", "files", "output", "bulk"},
    "tables": FILES | {"output"},
    "figures": FILES,
    "own_code": set(),
    "data": DATA | {"output", "tables", "bulk"},
    "metrics": {"metrics"},
    "rewards": {"config", "data", "rewards", "own_code"},
    "models": MODELS,
    "evaluators": MODELS | {"metrics", "rewards", "evaluators"},
    "trainers": MODELS | {"metrics", "rewards", "evaluators", "trainers"},
    "answering": MODELS | {"rewards", "answering"},
    "correction": MODELS | {"metrics", "correction"},
    "captioning": MODELS | {"metrics", "correction", "captioning"},
    "search": MODELS | {"search"},
    "doctor": MODELS | {"metrics", "search", "doctor"},
    "serving": MODELS | {"metrics", "rewards", "answering", "correction", "captioning", "search", "serving"},
    "translate": MODELS | {"translate"},
}
"""Room -> the rooms that its modules may import; `cli`, `checks`, `quickstart` and others may import all."""

EVERY_PACKAGE_HAS = FILES | {"config", "data", "models", "trainers", "evaluators", "cli", "quickstart"}


def modules_of(package: str) -> dict[str, Path]:
    """Return dotted name -> file of every module of a package."""
    source = PACKAGES / package / "src"
    return {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in source.rglob("*.py")
    }


def imported_names(path: Path) -> Iterator[str]:
    """Yield every module and every `module.name` that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph_of(package: str) -> dict[str, set[str]]:
    """Return module -> modules of the same package that it imports."""
    modules = modules_of(package)
    return {name: (set(imported_names(path)) & set(modules)) - {name} for name, path in modules.items()}


def room_of(module: str) -> str:
    """Return the room of a dotted name, or "" for the package itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("package", MODULES)
def test_imports_have_no_circle(package: str) -> None:
    # The package's own __init__ only names things lazily, and every module imports it.
    graph = {name: found - {MODULES[package]} for name, found in graph_of(package).items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", APPLICATIONS)
def test_imports_follow_the_floor_plan(package: str) -> None:
    forbidden = [
        f"{module} -> {found}"
        for module, imported in graph_of(package).items()
        for found in sorted(imported)
        if room_of(module) in MAY_IMPORT and room_of(found) not in MAY_IMPORT[room_of(module)] | {""}
    ]
    assert not forbidden, "\n".join(forbidden)


@pytest.mark.parametrize("package", APPLICATIONS)
def test_the_rooms_are_there(package: str) -> None:
    rooms = {room_of(module) for module in modules_of(package)}
    assert rooms >= EVERY_PACKAGE_HAS
    known = EVERY_PACKAGE_HAS | set(MAY_IMPORT) | {"__main__", "checks", "command_line"}
    assert rooms - {""} <= known, "an unknown room"


@pytest.mark.parametrize("package", MODULES)
def test_no_package_imports_another(package: str) -> None:
    others = set(MODULES.values()) - {MODULES[package], "audio_common"}
    files = [*modules_of(package).values(), *(PACKAGES / package).glob("tests/**/*.py")]
    found = [
        f"{path}: {name}" for path in files for name in imported_names(path) if name.split(".")[0] in others
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", APPLICATIONS)
def test_settings_need_the_standard_library_alone(package: str) -> None:
    settings = {name: path for name, path in modules_of(package).items() if room_of(name) == "config"}
    allowed = {*sys.stdlib_module_names, MODULES[package]}
    found = [
        f"{name}: {imported}"
        for name, path in settings.items()
        for imported in imported_names(path)
        if imported.split(".")[0] not in allowed and not imported.startswith("audio_common.config")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", APPLICATIONS)
def test_tests_lie_in_the_rooms_of_what_they_test(package: str) -> None:
    rooms = {path.parent.name for path in (PACKAGES / package).glob("tests/*/test_*.py")}
    assert rooms <= set(MAY_IMPORT), f"no such rooms: {rooms - set(MAY_IMPORT)}"
