"""Load the questions of a benchmark, and tell which version of its file they are.

MMAU's file has changed 17 times; 364 of the 1,000 questions of test-mini differ between its first version,
on which the paper reports, and today's. Scores on two versions cannot be compared, so the version is
recognized by the file's hash and stands beside every score.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from audio_common.files import AUDIO_SUFFIXES

from r1_aqa.config.evaluate import BadRows
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import faults_of, read_questions
from r1_aqa.files import is_stream, read_bytes

logger = logging.getLogger(__name__)

VERSIONS = {
    "850c2794664d53c1": "MMAU test-mini of 2024-12-09",
    "ed2fd6b6c24ebec1": "MMAU test-mini of 2025-01-28 (the paper's time)",
    "e8cc09223b497191": "MMAU test-mini of 2025-03-25 (the paper's time)",
    "d35ec10bc3097fc6": "MMAU test-mini of 2025-05-15 (v05.15.25)",
    "157f1968a686c9e7": "MMAU test-mini of 2025-05-22 (v05.15.25, edited)",
    "9f18fda99f8dbc2b": "MMAU test-mini of 2025-08-09 (v05.15.25, edited)",
}
"""Names of versions by the beginning of a file's SHA-256."""

HUB = {
    "mmau-test-mini": ("gamma-lab-umd/MMAU-test-mini", ("mmau-test-mini.json",)),
    "mmau-test": ("gamma-lab-umd/MMAU-test", ("mmau-test.json",)),
    "mmar": ("BoJack/MMAR", ("MMAR-meta.jsonl", "MMAR-meta.json")),
}
"""Data sets of the Hugging Face hub by our names, and the file of questions in each."""


@dataclass(frozen=True)
class Benchmark:
    """Questions to ask, and where they come from."""

    name: str
    file: Path
    version: str
    """The version's name if the file is known, and the beginning of its hash."""
    questions: tuple[Question, ...]
    num_in_file: int = 0
    """How many there are without the limit."""
    bad_rows: tuple[str, ...] = ()
    """Rows that cannot be used, and why: `file:line: ...`."""

    @property
    def is_known(self) -> bool:
        """Return whether this version of the file has a name."""
        return not self.version.startswith(UNKNOWN)


UNKNOWN = "not a known benchmark's file"


def load_benchmark(
    source: str,
    audio: Path | None = None,
    *,
    split: str | None = None,
    limit: int | None = None,
    bad_rows: BadRows = "wrong",
) -> Benchmark:
    """Load a benchmark by its name (downloaded once) or from a file of questions.

    Args:
        source: a key of `HUB`, maybe with `@revision`, or a path.
        audio: folder of the audio, by file names; None: where the file of questions says.
        split: only the questions of this split; None: all.
        limit: only this many questions, the first ones; None: all.
        bad_rows: rows that cannot be used are questions with a `fault` (`wrong`), or left out (`skip`).

    Raises:
        FileNotFoundError: there is no such file, or no audio where it is expected.
        ValueError: there are no questions.
    """
    file = _download(source) if is_known(source) else Path(source)
    if not file.is_file() and not is_stream(file):
        raise FileNotFoundError(f"there is no file {file}; known benchmarks: {', '.join(HUB)}")
    found = read_rows(file, split=split, bad_rows=bad_rows)
    questions = found.questions[:limit]
    if not questions:
        raise ValueError(f"{file} has no questions" + (f" of split {split}" if split else ""))
    usable = [question for question in questions if not question.fault]
    if not usable:
        raise ValueError(f"no question of {file} can be used; the first: {questions[0].fault}")
    if audio is not None:
        usable = [replace(question, audio=_find_audio(audio, question.audio)) for question in usable]
    if not any(os.path.isfile(question.audio) for question in usable):
        raise FileNotFoundError(f"no audio of {file} is there, not even {usable[0].audio}; give --audio")
    moved = iter(usable)
    questions = [question if question.fault else next(moved) for question in questions]
    return Benchmark(
        source, file, identify(file), tuple(questions), len(found.questions), tuple(found.bad_rows)
    )


@dataclass(frozen=True)
class Rows:
    """The questions of a file, and its rows that cannot be used."""

    questions: list[Question]
    """In the file's order; with `bad_rows: wrong` those with a fault are among them."""
    bad_rows: list[str]
    """Rows that cannot be used: `file:line: why`."""


def read_rows(file: Path, *, split: str | None = None, bad_rows: BadRows = "wrong") -> Rows:
    """Read a file of questions, and say in one line which of its rows cannot be used.

    Raises:
        FileNotFoundError: there is no such file.
        QuestionError: it is no text.
    """
    questions = read_questions(file, split=split, keep_faults=True)
    advice = "are left out" if bad_rows == "skip" else "count as wrong (--bad_rows skip leaves them out)"
    if line := faults_of(questions, file, advice):
        logger.warning("%s", line)
    bad = [question.fault for question in questions if question.fault]
    kept = questions if bad_rows == "wrong" else [question for question in questions if not question.fault]
    return Rows(kept, bad)


def identify(file: Path) -> str:
    """Return which version of a benchmark a file is."""
    # Of the bytes: an edit of a single option makes another benchmark.
    digest = hashlib.sha256(read_bytes(file)).hexdigest()[:16]
    version = VERSIONS.get(digest, UNKNOWN)
    return f"{version} [{digest}]"


def _find_audio(folder: Path, audio: Path) -> Path:
    # By the file's name, or by the end of its path, for benchmarks with sub-folders.
    nested = [folder.joinpath(*audio.parts[start:]) for start in range(1, len(audio.parts))]
    return next((path for path in nested if os.path.isfile(path)), folder / audio.name)


def is_known(source: str) -> bool:
    """Tell whether a source is a benchmark's name, `mmar`, or one of its revisions, `mmar@REVISION`."""
    return source.partition("@")[0] in HUB and not Path(source).exists()


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    repository, files = HUB[name]
    # The questions and the audio that lies beside them, whatever else there is.
    patterns = [*(f"*{file}" for file in files), *(f"*{suffix}" for suffix in AUDIO_SUFFIXES)]
    folder = Path(
        snapshot_download(repository, repo_type="dataset", revision=revision or None, allow_patterns=patterns)
    )
    for file in files:
        found = sorted(folder.rglob(file))
        if found:
            return found[0]
    raise FileNotFoundError(
        f"the data set {repository} holds no {' or '.join(files)}; download the benchmark's file of "
        "questions and give its path instead of the name"
    )
