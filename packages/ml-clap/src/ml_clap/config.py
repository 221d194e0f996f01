"""Every setting of every command; standard library and `audio_common.config` only, so `--help` is quick.

A dataclass's fields are a command's flags and a YAML file's keys. Impossible values are refused on
construction, with the flag's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import CEDConfig

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn", "nld_Latn", "cat_Latn", "jpn_Jpan", "zho_Hans")
"""The paper's eight languages, by the codes of SONAR (FLORES-200)."""

TEMPERATURE_RANGE = (0.01, 1.0)
"""Where a temperature learnt in log space is kept: similarities are multiplied by 1 to 100."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An ML-CLAP model: CED and a text encoder, each with a two-layer head into one space."""

    audio: CEDConfig = field(default_factory=CEDConfig)
    """Architecture of the audio encoder."""
    audio_weights: str | None = None
    """Where the audio encoder's weights start: hub id (mispeech/ced-base), folder or file; else random."""
    text_backend: Literal["transformers", "sonar"] = "transformers"
    """`transformers` runs any encoder of that library; `sonar` the authors' sonar-space and fairseq2."""
    text_encoder: str = "cointegrated/SONAR_200_text_encoder"
    """Hub id, folder or SONAR's own .pt of the text encoder (for `sonar` also a fairseq2 card's name)."""
    text_prefix: str = ""
    """Put before every text (the e5 family expects `query: `)."""
    text_normalization: Literal["standard", "reference", "none"] = "standard"
    """`standard`: lower case, no punctuation of any script; `reference`: the authors'; `none`: as given."""
    max_text_tokens: int = 128
    """Longer texts are cut to so many tokens, those of language and end included; 512 at most."""
    embed_dim: int = 1024
    """Width of the shared space."""
    temperature: float = 0.07
    """Initial temperature of the loss."""
    temperature_parameter: Literal["log", "raw"] = "log"
    """`log`: learnt in log space and clamped; `raw`: the paper's plain parameter, which can reach zero."""
    freeze_audio: bool = False
    """Keep the audio encoder as it is (its head still learns)."""
    freeze_text: bool = False
    """Keep the text encoder as it is (its head still learns)."""
    gradient_checkpointing: bool = False
    """Recompute the encoders' activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        low, high = TEMPERATURE_RANGE if self.temperature_parameter == "log" else (0.0, float("inf"))
        if not max(low, 1e-6) <= self.temperature <= high:
            raise ValueError(
                f"temperature must be between {low} and {high} "
                f"(temperature_parameter: {self.temperature_parameter}), got {self.temperature}"
            )
        if self.embed_dim < 1:
            raise ValueError(f"embed_dim must be at least 1, got {self.embed_dim}")
        if not 3 <= self.max_text_tokens <= 512:
            raise ValueError(f"max_text_tokens must be 3 to 512, got {self.max_text_tokens}")


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Make or update an index of a folder or manifest of sounds; a second run encodes only what is new."""

    source: Path
    """Folder of sound files, read recursively, or a JSONL manifest."""
    out: Path | None = None
    """Folder of the index; made if it is not there, else updated."""
    model: str | None = None
    """Folder or hub id of the model (a new index needs it; else the one the index was made with)."""
    window_seconds: float = 10.0
    """Files longer than this are cut into windows, so that a hit says where in the file."""
    hop_seconds: float = 10.0
    """From the start of one window to the next; less than the window makes them overlap."""
    dtype: Literal["float32", "float16"] = "float32"
    """How vectors are stored; float16 halves the size."""
    keep_vanished: bool = False
    """Keep clips whose file is gone (a disk that is not mounted); else they are taken out."""
    seconds_per_batch: float = 160.0
    """Sound encoded at once."""
    num_workers: int = 1
    """Threads that read files."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the report to this file."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the index goes, --out FOLDER")
        if self.model is None and not (self.out / "index.json").exists():
            raise ValueError(
                f"model: {self.out} is a new index, say by which model to make it, --model MODEL"
            )
        if not 0 < self.hop_seconds <= self.window_seconds:
            raise ValueError(
                f"hop_seconds must be above 0 and at most window_seconds ({self.window_seconds}), or sound "
                f"would fall between the windows; got {self.hop_seconds}"
            )
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")


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
    """Text file of further queries, one a line; `fra_Latn<TAB>un chien aboie` gives a line its language."""
    audio: tuple[Path, ...] = ()
    """Sound files to find similar sounds of."""
    top_k: int = 10
    """Hits per query."""
    model: str | None = None
    """The model, if it is no longer where it was when the index was made."""
    all_windows: bool = False
    """List every window of a file that scores high; else only its best one."""
    engine: Literal["numpy", "faiss", "auto"] = "numpy"
    """`numpy` is exact; `faiss` is approximate above 200,000 vectors; `auto` is the faster one."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the hits to this file."""

    def __post_init__(self) -> None:
        if not (self.query or self.queries or self.audio):
            raise ValueError("query: nothing to search for; give a text, --audio FILE or --queries FILE")
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")


# Further dataclasses (DataConfig, TrainConfig, EvaluateConfig, ...) are added by their commands' authors.
