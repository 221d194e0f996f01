"""Settings of `ml-clap translate` and `ml-clap gate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ml_clap.config.limits import check_at_least
from ml_clap.config.ray import RayConfig


@dataclass(frozen=True, kw_only=True)
class TranslateConfig:
    """Translate a manifest's captions into further languages, and keep what passes a quality gate."""

    data: Path
    """Manifest (.jsonl) of clips with captions, or its fsspec URL."""
    languages: tuple[str, ...] = ()
    """Languages to translate into, as SONAR's codes (fra_Latn) or ISO 639 (fr, fra)."""
    out: Path | None = None
    """Folder of the result: `manifest.jsonl`, `rejected.jsonl`, `report.html` and a journal to go on from."""
    translator: str | None = None
    """Folder or hub id (name@revision) of an NLLB, M2M100 or MADLAD model; `sonar`, or a folder of SONAR's
    own files (`ml-clap[sonar]`)."""
    source_language: str = "eng_Latn"
    """Language to translate from."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    splits: tuple[str, ...] = ()
    """Translate only these splits; the other clips stay as they are (default: every clip)."""
    judge: str | None = None
    """Multilingual text encoder (folder or hub id), or a model of ours, that compares a translation with its
    source (default: no judge, back-translation alone)."""
    judge_prefix: str = ""
    """Put before every text that the judge reads (the e5 family expects `query: `)."""
    gate: Path | None = None
    """Thresholds of similarity by language, as `ml-clap gate` writes them for this judge."""
    min_similarity: tuple[str, ...] = ()
    """Reject below this cosine to the source: a number for all languages, `fra=0.8` for one; goes before
    `gate`."""
    min_agreement: tuple[str, ...] = ("20",)
    """Reject where the back-translation agrees less with the source (chrF, 0 to 100): a number, `fra=30`."""
    back_translate: bool = True
    """Translate back, to compare with the source; costs as much as the translation."""
    licence: str | None = None
    """Licence of the translator's weights, kept with each caption (default: its model card's, else
    `unknown`)."""
    num_beams: int = 4
    """Beams of the search for a translation."""
    max_tokens: int = 128
    """Tokens of a translation; one that has not ended by then is rejected."""
    batch_size: int = 32
    """Captions translated at once, of like length."""
    engine: Literal["local", "ray"] = "local"
    """`ray` translates and judges in the workers of a Ray cluster, with the same result (see `ray`)."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With `--engine ray`: the cluster, its workers and their parts; a caption counts as a second."""
    num_samples: int = 12
    """Captions of each language that the report shows, of the accepted and of the rejected ones."""
    seed: int = 0
    """Seed of the report's samples."""
    device: str = "auto"
    """Where the models run: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Precision of the translator's weights; `auto`: bfloat16 on a GPU that computes in it."""
    json: Path | None = None
    """Also write the counts and scores to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if not self.languages:
            raise ValueError("languages: into which? --languages fra deu spa nld cat jpn zho are the paper's")
        if self.out is None:
            raise ValueError("out: say where the translated manifest goes, --out FOLDER")
        if self.translator is None:
            raise ValueError("translator: say what translates, --translator FOLDER (or a hub id, or sonar)")
        if self.judge is None and (self.gate or self.min_similarity):
            raise ValueError("judge: similarity needs a judge, --judge FOLDER")
        for name in ("min_similarity", "min_agreement"):
            split_limits(getattr(self, name), name)
        check_at_least(self, 1, "num_beams", "max_tokens", "batch_size")
        check_at_least(self, 0, "num_samples")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Measure and set a translation gate on captions that people translated: right pairs against shuffled."""

    data: Path
    """Manifest (.jsonl) of clips whose captions people wrote in several languages: the first of each is a
    translation of the first in the source language."""
    judge: str
    """Multilingual text encoder (folder or hub id), or a model of ours."""
    judge_prefix: str = ""
    """Put before every text that the judge reads (the e5 family expects `query: `)."""
    out: Path | None = None
    """File of the thresholds by language (.json), for `translate --gate`."""
    languages: tuple[str, ...] = ()
    """Languages to measure (default: all that have at least `min_pairs`)."""
    source_language: str = "eng_Latn"
    """Language that the others are compared with."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    min_pairs: int = 30
    """Leave out languages with fewer pairs."""
    num_shuffles: int = 20
    """Wrong captions that each source is paired with."""
    num_folds: int = 5
    """Folds of clips: each is judged with the threshold of the others."""
    batch_size: int = 64
    """Captions embedded at once."""
    seed: int = 0
    """Seed of the shuffles, folds and intervals."""
    device: str = "auto"
    """Where the judge runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    plot: Path | None = None
    """Also draw the accuracy of every language to this file (png, svg, pdf)."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the thresholds go, --out gate.json")
        check_at_least(self, 1, "num_shuffles", "batch_size")
        check_at_least(self, 2, "num_folds")
        if self.min_pairs < 2 * self.num_folds:
            raise ValueError(
                f"min_pairs must be at least twice num_folds ({self.num_folds}), got {self.min_pairs}"
            )


def split_limits(values: tuple[str, ...], name: str) -> dict[str, float]:
    """Return language as it was written ("" for all) -> limit.

    >>> split_limits(("0.8", "fra=0.7"), "min_similarity")
    {'': 0.8, 'fra': 0.7}

    Raises:
        ValueError: a value is no number, or a language is named twice.
    """
    limits: dict[str, float] = {}
    for value in values:
        language, _, number = value.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            raise ValueError(f"{name}: expected a number or LANGUAGE=NUMBER, got {value!r}") from None
        if language in limits:
            raise ValueError(f"{name}: {language or 'the limit for all languages'} is given twice")
        limits[language] = limit
    return limits
