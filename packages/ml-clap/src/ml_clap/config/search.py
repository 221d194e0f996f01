"""Settings of `ml-clap search`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search an index by text in any language, or by a sound."""

    index: Path
    """Folder made by `ml-clap index`."""
    query: tuple[str, ...] = ()
    """What to look for, in the language `--lang`; several texts are several queries."""
    lang: str = "eng_Latn"
    """Language of the texts, as SONAR's code (fra_Latn) or ISO 639 (fr)."""
    queries: Path | None = None
    """Text file of further queries, one a line (`-`: standard input); `fra_Latn<TAB>un chien aboie` gives a
    line its language."""
    audio: tuple[Path, ...] = ()
    """Sound files to find similar sounds of."""
    add: tuple[str, ...] = ()
    """Texts (in the language `--lang`) or sound files that each query's hits should be like as well."""
    subtract: tuple[str, ...] = ()
    """Texts or sound files that each query's hits should not be like: their vectors are subtracted."""
    where: tuple[str, ...] = ()
    """Look at clips only of which all of these hold: `label=dog`, `duration<=10`, `licence!=CC0`; any key
    of the manifest."""
    folder: tuple[Path, ...] = ()
    """Look at files only in these folders, or below them; relative to the indexed folder, or absolute."""
    duplicates: float | None = None
    """Show as one hit, with their number, clips of equal content or with a cosine of at least this (0.98)."""
    threshold: str = "auto"
    """Least score of a hit: a number, `none`, or `auto`: what `ml-clap calibrate` found for the model and the
    language, where it was run; texts alone are judged so."""
    calibration: Path | None = None
    """File of `ml-clap calibrate` (default: calibration.json in the model's folder)."""
    channel: Channel | None = None
    """What is made of a sound's channels: `mean`, `first` or `loudest` (default: as the index was made)."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    top_k: int = 10
    """Hits per query."""
    model: str | None = None
    """The model, if it is no longer where it was when the index was made."""
    text_tower: Path | None = None
    """Answer texts by this small tower (`distill`, `project`, `export`) made for the index's model, which is
    then loaded only for queries by sound; thresholds of `calibrate` are the model's, and not used then."""
    all_windows: bool = False
    """List every window of a file that scores high; else only its best one."""
    engine: Literal["numpy", "faiss", "hnsw", "auto", "lancedb"] = "numpy"
    """`numpy` is exact; `faiss` (lists of 8-bit codes), `hnsw` (faiss's graph of them) and `lancedb` are
    approximate above 200,000 vectors, and say their recall; `auto` is numpy or faiss, the faster one."""
    lance: str | None = None
    """Folder or URL of the LanceDB copy of the index, with `--engine lancedb` (default: where the index's
    last copy is, else `lance` in the index)."""
    explain: Path | None = None
    """Folder for a picture of each hit that shows when, every 160 ms, it is like the query (CED models)."""
    page: Path | None = None
    """HTML file, of its own and without network, that shows and plays the hits."""
    labels: Path | None = None
    """Folder for label tracks of Audacity (File > Import > Labels): a file for each sound with hits."""
    label_studio: Path | None = None
    """JSON file of tasks for Label Studio: a task for each sound, with its hits as regions."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the hits to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if not (self.query or self.queries or self.audio):
            raise ValueError("query: nothing to search for; give a text, --audio FILE or --queries FILE")
        if not all(text.strip() for text in self.query):
            raise ValueError("query: an empty text finds nothing; write what is to be heard")
        if not all(text.strip() for text in (*self.add, *self.subtract)):
            raise ValueError("add, subtract: an empty text; write what is to be heard")
        if self.duplicates is not None and not 0.0 < self.duplicates <= 1.0:
            raise ValueError(f"duplicates: a cosine between 0 and 1, got {self.duplicates:g}")
        if self.lance is not None and self.engine != "lancedb":
            raise ValueError("lance: the LanceDB copy is searched with --engine lancedb")
        self.min_score()
        check_at_least(self, 1, "top_k")
        check_decoding(self.decode_seconds, self.decode_megabytes)

    def min_score(self) -> float | None:
        """Return the threshold if it is a number; None for `auto` and `none`."""
        if self.threshold in ("auto", "none"):
            return None
        try:
            value = float(self.threshold)
        except ValueError:
            value = math.nan
        if not -1.0 <= value <= 1.0:
            raise ValueError(f"threshold: a number from -1 to 1, auto or none, got {self.threshold!r}")
        return value
