"""Java and the jars: found anywhere, and named with a command when missing."""

import itertools
import os
import stat
import sys
from pathlib import Path

import pytest
from aac_llm.metrics import java
from aac_llm.metrics.java import JavaError, find_jar, find_java, java_version, open_packages, run_java
from aac_llm.metrics.meteor import find_meteor
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.spice import find_spice

if os.name == "nt":
    pytest.skip("the programs of these tests are scripts with a #! line", allow_module_level=True)


def write_program(path: Path, body: str) -> Path:
    """A Python script that stands where a Java executable would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport sys, time, os\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def no_java(monkeypatch, tmp_path):
    for name in (java.JAVA_VARIABLE, java.JARS_VARIABLE, "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('java version "1.8.0_312"', 8),
        ('openjdk version "11.0.2" 2019-01-15', 11),
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('Picked up _JAVA_OPTIONS: -Xmx1g\nopenjdk version "25.0.3" 2026-04-21 LTS', 25),
    ],
)
def test_every_way_of_writing_a_version_is_understood(text, version):
    assert java.parse_java_version(text) == version


def test_a_program_that_is_no_java_is_refused(tmp_path):
    with pytest.raises(JavaError, match="expected the version"):
        java_version(write_program(tmp_path / "java", "print('hello')"))


def test_a_missing_java_is_named_with_what_to_do(no_java):
    with pytest.raises(MissingMetricError, match=r"no java executable.*install Java, any version"):
        find_java()


def test_java_is_taken_from_the_flag_then_the_variable_then_java_home(no_java, tmp_path, monkeypatch):
    home = write_program(tmp_path / "home" / "bin" / "java", "")
    variable = write_program(tmp_path / "variable", "")
    flag = write_program(tmp_path / "flag", "")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == home
    monkeypatch.setenv(java.JAVA_VARIABLE, str(variable))
    assert find_java() == variable
    assert find_java(flag) == flag


def test_a_java_that_was_named_but_is_not_there_is_an_error(no_java, tmp_path):
    with pytest.raises(MissingMetricError, match=r"no Java executable at .*nowhere"):
        find_java(tmp_path / "nowhere")


def test_jars_of_a_named_folder_come_first_in_either_layout(tmp_path, monkeypatch):
    (tmp_path / "meteor").mkdir()
    for path in (tmp_path / "meteor" / "a.jar", tmp_path / "b.jar"):
        path.write_bytes(b"jar")
    assert find_jar("a.jar", ("meteor",), tmp_path, "get it") == tmp_path / "meteor" / "a.jar"
    monkeypatch.setenv(java.JARS_VARIABLE, str(tmp_path))
    assert find_jar("b.jar", ("meteor",), None, "get it") == tmp_path / "b.jar"


def test_an_empty_or_missing_jar_is_named_with_the_command(tmp_path):
    (tmp_path / "c.jar").touch()  # what a broken download leaves
    with pytest.raises(MissingMetricError, match=r"c\.jar was not found.*pip install") as error:
        find_jar("c.jar", ("meteor",), tmp_path, java.GET_JARS)
    assert error.value.remedy == 'pip install "aac-llm[java]"'


def test_a_program_gets_its_input_and_its_output_is_read_as_utf8(tmp_path):
    program = write_program(
        tmp_path / "java",
        "sys.stdout.buffer.write(sys.stdin.buffer.read().upper().replace(b'A', 'ä'.encode()))",
    )
    assert run_java(program, [], stdin="a b\n") == "ä B\n"


def test_the_language_of_the_machine_does_not_reach_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    said = run_java(
        write_program(tmp_path / "java", "print(os.environ['LC_ALL'], sys.argv)"), ["-jar", "x.jar"]
    )
    assert said.startswith("C ")
    assert "'-Duser.language=en', '-Duser.country=US'" in said


def test_a_failure_tells_what_the_program_said(tmp_path):
    program = write_program(
        tmp_path / "java", "print('NoClassDefFoundError: X', file=sys.stderr); sys.exit(3)"
    )
    with pytest.raises(JavaError, match=r"x\.jar failed \(3\): NoClassDefFoundError: X"):
        run_java(program, ["-jar", "x.jar"])


def test_many_messages_do_not_stop_the_program(tmp_path):
    program = write_program(tmp_path / "java", "sys.stderr.write('m' * 300_000); print('done')")
    assert run_java(program, [], timeout=30) == "done\n"


def test_a_program_past_its_time_is_gone_when_the_call_ends(tmp_path):
    mark = tmp_path / "pid"
    program = write_program(
        tmp_path / "java", f"open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    with pytest.raises(JavaError, match=r"within its limit of 1 s .*--java_timeout SECONDS allows more"):
        run_java(program, [], timeout=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_packages_are_opened_only_where_java_knows_the_flag():
    assert open_packages(8) == []
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in open_packages(17)


def test_a_large_input_arrives_whole_while_the_program_is_slow(tmp_path):
    program = write_program(tmp_path / "java", "time.sleep(1.2); print(len(sys.stdin.read()))")
    assert run_java(program, [], stdin="x" * 300_000, timeout=30) == "300000\n"


def test_time_in_which_a_program_is_not_let_run_does_not_count(tmp_path, monkeypatch):
    # As under a load of 30: a second of work takes much longer by the clock.
    moments, spent = itertools.count(0, 10), itertools.count()
    monkeypatch.setattr(java.time, "monotonic", lambda: float(next(moments)))
    monkeypatch.setattr(java, "processor_seconds", lambda _: next(spent) / 10)
    program = write_program(tmp_path / "java", "time.sleep(1.2); print('done')")
    assert run_java(program, [], timeout=15) == "done\n"


def test_a_program_that_computes_without_end_is_stopped(tmp_path):
    program = write_program(tmp_path / "java", "while True: pass")
    with pytest.raises(JavaError, match=r"limit of 0\.5 s \(it computed for"):
        run_java(program, [], timeout=0.5)


def test_all_that_is_missing_is_named_at_once(no_java, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingMetricError) as meteor:
        find_meteor(tmp_path)
    for part in ("no java executable", "meteor-1.5.jar", "install Java", "aac-llm[java]"):
        assert part in str(meteor.value)
    with pytest.raises(MissingMetricError) as spice:
        find_spice(tmp_path)
    for part in ("no java", "spice-1.0.jar", *java.CORENLP_JARS, "aac-llm[java]", java.GET_CORENLP):
        assert part in str(spice.value)
    assert spice.value.remedy.count(java.GET_CORENLP) == 1
