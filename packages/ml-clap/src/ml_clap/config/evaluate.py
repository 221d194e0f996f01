"""Settings of `ml-clap evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least
from ml_clap.config.ray import RayConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Measure retrieval both ways, in every language of a manifest's captions."""

    data: Path
    """Manifest (.jsonl) of clips with captions; with `--engine ray` also shards, or a URL of either."""
    model: str
    """Folder, file, hub id or https address of a model (ML-CLAP, GLAP, CLAP of transformers,
    sentence-transformers), or a training run."""
    text_tower: Path | None = None
    """Folder of a small text tower made for the model (`distill`, `project`, `export`), which embeds all
    texts."""
    split: str | None = None
    """Split to evaluate; needed where the manifest has several. `all` takes every clip."""
    languages: tuple[str, ...] = ()
    """Languages to evaluate, as SONAR's codes or ISO 639 (default: all of the captions)."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    num_captions: int | None = None
    """Use only this many captions of a clip in each language, the first ones."""
    limit: int | None = None
    """Use only this many clips, the first ones."""
    bootstrap: int = 1000
    """Draws for the 95 % intervals, which resample clips; 0: no intervals."""
    recording: str | None = None
    """Key of the manifest's rows that says which recording a clip was cut from: the intervals then resample
    recordings, since clips of one are alike."""
    equal_captions: bool = False
    """Count captions that are equal word for word as right for each other's clips (labelled sets)."""
    rewordings: tuple[Literal["keywords", "question", "negation"], ...] = ()
    """Also ask in other words, made by rules of each language, and compare."""
    moments: tuple[float, ...] = ()
    """Instead of all this: find the seconds (`start`, `end` in each row) in long files, by windows of these
    lengths in seconds (2 5 10, say)."""
    seed: int = 0
    """Seed for bootstrap sampling."""
    reference: bool = False
    """Run as the authors' evaluation does, faults included, to reproduce their numbers."""
    batch_size: int = 128
    """With `--reference`: rows (captions) of a batch, whose clips share their padding and dB floor."""
    seconds_per_batch: float = 160.0
    """Without `--reference`: seconds of audio encoded at once."""
    channel: Channel | None = None
    """What is made of several channels: `mean` (the louder one where they cancel out), `first` or `loudest`
    (default: as the model was trained, else `mean`)."""
    engine: Literal["local", "ray"] = "local"
    """`ray` embeds sounds and captions in the workers of a Ray cluster, with the same result (see `ray`)."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With `--engine ray`: the cluster, its workers and their parts."""
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
    card: bool = False
    """Add the scores, with their intervals, to the model card of --model (a folder): its README.md."""
    json: Path | None = None
    """Also write all numbers to this file; `-`: to standard output."""
    plot: Path | None = None
    """Also draw R@1 and R@10 of every language, with intervals and chance, to this file (png, svg, pdf)."""
    heat_map: Path | None = None
    """Also draw heat maps (png, svg, pdf): all metrics by language, and how many of the first 10 hits
    each two languages share."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size", "num_workers", "num_captions", "limit")
        check_decoding(self.decode_seconds, self.decode_megabytes)
        check_at_least(self, 0, "bootstrap")
        if self.moments:
            self._check_moments()
        if self.engine == "ray":
            self._check_ray()
        if self.card and not Path(self.model).is_dir():
            raise ValueError(f"card: scores go to the card of a model's folder, got --model {self.model}")
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")

    def _check_ray(self) -> None:
        for name in ("reference", "moments"):
            if getattr(self, name):
                raise ValueError(f"{name} does not go with --engine ray, which embeds clips in any order")
        if self.ray.parts is None and (self.json is None or str(self.json) == "-"):
            raise ValueError(
                "ray.parts: say where the workers leave what they embedded, --ray.parts FOLDER (or --json "
                "FILE: then it goes beside that)"
            )

    def _check_moments(self) -> None:
        if min(self.moments) <= 0:
            raise ValueError(f"moments are lengths of windows in seconds, above 0, got {list(self.moments)}")
        of_clips = (
            "reference",
            "equal_captions",
            "rewordings",
            "recording",
            "plot",
            "heat_map",
            "num_captions",
            "card",
        )
        for name in of_clips:
            if getattr(self, name) not in (None, False, ()):
                raise ValueError(f"{name} is of whole clips and does not go with --moments: leave one out")
