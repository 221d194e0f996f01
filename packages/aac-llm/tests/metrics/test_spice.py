"""SPICE through its jar: what is missing is named, and every Java gets what it needs."""

import json
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from aac_llm.metrics.java import CORENLP_JARS, GET_CORENLP, JavaError, find_java
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.spice import (
    MAIN_CLASS,
    OUTPUT_ENGINE,
    class_path_flags,
    find_spice,
    input_record,
    read_scores,
    spice,
)

STUBS = {
    "semgraph/semgrex/SemgrexPattern.java": "public class SemgrexPattern "
    "{ public static SemgrexPattern compile(String text) { return new SemgrexPattern(); } }",
    "semgraph/semgrex/SemgrexMatcher.java": "public class SemgrexMatcher {}",
    "semgraph/SemanticGraph.java": "public class SemanticGraph {}",
    "ling/IndexedWord.java": "public class IndexedWord {}",
    "trees/UniversalEnglishGrammaticalRelations.java": "public class UniversalEnglishGrammaticalRelations {}",
}
"""What SPICE's classes want of CoreNLP merely to be loaded."""


@pytest.fixture
def jars(tmp_path):
    """A folder with every jar in name."""
    library = tmp_path / "jars" / "spice" / "lib"
    library.mkdir(parents=True)
    for name in ("fst-2.47.jar", *CORENLP_JARS):
        (library / name).write_bytes(b"jar")
    (library.parent / "spice-1.0.jar").write_bytes(b"jar")
    return tmp_path / "jars"


def fake_java(folder: Path, scores: str) -> Path:
    """Stands for Java with SPICE, which cannot run here: keeps its arguments and writes the given scores."""
    body = (
        f"#!{sys.executable}\nimport sys\n"
        "if '-version' in sys.argv: sys.exit(print('openjdk version \"21.0.1\"'))\n"
        f"open({str(folder / 'arguments')!r}, 'w').write('\\n'.join(sys.argv))\n"
        f"source = sys.argv[sys.argv.index({MAIN_CLASS!r}) + 1]\n"
        f"open({str(folder / 'input')!r}, 'w').write(open(source).read())\n"
        f"open(sys.argv[sys.argv.index('-out') + 1], 'w').write({scores!r})\n"
    )
    program = folder / "java"
    program.write_text(body)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def row(number, f):
    return {"image_id": number, "scores": {"All": {"f": f, "pr": 1.0, "re": 0.1}, "Color": {"f": None}}}


def test_scores_come_back_in_the_order_of_the_clips(jars, tmp_path):
    java = fake_java(tmp_path, json.dumps([row(1, 0.25), row(0, 0.5), row(2, None)]))
    found = spice(["a b", "c\nd", "é"], [["x"], ["y", "z"], ["w"]], jars=jars, java=java)
    np.testing.assert_array_equal(found, [0.5, 0.25, 0.0])
    given = json.loads((tmp_path / "input").read_text())
    assert given[1] == {"image_id": 1, "test": "c d", "refs": ["y", "z"]}
    assert "\\u00e9" in (tmp_path / "input").read_text(), "SPICE reads the file in the machine's encoding"


def test_the_cache_that_breaks_on_new_javas_is_not_used(jars, tmp_path):
    spice(["a"], [["a"]], jars=jars, java=fake_java(tmp_path, json.dumps([row(0, 1.0)])))
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert "-cache" not in arguments
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in arguments
    assert str(OUTPUT_ENGINE) in arguments[arguments.index("-cp") + 1]


def test_java_8_gets_neither_flags_nor_an_engine_that_it_does_not_need():
    assert class_path_flags([Path("a.jar")], 8) == ["-cp", "a.jar"]


def test_scores_that_cannot_be_read_are_an_error(jars, tmp_path):
    with pytest.raises(JavaError, match="no scores that can be read"):
        spice(["a"], [["a"]], jars=jars, java=fake_java(tmp_path, "nothing"))
    (tmp_path / "scores.json").write_text(json.dumps([row(0, 1.0)]))
    with pytest.raises(JavaError, match="left 1 of 2 clips out; the first is number 1"):
        read_scores(tmp_path / "scores.json", 2)


def test_missing_corenlp_is_named_with_the_command_that_gets_it(jars):
    (jars / "spice" / "lib" / CORENLP_JARS[1]).unlink()
    with pytest.raises(MissingMetricError, match=r"3\.6\.0-models\.jar was not found") as error:
        find_spice(jars, shutil.which("python3"))
    assert GET_CORENLP in error.value.remedy


def test_corenlp_may_lie_beside_nothing_else_in_a_folder_of_jars(jars, tmp_path):
    if find_spec("pycocoevalcap") is None:
        pytest.skip("needs the extra `java`")
    alone = tmp_path / "corenlp"
    alone.mkdir()
    for name in CORENLP_JARS:
        (alone / name).write_bytes(b"jar")
    _, path = find_spice(alone, shutil.which("python3"))
    assert path[0].name == "spice-1.0.jar"
    assert path[1:3] == [alone / name for name in CORENLP_JARS]
    assert any(entry.name == "Meteor-1.5.jar" for entry in path)


def test_clips_without_references_are_refused():
    with pytest.raises(ValueError, match="at least one reference"):
        input_record(["a"], [[]])


@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
def test_the_engine_hands_json_over_on_this_java():
    command = [find_java(), "-cp", OUTPUT_ENGINE, "aac_llm.SpiceOutput", '[{"f": 1}]']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "".join(done.stdout.split()) == '[{"f":1}]', done.stderr


@pytest.mark.skipif(
    not (shutil.which("javac") and find_spec("pycocoevalcap")), reason="needs a JDK and the extra `java`"
)
def test_the_real_jar_runs_to_its_end_and_writes_on_this_java(tmp_path):
    sources = []
    for name, body in STUBS.items():
        path = tmp_path / "edu" / "stanford" / "nlp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        package = ".".join(("edu/stanford/nlp/" + name).split("/")[:-1])
        path.write_text(f"package {package}; {body}")
        sources.append(path)
    subprocess.run(["javac", "-d", tmp_path / "jars", *sources], check=True, timeout=120)
    (tmp_path / "in.json").write_text("[]")
    spec = find_spec("pycocoevalcap")
    folder = Path(spec.submodule_search_locations[0]) / "spice"
    path = [folder / "spice-1.0.jar", tmp_path / "jars", *(folder / "lib").glob("*.jar")]
    command = ["java", *class_path_flags(path, 17), MAIN_CLASS, "in.json", "-out", "out.json", "-subset"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (tmp_path / "out.json").is_file(), done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == []
