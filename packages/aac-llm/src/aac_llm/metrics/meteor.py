"""METEOR 1.5 (Denkowski and Lavie 2014) through its jar, for English with the option `-norm`.

The jar aligns each caption with its references and gives 23 counts; the score is computed from them here
(the formula and the weights are the paper's for English), so that the corpus value, which is the score of the
summed counts and not the mean of sentence scores, can be drawn again by the bootstrap without Java. The jar's
process reads all captions and ends by itself: peers keep it alive and leave it behind on an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aac_llm.metrics.java import GET_JARS, JavaError, find_all, find_jar, find_java, run_java
from aac_llm.metrics.missing import MissingMetricError

NUM_COUNTS = 23
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
"""Recall against precision; the penalty's exponent and weight; content words against function words."""
STAGE_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""Weights of exact matches, stems, synonyms and paraphrases."""
SEPARATOR = "|||"


@dataclass(frozen=True)
class Meteor:
    """The counts of every clip, and what they score."""

    counts: NDArray[np.float64]
    """(clips, 23): words of the caption and of the best reference, function words of both; for each of four
    stages matched content words (caption, reference) and function words (same); chunks; matches of both."""

    @property
    def table(self) -> NDArray[np.float64]:
        """Counts to sum up, (clips, 23); a caption that matches as a whole has no chunk, as in the jar."""
        whole = (self.counts[:, 0:2] == self.counts[:, 21:23]).all(axis=1) & (self.counts[:, 20] == 1)
        table = self.counts.copy()
        table[whole, 20] = 0
        return table

    @property
    def clips(self) -> NDArray[np.float64]:
        """The score of each clip, (clips,)."""
        return score_counts(self.table)

    @property
    def corpus(self) -> float:
        """The score of all clips together."""
        return float(score_counts(self.table.sum(axis=0)))


def meteor(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    jars: str | Path | None = None,
    java: str | Path | None = None,
    timeout: float | None = None,
) -> Meteor:
    """Compare captions with their references, any number for each clip.

    Args:
        candidates: one caption for each clip, tokenised as for every other metric.
        references: the clip's references.
        jars: folder of jars; default: see `aac_llm.metrics.java.jar_folders`.
        java: the Java executable; default: see `aac_llm.metrics.java.find_java`.
        timeout: seconds that the jar may compute; default: a minute and a tenth of a second for each
            sentence.

    Raises:
        MissingMetricError: no Java or no jar.
        JavaError: the jar failed, or took too long.
        ValueError: a clip without references, or another number of clips in the two.
    """
    if len(candidates) != len(references):
        raise ValueError(
            f"expected references for {len(candidates)} captions, got them for {len(references)}"
        )
    # Before Java is looked for: a clip without references is the caller's mistake on any machine.
    lines = [score_line(*pair) for pair in zip(candidates, references, strict=True)]
    executable, jar = find_meteor(jars, java)
    if not lines:
        return Meteor(np.zeros((0, NUM_COUNTS)))
    allowed = timeout or 60 + 0.1 * sum(1 + len(texts) for texts in references)
    arguments: list[str | Path] = ["-Xmx2G", "-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm"]
    said = run_java(executable, arguments, stdin="".join(line + "\n" for line in lines), timeout=allowed)
    return Meteor(read_counts(said, len(lines)))


def find_meteor(jars: str | Path | None = None, java: str | Path | None = None) -> tuple[Path, Path]:
    """Find the Java executable and the jar, beside which its paraphrase table lies.

    Raises:
        MissingMetricError: some of the three are missing; all of these are named.
    """
    executable, jar = find_all(lambda: find_java(java), lambda: _find_jar_and_table(jars))
    return executable, jar


def _find_jar_and_table(jars: str | Path | None) -> Path:
    jar = find_jar("meteor-1.5.jar", ("meteor",), jars, GET_JARS)
    table = jar.parent / "data" / "paraphrase-en.gz"
    if not table.is_file():
        raise MissingMetricError(f"METEOR's table of paraphrases is missing: {table}", GET_JARS)
    return jar


def score_line(candidate: str, references: Sequence[str]) -> str:
    """Write a clip in the jar's protocol; separators and line breaks inside a caption become spaces.

    Raises:
        ValueError: no references.

    >>> score_line("a dog\\nbarks", ["a dog", "it ||| barks"])
    'SCORE ||| a dog ||| it barks ||| a dog barks'
    """
    if not references:
        raise ValueError(f"METEOR needs at least one reference, got none for {candidate!r}")
    # A trailing space keeps an empty caption a field of its own.
    fields = ["SCORE", *(_clean(text) for text in references), _clean(candidate)]
    return f" {SEPARATOR} ".join(fields)


def read_counts(said: str, num_clips: int) -> NDArray[np.float64]:
    """Parse the jar's answer to (clips, 23).

    Raises:
        JavaError: it is something else.
    """
    lines = said.splitlines()
    try:
        counts = np.array([[float(word) for word in line.split()] for line in lines], dtype=np.float64)
    except ValueError as error:
        raise JavaError(f"expected {NUM_COUNTS} numbers in every line of METEOR's answer: {error}") from error
    if counts.shape != (num_clips, NUM_COUNTS):
        raise JavaError(
            f"expected {num_clips} lines of {NUM_COUNTS} numbers from METEOR, got {len(lines)} lines, "
            f"an array of shape {counts.shape}"
        )
    return counts


def score_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score counts, (..., 23) -> (...): weighted F times one minus the penalty for scattered matches."""
    # Of summed counts as well: METEOR of a corpus is made of these, it is no mean of clips.
    lengths, function_words = counts[..., 0:2], counts[..., 2:4]
    weighted_lengths = DELTA * (lengths - function_words) + (1 - DELTA) * function_words
    # (..., stage, content or function, caption or reference)
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 2, 2)
    words = np.einsum("...skw,s,k->...w", stages, np.array(STAGE_WEIGHTS), np.array([DELTA, 1 - DELTA]))
    shares = _divide(words, weighted_lengths)
    precision, recall = shares[..., 0], shares[..., 1]
    # Parameterized harmonic mean, eq. 3 of the paper.
    mean = _divide(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
    # Chunks per matched word: 1 if no two matches are neighbours.
    scattered = _divide(counts[..., 20], counts[..., 21:23].mean(axis=-1))
    return mean * (1 - GAMMA * scattered**BETA)


def _divide(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    # No matching word: 0 of 0 is no match, and no warning.
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)


def _clean(text: str) -> str:
    return " ".join(text.replace(SEPARATOR, " ").split())
