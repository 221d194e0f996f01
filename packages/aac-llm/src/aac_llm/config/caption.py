"""Settings of `aac-llm caption`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import check_decoding

from aac_llm.config.correct import CorrectionConfig
from aac_llm.config.ray import RayConfig
from aac_llm.config.sound import Channel, check_channel

TIMED_TOKENS = 4
"""Tokens of events with their times for one of a plain caption: "[0.0-1.5] a dog barks" has nine more."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Generation of captions; the defaults are the authors'."""

    num_beams: int = 3
    """Beams of the search; 1 is greedy. Not used when sampling."""
    max_new_tokens: int = 30
    """Most tokens of a caption; with timestamps four times as many, for times take tokens, too."""
    min_new_tokens: int = 2
    """Fewest tokens of a caption; with timestamps none, for there may be no event."""
    do_sample: bool = False
    """Draw captions at random (nucleus sampling) instead of searching for the most probable one."""
    temperature: float = 1.0
    """When sampling: below 1 is closer to the most probable caption, above 1 more varied."""
    top_p: float = 0.9
    """When sampling: draw from the most probable tokens that together have this probability."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that the caption already has less probable."""
    timestamps: bool = False
    """Write events with their times ("[0.0-1.5] a dog barks, [1.2-4.0] rain falls"); for captioners that were
    trained on times."""
    num_candidates: int = 1
    """Captions generated for each sound (n-best); at most num_beams unless sampling."""

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_new_tokens", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens must be from 0 to max_new_tokens ({self.max_new_tokens}), "
                f"got {self.min_new_tokens}"
            )
        if not self.temperature > 0 or not self.repetition_penalty > 0:
            raise ValueError(
                "temperature and repetition_penalty must be above 0, "
                f"got {self.temperature} and {self.repetition_penalty}"
            )
        if self.timestamps and self.repetition_penalty != 1.0:
            raise ValueError(
                f"repetition_penalty {self.repetition_penalty} goes without timestamps: times repeat digits"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if not self.do_sample and self.num_candidates > self.num_beams:
            raise ValueError(
                f"num_candidates {self.num_candidates} needs as many beams (num_beams is {self.num_beams}) "
                "or do_sample"
            )

    @property
    def token_limit(self) -> int:
        """Most tokens that are generated."""
        return self.max_new_tokens * (TIMED_TOKENS if self.timestamps else 1)

    @property
    def least_tokens(self) -> int:
        """Fewest tokens that are generated."""
        return 0 if self.timestamps else self.min_new_tokens


@dataclass(frozen=True, kw_only=True)
class CaptionConfig(GenerationConfig):
    """Caption sound files, folders of them, manifests or tar shards.

    The same command goes on after a kill. Exit code 0: all were captioned; 1: some files could not be read
    and are listed; 2: a mistake in the command.
    """

    files: tuple[Path, ...]
    """Sound files, folders (searched for sound, hidden files left out), manifests (.jsonl; `-`: one on the
    standard input) and WebDataset shards (.tar, a folder of them, a pattern as `train-{000000..000039}.tar`);
    each of these may be an fsspec URL. A sound in a shard is named SHARD/MEMBER, here and in manifests; its
    id is its key, and its captions are those of its .json or .txt."""
    model: str
    """Captioner: folder, run folder of a training (its best model) or hub id (name or name@revision)."""
    out: Path | None = None
    """File of captions, one JSON object a line (none: print one line a file). What it holds already is not
    captioned again; beside it, OUT.report.json has the settings and the files that could not be read. `-`:
    the same lines to the standard output, without a report."""
    overwrite: bool = False
    """Begin anew if --out exists."""
    split: str | None = None
    """Use only the clips of this split of manifests and shards."""
    language: str = "eng_Latn"
    """Captions of manifests and shards to keep as references, where they have them by language."""
    channel: Channel | None = None
    """What is heard of several channels: `mean`, `first` or `loudest` (none: as the model was trained)."""
    seed: int = 0
    """Seed for sampling. A run that was killed and continued draws others than one in one go."""
    rerank: Literal["score", "cider", "sentence"] = "score"
    """Which of several candidates is the caption: `score` the most probable, `cider` the one most like the
    others by CIDEr-D (minimum Bayes risk), `sentence` the one most like the others in meaning."""
    cider_captions: Path | None = None
    """For `rerank cider`: manifest whose training captions say how common each phrase is (none: all count
    the same)."""
    sentence_encoder: str = "sentence-transformers/paraphrase-TinyBERT-L6-v2"
    """For `rerank sentence`: folder or hub id of a sentence encoder."""
    max_seconds: float | None = None
    """Longer sounds are heard in overlapping windows of this length, and their captions joined (none: the
    length that the model was trained on; where that is not known, what fits into the decoder's context)."""
    segments: bool = False
    """Caption each file window by window, with times; files of any length, held in memory only in part."""
    window_seconds: float = 10.0
    """With segments: length of a window."""
    hop_seconds: float | None = None
    """With segments: from the start of one window to the next (none: window_seconds)."""
    merge: bool = False
    """With segments: join neighbouring windows of the same caption."""
    subtitles: Literal["none", "srt", "vtt", "audacity", "label_studio"] = "none"
    """With segments or timestamps: also write `srt` or `vtt` subtitles, `audacity` labels or `label_studio`
    tasks, one file for each sound, in the folder OUT.srt, OUT.vtt, OUT.audacity or OUT.label_studio."""
    correct: bool = False
    """Repair captions with a second language model, as `aac-llm correct` does: give --correction.llm."""
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    """With correct: which captions are repaired, and by which model."""
    seconds_per_batch: float = 160.0
    """Sound captioned at once, padding included; a longer file is a batch of its own."""
    batch_size: int = 32
    """Most sounds captioned at once."""
    num_workers: int = 1
    """Processes that decode files while the model works."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` ...; auto: the first GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the model; auto: bfloat16 on a GPU, float32 elsewhere."""
    decoder: str | None = None
    """Folder or hub id of the decoder, if it is not the one that the model names."""
    quantization: Literal["none", "8bit", "4bit"] | None = None
    """Load the decoder in 8 or 4 bits, on a GPU by bitsandbytes; on a CPU `8bit` multiplies 8-bit integers,
    which is faster and changes some captions a little (none given: as the model says)."""
    engine: Literal["local", "ray"] = "local"
    """What runs the job: this process (`local`), or the workers of a Ray cluster (`ray`; `pip install
    aac-llm[ray]`)."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With engine ray: the cluster, its workers and their blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.files:
            raise ValueError("no files: give sound files, folders, manifests or shards")
        check_channel(self.channel)
        check_decoding(self.decode_seconds, self.decode_megabytes)
        self._check_batches()
        self._check_segments()
        if self.correct and self.correction.llm is None and not self.correction.choose:
            raise ValueError(
                "correct needs a language model: give --correction.llm (folder, hub id or name), or "
                "--correction.choose to take one of the candidates"
            )
        if self.correction.choose and self.num_candidates < 2:
            raise ValueError("correction.choose needs candidates: give num_candidates 2 or more")
        if not self.correct and self.correction != CorrectionConfig():
            raise ValueError("correction.* goes with --correct")
        if self.rerank in ("cider", "sentence") and self.num_candidates < 2:
            raise ValueError(f"rerank {self.rerank} chooses among candidates: give num_candidates 2 or more")
        if self.cider_captions is not None and self.rerank != "cider":
            raise ValueError(f"cider_captions goes with rerank cider, got rerank {self.rerank}")
        self._check_engine()

    def _check_engine(self) -> None:
        if self.engine != "ray":
            return
        if self.out is None or str(self.out) == "-":
            raise ValueError("engine ray puts parts together in a file: give --out")
        if self.correction.endpoint is not None:
            raise ValueError(
                "engine ray runs models itself, and correction.endpoint asks a service: leave --correct out, "
                "and then run `aac-llm correct` with the endpoint"
            )

    def _check_batches(self) -> None:
        if not self.seconds_per_batch > 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
        for name in ("batch_size", "num_workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def _check_segments(self) -> None:
        if self.max_seconds is not None and not self.max_seconds >= 1.0:
            raise ValueError(f"max_seconds must be at least 1, got {self.max_seconds}")
        if self.segments and self.max_seconds is not None:
            raise ValueError("max_seconds is for whole sounds: with --segments give --window_seconds")
        if not self.segments and self.merge:
            raise ValueError("merge goes with segments: add --segments")
        if not (self.segments or self.timestamps) and self.subtitles != "none":
            raise ValueError("subtitles need times: add --segments or --timestamps")
        if self.subtitles != "none" and (self.out is None or str(self.out) == "-"):
            raise ValueError("subtitles are written beside --out: give one")
        if not self.window_seconds >= 1.0:
            raise ValueError(f"window_seconds must be at least 1, got {self.window_seconds}")
        hop = self.hop
        if not 0.1 <= hop <= self.window_seconds:
            raise ValueError(
                f"hop_seconds must be from 0.1 to window_seconds ({self.window_seconds}), got {hop}"
            )

    @property
    def hop(self) -> float:
        """Seconds from the start of one window to the next."""
        return self.window_seconds if self.hop_seconds is None else self.hop_seconds
