"""Settings of `ml-clap index`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least
from ml_clap.config.ray import RayConfig

WINDOW_SECONDS = 10.0
"""Window of a new index where none is named."""


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Make or update an index of a folder or manifest; a second run encodes only what is new."""

    source: Path
    """Folder of audio files, read recursively, or a manifest (.jsonl); with `--engine ray` also shards (.tar,
    or a folder of them), or an fsspec URL of any of these."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    out: Path | None = None
    """Folder of the index; made if it is not there, else updated."""
    model: str | None = None
    """Folder, file, hub id or https address of a model (ML-CLAP, GLAP, CLAP of transformers,
    sentence-transformers), or a training run (default: the one that the index was made with)."""
    window_seconds: float | None = None
    """Files longer than this are cut into windows, so that a hit says where in the file (default: the
    index's, else 10)."""
    hop_seconds: float | None = None
    """From the start of one window to the next; less than the window makes them overlap (default: the
    index's, else the window)."""
    vector_dtype: Literal["float32", "float16"] = "float32"
    """How vectors are stored; float16 halves the size."""
    keep_vanished: bool = False
    """Keep clips whose file is gone (a disk that is not mounted); else they are taken out."""
    engine: Literal["numpy", "faiss", "hnsw", "lancedb", "ray"] = "numpy"
    """`faiss`, `hnsw` and `lancedb` also bring up to date what `search --engine` of the same name uses, and
    say its recall: the approximate index (above 200,000 vectors), or the copy in LanceDB. `ray` encodes in
    the workers of a Ray cluster, with the same result (see `ray`)."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With `--engine ray`: the cluster, its workers and their parts."""
    lance: str | None = None
    """Folder or URL (s3://bucket/path) of that copy (default: where the last one is, else `lance` in the
    index)."""
    index_silence: bool = False
    """Also index windows without sound (no sample above -72 dB) and clips under 0.1 s; else they are only
    listed."""
    seconds_per_batch: float = 160.0
    """Seconds of audio encoded at once."""
    channel: Channel | None = None
    """What is made of several channels: `mean` (the louder one where they cancel out), `first` or `loudest`
    (default: the index's, else as the model was trained)."""
    num_workers: int = 1
    """Threads that read files."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the report to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the index goes, --out FOLDER")
        if self.model is None and not (self.out / "index.json").exists():
            raise ValueError(
                f"model: {self.out} is a new index, say by which model to make it, --model MODEL"
            )
        for name in ("window_seconds", "hop_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0, got {value}")
        is_new = not (self.out / "index.json").exists()
        window = self.window_seconds or (WINDOW_SECONDS if is_new else None)
        if window and self.hop_seconds and self.hop_seconds > window:
            raise ValueError(
                f"hop_seconds must be at most window_seconds ({window}), or sound would fall between the "
                f"windows; got {self.hop_seconds}"
            )
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
        check_at_least(self, 1, "num_workers")
        check_decoding(self.decode_seconds, self.decode_megabytes)
