"""Settings of `ml-clap prepare shards`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class PrepareShardsConfig:
    """Pack the sounds of a manifest into WebDataset shards, from which `ml-clap train` streams."""

    source: Path
    """The manifest (.jsonl)."""
    out: Path | None = None
    """Folder of the shards, or an fsspec URL such as s3://bucket/sounds; an index stands beside each."""
    splits: tuple[str, ...] = ()
    """Pack only these splits (default: every clip); each is a series of shards by itself."""
    layout: Literal["ours", "reference"] = "ours"
    """`ours` keeps id, split, label, licence and further keys; `reference`: the authors' names and captions
    alone, sounds always as flac."""
    compress: bool = False
    """Write .tar.gz, as the authors do: about as large, slower, and a run resumes there by unpacking."""
    audio: Literal["flac", "original"] = "flac"
    """`flac`: 16 kHz, one channel, 16 bits, all that training hears (as wav where a sound is beyond full
    scale); `original`: the files as they are."""
    max_samples: int = 10_000
    """Most sounds of a shard."""
    max_megabytes: int = 1000
    """Begin another shard beyond this size (10^6 bytes)."""
    shuffle: bool = True
    """Pack in random order: training mixes what lies near in a shard, and manifests are sorted by source."""
    seed: int = 0
    """Seed of that order."""
    channel: Channel = "mean"
    """What is made of several channels: `mean` (the louder where they cancel out), `first`, `loudest`."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    num_workers: int = 2
    """Sounds that are decoded at once."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    json: Path | None = None
    """Also write the report to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the shards go, --out FOLDER or a URL")
        check_at_least(self, 1, "max_samples", "max_megabytes", "num_workers")
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if self.layout == "reference" and self.audio != "flac":
            raise ValueError("audio: the reference's layout has flac alone; leave --audio out")
