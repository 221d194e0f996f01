"""SPICE (Anderson et al. 2016) through its jar: F1 of objects, attributes and relations of scene graphs.

Two things in the jar stop it on Java 16 and later, where peers fail; we go round both:

- its option `-cache` keeps parsed references in LMDB through FST 2.47, which reaches into `java.lang.String`
  (`InaccessibleObjectException`). Both libraries are touched only with that option, which we leave out, and
  the packages of the JDK are opened besides. References are parsed anew in each run.
- it indents its JSON with the JDK's JavaScript engine, which Java 15 removed: all is scored, then nothing is
  written (`NullPointerException`). `spice_output/` beside this file is an engine that hands the JSON over.

Both were seen and checked on Java 17 and 25 with the real jar and no captions. Scores were NOT compared where
this was written: Stanford CoreNLP 3.6.0, which parses the captions, could not be had there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from audio_common.strict_json import read_json
from numpy.typing import NDArray

from aac_llm.metrics.java import (
    CORENLP_JARS,
    GET_CORENLP,
    GET_JARS,
    JARS_VARIABLE,
    JavaError,
    find_all,
    find_jar,
    find_java,
    java_version,
    open_packages,
    run_java,
)
from aac_llm.metrics.missing import MissingMetricError

MAIN_CLASS = "edu.anu.spice.SpiceScorer"
MEMORY = "8G"
OUTPUT_ENGINE = Path(__file__).parent / "spice_output"
FIRST_JAVA_WITHOUT_ENGINE = 15


def spice(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    jars: str | Path | None = None,
    java: str | Path | None = None,
    timeout: float | None = None,
    memory: str = MEMORY,
    num_threads: int | None = None,
) -> NDArray[np.float64]:
    """Compute the SPICE of each clip, (clips,); the corpus value is their mean.

    Args:
        candidates: one caption for each clip, tokenised as for every other metric.
        references: the clip's references, any number.
        jars: folder of jars; default: see `aac_llm.metrics.java.jar_folders`.
        java: the Java executable; default: see `aac_llm.metrics.java.find_java`.
        timeout: seconds that the jar may compute; default: five minutes and half a second for each sentence.
        memory: the most that Java may take, as in `-Xmx8G`.
        num_threads: of the parser; default: one for each processor.

    Raises:
        MissingMetricError: no Java, or a jar is missing.
        JavaError: the jar failed, took too long or left clips out.
        ValueError: a clip without references, or another number of clips in the two.
    """
    record = input_record(candidates, references)
    executable, class_path = find_spice(jars, java)
    if not record:
        return np.zeros(0)
    # Loading the parser's models takes long by itself.
    allowed = timeout or 300 + 0.5 * sum(1 + len(texts) for texts in references)
    with tempfile.TemporaryDirectory(prefix="aac-llm-spice-") as folder:
        source, target = Path(folder) / "captions.json", Path(folder) / "scores.json"
        # In ASCII: the jar reads the file in the machine's encoding.
        source.write_text(json.dumps(record), encoding="ascii")
        arguments = [f"-Xmx{memory}", *class_path_flags(class_path, java_version(executable)), MAIN_CLASS]
        # The flags of pycocoevalcap, whose numbers these are.
        arguments += [str(source), "-out", str(target), "-subset", "-silent"]
        arguments += ["-threads", str(num_threads)] if num_threads else []
        run_java(executable, arguments, timeout=allowed, cwd=Path(folder))
        return read_scores(target, len(record))


def find_spice(jars: str | Path | None = None, java: str | Path | None = None) -> tuple[Path, list[Path]]:
    """Find the Java executable and the class path: SPICE, Stanford CoreNLP 3.6.0, and other libraries.

    Raises:
        MissingMetricError: something is missing; all of it is named, with the commands that get it.
    """
    get = (
        f"`{GET_CORENLP}` fetches Stanford CoreNLP 3.6.0 (about 400 MB, once; or put "
        f"{' and '.join(CORENLP_JARS)} into a folder that --jars or {JARS_VARIABLE} names)"
    )

    def find_corenlp(name: str) -> list[Path]:
        # Of exactly this version: parses, and with them scores, differ in others.
        return [find_jar(name, ("spice/lib", "lib"), jars, get)]

    # Looked for together: who fetches one thing after another waits for each.
    found = find_all(
        lambda: [find_java(java)],
        lambda: _find_own_jars(jars),
        *(partial(find_corenlp, name) for name in CORENLP_JARS),
    )
    (executable,), (jar, *libraries), *corenlp = found
    others = [path for path in libraries if path.name not in CORENLP_JARS]
    return executable, [jar, *(path for paths in corenlp for path in paths), *others]


def _find_own_jars(jars: str | Path | None) -> list[Path]:
    jar = find_jar("spice-1.0.jar", ("spice",), jars, GET_JARS)
    libraries = sorted((jar.parent / "lib").glob("*.jar"))
    if not libraries:
        raise MissingMetricError(f"SPICE's libraries are missing: {jar.parent / 'lib'}/*.jar", GET_JARS)
    return [jar, *libraries]


def class_path_flags(class_path: Sequence[Path], version: int) -> list[str]:
    """Return the flags that let a Java of this feature release run SPICE to its end."""
    places = [*class_path, *([OUTPUT_ENGINE] if version >= FIRST_JAVA_WITHOUT_ENGINE else [])]
    return [*open_packages(version), "-cp", os.pathsep.join(map(str, places))]


def input_record(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    """Write what the jar reads; clips are numbered in their order.

    Raises:
        ValueError: a clip without references, or another number of clips in the two.
    """
    if len(candidates) != len(references):
        raise ValueError(
            f"expected references for {len(candidates)} captions, got them for {len(references)}"
        )
    for candidate, refs in zip(candidates, references, strict=True):
        if not refs:
            raise ValueError(f"SPICE needs at least one reference, got none for {candidate!r}")
    return [
        {
            "image_id": number,
            # The parser takes a line break for the end of a sentence.
            "test": " ".join(candidate.split()),
            "refs": [" ".join(text.split()) for text in refs],
        }
        for number, (candidate, refs) in enumerate(zip(candidates, references, strict=True))
    ]


def read_scores(path: Path, num_clips: int) -> NDArray[np.float64]:
    """Return F1 over all tuples of each clip, in the clips' order, not the file's; undefined is 0.

    Raises:
        JavaError: the file is missing or is not what SPICE writes, or clips are missing in it.
    """
    try:
        rows = read_json(path)
        found = {int(row["image_id"]): float(row["scores"]["All"]["f"] or 0.0) for row in rows}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JavaError(f"SPICE wrote no scores that can be read: {error!r}") from error
    missing = sorted(set(range(num_clips)) - set(found))
    if missing:
        raise JavaError(
            f"SPICE left {len(missing)} of {num_clips} clips out; the first is number {missing[0]}"
        )
    # No tuples in both: precision and recall are 0 of 0.
    return np.nan_to_num([found[number] for number in range(num_clips)])
