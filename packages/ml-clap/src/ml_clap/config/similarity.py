"""Settings of `ml-clap similarity`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class SimilarityConfig:
    """Compare sounds and texts with one another: the cosine of each two."""

    inputs: tuple[str, ...]
    """Sound files and texts, two or more; a word that names a file is that file."""
    model: str
    """Folder, file, hub id or https address of a model (ML-CLAP, GLAP, CLAP of transformers,
    sentence-transformers), or a training run."""
    lang: str = "eng_Latn"
    """Language of the texts, as SONAR's code (fra_Latn) or ISO 639 (fr)."""
    channel: Channel | None = None
    """What is made of several channels: `mean` (the louder one where they cancel out), `first` or `loudest`
    (default: as the model was trained, else `mean`)."""
    num_workers: int = 1
    """Threads that read files."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "float32"
    """Precision of the model's weights; `auto`: bfloat16 where the device multiplies it faster; `int8`: the
    sound encoder in 8-bit integers, on a CPU."""
    json: Path | None = None
    """Also write the cosines to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if len(self.inputs) < 2:
            raise ValueError("inputs: nothing to compare; give two or more sound files or texts")
        if not all(item.strip() for item in self.inputs):
            raise ValueError("inputs: an empty text is like nothing; write what is to be heard")
        check_at_least(self, 1, "num_workers")
        check_decoding(self.decode_seconds, self.decode_megabytes)
