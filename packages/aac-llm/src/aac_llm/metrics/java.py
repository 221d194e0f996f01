"""Java and the jars that METEOR and SPICE are made of: found, run, and named with a command when missing.

Any Java from 8 on will do; peers refuse what is newer than 13. The jars are those of the package
`pycocoevalcap` (extra `java` of this package), or of a folder with the same layout, which is also that of
`aac-metrics`' cache: `meteor/meteor-1.5.jar`, `meteor/data/paraphrase-en.gz`, `spice/spice-1.0.jar`,
`spice/lib/*.jar`. SPICE also needs Stanford CoreNLP 3.6.0, which `pycocoevalcap` fetches on its first use.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from aac_llm.metrics.missing import MissingMetricError

JARS_VARIABLE = "AAC_LLM_JARS"
"""Names a folder of jars, as the flag `--jars` does."""
JAVA_VARIABLE = "AAC_LLM_JAVA"
"""Names a Java executable, as the flag `--java` does."""

GET_JAVA = "install Java, any version from 8 on (Debian: `apt-get install default-jre-headless`)"
GET_JARS = 'pip install "aac-llm[java]"'
GET_CORENLP = "python -m pycocoevalcap.spice.get_stanford_models"
CORENLP_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")

# Numbers with a decimal comma, or text in another encoding, would be misread without these.
LOCALE_FLAGS = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Dfile.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
    "-Djava.awt.headless=true",
)
OPENED_PACKAGES = ("lang", "util", "util.concurrent", "io", "math", "net", "text", "nio")
ERROR_LINES = 8
POLL_SECONDS = 0.5
"""Between two looks at how far a program is."""
VERSION_SECONDS = 300
"""A busy machine may take a minute to start Java at all."""

T = TypeVar("T")


class JavaError(RuntimeError):
    """A Java program failed or took too long; the message holds the end of what it said."""


def find_java(java: str | Path | None = None) -> Path:
    """Find the Java executable: `java` if given, else of `AAC_LLM_JAVA`, `JAVA_HOME` or the `PATH`.

    Raises:
        MissingMetricError: there is none; with what to do.
    """
    wanted = str(java or os.environ.get(JAVA_VARIABLE) or "")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise MissingMetricError(f"no Java executable at {wanted}", GET_JAVA)
        return Path(found)
    home = os.environ.get("JAVA_HOME")
    found = (home and shutil.which("java", path=str(Path(home) / "bin"))) or shutil.which("java")
    if not found:
        raise MissingMetricError("no java executable on the PATH, nor JAVA_HOME", GET_JAVA)
    return Path(found)


def java_version(java: Path) -> int:
    """Return the feature release of an executable, as 8, 17 or 21.

    Raises:
        JavaError: it does not say, so it is no Java.
    """
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=VERSION_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JavaError(f"{java} -version could not be run: {error}") from error
    return parse_java_version(done.stderr + done.stdout)


def parse_java_version(text: str) -> int:
    """Find the feature release in what `java -version` prints.

    >>> parse_java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> parse_java_version('java version "1.8.0_312"')
    8
    """
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        raise JavaError(f"expected the version of a Java, got {text.strip()[:200]!r}")
    # Java 8 calls itself 1.8.
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major


def open_packages(version: int) -> list[str]:
    """Return flags for libraries of Java 8's time that reach into the JDK, which Java 9 began to close."""
    return (
        [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENED_PACKAGES] if version >= 9 else []
    )


def find_all(*finders: Callable[[], T]) -> list[T]:
    """Call all finders and return what they find.

    Raises:
        MissingMetricError: of everything that is missing, not of the first thing alone.
    """
    found, missing = [], []
    for find in finders:
        try:
            found.append(find())
        except MissingMetricError as error:
            missing.append(error)
    if missing:
        reasons, remedies = ([e.reason for e in missing], [e.remedy for e in missing])
        raise MissingMetricError("; ".join(dict.fromkeys(reasons)), "; ".join(dict.fromkeys(remedies)))
    return found


def jar_folders(jars: str | Path | None = None) -> list[Path]:
    """Return where to look for jars, in order: `jars`, else of `AAC_LLM_JARS`; then `pycocoevalcap`."""
    wanted = jars or os.environ.get(JARS_VARIABLE)
    folders = [Path(wanted).expanduser()] if wanted else []
    spec = importlib.util.find_spec("pycocoevalcap")
    folders += [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return folders


def find_jar(name: str, places: Sequence[str], jars: str | Path | None, command: str) -> Path:
    """Find the first file `name` in the sub-folders `places`, or directly in a folder of jars.

    Raises:
        MissingMetricError: it is nowhere; with `command`, which gets it.
    """
    for path in _candidates(name, places, jars):
        if path.is_file() and path.stat().st_size:
            return path
    looked = (
        ", ".join(str(folder) for folder in jar_folders(jars)) or "no folder: pycocoevalcap is not installed"
    )
    raise MissingMetricError(f"{name} was not found (looked in {looked})", command)


def run_java(
    java: Path,
    arguments: Sequence[str | Path],
    *,
    stdin: str = "",
    timeout: float | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a Java program to its end and give its standard output; it never outlives this call.

    Args:
        java: the executable.
        arguments: of it.
        stdin: what the program reads.
        timeout: seconds that it may compute. Time in which a busy machine does not let it run is not counted,
            unless it makes no progress at all for so long.
        cwd: where it runs.

    Raises:
        JavaError: it failed or ran past its time.
    """
    # Files for what it reads and for its messages: pipes would have to be served while its time is measured.
    with tempfile.TemporaryFile() as messages, tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        command = [str(java), *LOCALE_FLAGS, *map(str, arguments)]
        try:
            process = subprocess.Popen(
                command, stdin=given, stdout=subprocess.PIPE, stderr=messages,
                cwd=cwd, env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip
        except OSError as error:
            raise JavaError(f"{java} could not be run: {error}") from error
        try:
            said = _read_output(process, timeout, _name(arguments))
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").strip().splitlines()
            raise JavaError(
                f"{_name(arguments)} failed ({process.returncode}): " + " | ".join(lines[:ERROR_LINES])
            )
    return said.decode(errors="replace")


def _read_output(process: subprocess.Popen[bytes], timeout: float | None, name: str) -> bytes:
    began = progressed = time.monotonic()
    computed = 0.0
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)[0]
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        spent = processor_seconds(process.pid)
        if spent is None or spent > computed:
            progressed, computed = now, now - began if spent is None else spent
        # Threads of one program may compute more seconds than have passed.
        if timeout is not None and max(min(computed, now - began), now - progressed) > timeout:
            raise JavaError(
                f"{name} did not finish within its limit of {timeout:g} s (it computed for {computed:.0f} s, "
                f"{now - began:.0f} s by the clock); --java_timeout SECONDS allows more"
            )


def processor_seconds(pid: int) -> float | None:
    """Return the processor time that a running process has taken, or None where that cannot be told."""
    try:
        # utime and stime are the 14th and 15th field; the second, the name, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _candidates(name: str, places: Sequence[str], jars: str | Path | None) -> Iterator[Path]:
    for folder in jar_folders(jars):
        yield from (folder / place / name for place in (*places, "."))


def _name(arguments: Sequence[str | Path]) -> str:
    return next((Path(word).name for word in arguments if str(word).endswith(".jar")), "the Java program")
