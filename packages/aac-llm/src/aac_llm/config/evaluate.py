"""Settings of `aac-llm evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import check_decoding

from aac_llm.config.judge import JudgeConfig
from aac_llm.config.sound import Channel, check_channel

METRICS = (
    "bleu",
    "rouge",
    "cider",
    "meteor",
    "spice",
    "spice_like",
    "spider",
    "spider_like",
    "fer",
    "spider_fl",
    "sbert",
    "fense",
    "clair_a",
    "events",
    "diversity",
    "timestamps",
)
"""Names of metrics; `all` stands for all of them, `available` for those that need no download."""


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """Models and programs of metrics that are not in this package."""

    jars: Path | None = None
    """Folder of METEOR's and SPICE's jars (none: environment variable AAC_LLM_JARS, then pycocoevalcap)."""
    java: Path | None = None
    """Java executable (none: AAC_LLM_JAVA, JAVA_HOME, then the PATH)."""
    java_timeout: float | None = None
    """Seconds that METEOR and SPICE may compute each, waiting for a busy machine not counted (none: 60 and
    0.1 for each sentence of METEOR, 300 and 0.5 of SPICE)."""
    sentence_model: str = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
    """Sentence encoder of FENSE: hub id or folder. Scores of another one than the published are rescaled and
    have names of their own (sentence_sim, fense_like)."""
    fluency_model: str = "echecker_clotho_audiocaps_base"
    """Fluency detector of FER, SPIDEr-FL and FENSE: name of a published checkpoint, a file or a folder.
    Scores of another one have names of their own (fer_like, spider_fl_like, fense_like). Where the published
    one is not at hand, one trained here stands in."""
    fluency_backbone: str | None = None
    """Hub id or folder of that detector's BERT configuration and tokenizer (none: what it names itself)."""
    device: str = "auto"
    """Device of the models: `cpu`, `cuda`, `cuda:1` ...; auto: the first GPU if there is one."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Language model that judges captions (metric clair_a), behind an endpoint."""
    tokenised: bool = False
    """Captions and references are tokenised already: words with spaces between them, which are taken as they
    are; also for languages without spaces, cut into words by a program of your choice."""
    language: str = "eng_Latn"
    """Language of the captions, and of the references to take where a manifest has them by language. In
    another one than English, metrics that know English only are not computed."""

    def __post_init__(self) -> None:
        if self.java_timeout is not None and not self.java_timeout > 0:
            raise ValueError(f"java_timeout must be above 0, got {self.java_timeout}")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(MetricsConfig):
    """Score captions against references, compare two systems, and write a page to listen to.

    DATA is a manifest, which `--model` captions first, or a file of captions (`aac-llm caption --out`).
    """

    data: Path
    """Manifest (with --model), or file of captions: of `aac-llm caption`, DCASE's table (.csv: file_name,
    caption_predicted) or COCO's results (.json); `-`: the standard input."""
    model: str | None = None
    """Captioner for the clips of a manifest: folder, run folder of a training (its best model) or hub id."""
    references: Path | None = None
    """References of a file of captions: a manifest, Clotho's table (.csv) or COCO's annotations (.json)
    (none: the file holds them itself)."""
    split: str | None = None
    """Use only the clips of this split of a manifest."""
    limit: int | None = None
    """Evaluate only this many clips, the first ones (none: all)."""
    captions: Path | None = None
    """Keep the model's captions in this file; the same command then goes on after a kill."""
    num_beams: int = 3
    """Beams of the model's captions."""
    max_new_tokens: int = 30
    """Most tokens of a caption of the model."""
    timestamps: bool = False
    """Let the model write events with their times, for the metric timestamps; the captions that the other
    metrics score are then the events' words."""
    max_seconds: float | None = None
    """The model hears longer clips in overlapping windows of this length (none: the length that it was
    trained on)."""
    channel: Channel | None = None
    """What is heard of several channels: `mean`, `first` or `loudest` (none: as the model was trained)."""
    batch_size: int = 32
    """Most sounds captioned at once."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the captioner; auto: bfloat16 on a GPU, float32 elsewhere."""
    metrics: tuple[str, ...] = ("available",)
    """Any of bleu, rouge, cider, meteor, spice, spice_like (an approximation of it without Java), spider,
    spider_like (with that), fer, spider_fl, sbert, fense, clair_a, events, diversity, timestamps; or `all`,
    which downloads models; or `available`, which does not. Those that cannot run are listed."""
    compare: Path | None = None
    """Captions of a second system for the same clips; differences, intervals and p values are added."""
    bootstrap: int = 1000
    """Bootstrap draws of clips for the 95 % intervals, and permutations for p values; 0: neither."""
    seed: int = 0
    """Seed for the draws."""
    json: Path | None = None
    """Write all numbers, clip by clip, to this JSON file; `-`: to the standard output."""
    page: Path | None = None
    """Write an HTML page here: audio players, captions, references, scores, worst first."""
    embed: bool = False
    """Put sounds of up to 2 MB into the page itself, so that it can be sent alone."""
    card: bool = False
    """Add the scores, with their intervals, to the model card of --model (a folder): its README.md."""
    sort_by: str = "auto"
    """The score by which clips are worst on the page; `auto`: the most telling one that there is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_channel(self.channel)
        check_decoding(self.decode_seconds, self.decode_megabytes)
        unknown = sorted(set(self.metrics) - {*METRICS, "all", "available"})
        if unknown:
            known = ", ".join((*METRICS, "all", "available"))
            raise ValueError(f"metrics: {', '.join(unknown)} unknown; there are {known}")
        if not self.metrics:
            raise ValueError("metrics: expected at least one")
        if self.bootstrap < 0:
            raise ValueError(f"bootstrap must be at least 0, got {self.bootstrap}")
        for name in ("num_beams", "batch_size", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_seconds is not None and not self.max_seconds >= 1.0:
            raise ValueError(f"max_seconds must be at least 1, got {self.max_seconds}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")
        if self.timestamps and self.model is None:
            raise ValueError(
                "timestamps: a file of captions holds them itself (aac-llm caption --timestamps); leave the "
                "flag out, or give --model"
            )
        if self.model is not None and self.references is not None:
            raise ValueError(
                "references: with --model the manifest itself holds them; leave --references out"
            )
        if self.card and (self.model is None or not Path(self.model).is_dir()):
            raise ValueError(f"card: scores go to the card of a model's folder, got --model {self.model}")
        for name in ("json", "page", "captions", "judge.answers"):
            path = self.judge.answers if name == "judge.answers" else getattr(self, name)
            if path is not None and str(path) != "-" and path in (self.data, self.references, self.compare):
                raise ValueError(f"{name}: {path} is read and would be overwritten; choose another file")
