"""The documentation is what the code is: its references are written from it, its tables and pictures name it.

Links, anchors and the site's navigation are checked by `mkdocs build --strict` (`uvx nox -s docs`).
"""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MODULES = {"ml-clap": "ml_clap", "aac-llm": "aac_llm", "r1-aqa": "r1_aqa", "audio-common": "audio_common"}
APPLICATIONS = [name for name in MODULES if name != "audio-common"]
FIELD_TABLE = re.compile(r"<!-- fields: (?P<package>\S+) (?P<name>\w+) -->\n(?P<table>(?:\|.*\n)+)")


def source(package: str) -> Path:
    return ROOT / "packages" / package / "src" / MODULES[package]


@pytest.mark.parametrize("package", APPLICATIONS)
def test_the_reference_of_commands_is_what_the_code_says(package: str) -> None:
    if find_spec(MODULES[package]) is None:
        pytest.skip(f"{package} is not installed here")
    written = run_path(str(DOCS / "tools" / "cli_reference.py"))["page"](package)
    page = DOCS / "reference" / f"cli-{package}.md"
    hint = f"run `python docs/tools/cli_reference.py {package}` in {package}'s environment"
    assert page.read_text(encoding="utf-8") == written, hint


@pytest.mark.parametrize("package", MODULES)
def test_the_reference_of_python_has_every_public_name(package: str) -> None:
    page = (DOCS / "reference" / f"api-{package}.md").read_text(encoding="utf-8")
    shown = set(re.findall(rf"^::: {MODULES[package]}\.(\w+)$", page, re.M))
    assert shown >= set(public_names(source(package) / "__init__.py"))


def public_names(init: Path) -> list[str]:
    """`__all__` of a package, read and not imported."""
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{init} has no __all__")


DIAGRAMS = run_path(str(DOCS / "tools" / "diagrams.py"))


@pytest.mark.parametrize("diagram", DIAGRAMS["DIAGRAMS"], ids=lambda diagram: diagram.package)
def test_a_diagram_is_drawn_from_its_description(diagram: Any) -> None:
    picture = DOCS / f"architecture-{diagram.package}.svg"
    assert picture.read_text(encoding="utf-8") == DIAGRAMS["draw"](diagram), "python docs/tools/diagrams.py"


@pytest.mark.parametrize("diagram", DIAGRAMS["DIAGRAMS"], ids=lambda diagram: diagram.package)
def test_every_file_that_a_diagram_names_exists(diagram: Any) -> None:
    for box in diagram.boxes.values():
        package, path = diagram.package, box.file
        if path.startswith("audio_common/"):
            package, path = "audio-common", path.removeprefix("audio_common/")
        assert (source(package) / path).exists(), box.file


def test_every_recipe_has_its_hardware_and_hours() -> None:
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    recipes = {path.name for path in ROOT.glob("packages/*/src/*/recipes/*.yaml")}
    assert recipes
    assert not [name for name in recipes if f"`{name}`" not in page]


def test_tables_of_keys_have_every_field() -> None:
    tables = list(FIELD_TABLE.finditer((DOCS / "data-formats.md").read_text(encoding="utf-8")))
    assert len(tables) == 4
    for match in tables:
        first = "\n".join(line.split("|")[1] for line in match["table"].splitlines())
        shown = set(re.findall(r"`(\w+)`", first))
        fields = fields_of(match["package"], match["name"])
        assert shown == fields, f"{match['package']} {match['name']}"


def fields_of(package: str, name: str) -> set[str]:
    """Return the fields of a dataclass, read and not imported."""
    for path in source(package).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == name and node.decorator_list:
                return {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
    raise AssertionError(f"{package} has no dataclass {name}")


def test_the_readme_of_the_root_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 75, "a screen and a half"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_a_page_names_no_path_of_somebodys_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(root|home|work|tmp)/", text)
