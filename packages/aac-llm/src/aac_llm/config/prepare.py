"""Settings of `aac-llm prepare`, a dataclass for each kind of data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_common.config import check_decoding

from aac_llm.config.sound import Channel, check_channel


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Settings that all readers of `aac-llm prepare` share: checks, and where the manifest goes."""

    source: Path
    """Data set to read."""
    out: Path | None = None
    """The manifest to write (.jsonl); a report and what was checked are kept beside it. `-`: the standard
    output, and nothing is kept."""
    audio: Path | None = None
    """Folder of the sound files, read recursively (default: the source's)."""
    against: tuple[Path, ...] = ()
    """Other manifests whose clips should not be among these, such as the test set of a training set."""
    drop_overlap: bool = False
    """Leave out training clips (or such without a split) that are in another split or in `--against` too."""
    quick: bool = False
    """Read headers only: damage inside a file, silence, and copies in another format are not found."""
    recheck: bool = False
    """Check also the files that were checked before and have not changed."""
    min_seconds: float = 0.2
    """Warn of shorter clips."""
    max_seconds: float | None = None
    """Leave out longer clips."""
    silence_db: float = -60.0
    """Warn of clips whose loudest sample is below this level, dB of full scale."""
    channel: Channel = "mean"
    """What is heard of several channels: their average (`mean`; of channels that cancel each other the
    loudest), the `first` or the `loudest`."""
    licence: str | None = None
    """Licence of the recordings, noted for each clip that has none of its own."""
    num_workers: int = 4
    """Processes that read files."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    json: Path | None = None
    """Also write the report to this JSON file; `-`: to the standard output."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the manifest goes, --out FILE.jsonl")
        if str(self.out) == str(self.json) == "-":
            raise ValueError("out and json are both the standard output: give one of them a file")
        check_channel(self.channel)
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
        if self.min_seconds < 0:
            raise ValueError(f"min_seconds must not be negative, got {self.min_seconds}")
        if self.max_seconds is not None and self.max_seconds <= self.min_seconds:
            raise ValueError(
                f"max_seconds must be over min_seconds ({self.min_seconds}), got {self.max_seconds}"
            )


@dataclass(frozen=True, kw_only=True)
class PrepareClothoConfig(PrepareConfig):
    """Make a manifest of Clotho."""

    source: Path
    """One of Clotho's CSV files (file_name, caption_1, ...), or the folder of all three."""
    split: str | None = None
    """Name of the split, of one CSV file; a folder's are train, validation and test."""


@dataclass(frozen=True, kw_only=True)
class PrepareAudioCapsConfig(PrepareConfig):
    """Make a manifest of AudioCaps, version 1 or 2, or of a table of it with caption_1 to caption_5."""

    source: Path
    """One CSV file (youtube_id, start_time, caption; or file_name, caption_1, ...), or the folder of all."""
    split: str | None = None
    """Name of the split, of one CSV file; a folder's are train, validation and test."""


@dataclass(frozen=True, kw_only=True)
class PrepareWavCapsConfig(PrepareConfig):
    """Make a manifest of WavCaps, without what the test sets of AudioCaps and Clotho are made of."""

    source: Path
    """One of its JSON files (as_final, bbc_final, fsd_final, sb_final), or the folder of them."""
    split: str | None = "train"
    """Name of the split."""
    blacklist: Path | None = None
    """WavCaps' own list, blacklist_exclude_test_ac.json (default: found beside the source)."""
    use_blacklist: bool = True
    """Leave out what is on the list; without it, captions of the test sets' recordings are trained on."""


@dataclass(frozen=True, kw_only=True)
class PrepareMACSConfig(PrepareConfig):
    """Make a manifest of MACS."""

    source: Path
    """MACS.yaml."""
    split: str | None = None
    """Name of the split."""


@dataclass(frozen=True, kw_only=True)
class PrepareAutoACDConfig(PrepareConfig):
    """Make a manifest of Auto-ACD."""

    source: Path
    """CSV file with youtube_id and caption."""
    split: str | None = None
    """Name of the split."""


@dataclass(frozen=True, kw_only=True)
class PrepareReferenceConfig(PrepareConfig):
    """Make a manifest of the reference code's data files (format.data)."""

    source: Path
    """JSON Lines with key, wav, label (of a test set: captions with tabs between) and dur."""
    split: str | None = None
    """Name of the split."""


@dataclass(frozen=True, kw_only=True)
class PrepareSLAMConfig(PrepareConfig):
    """Make a manifest of SLAM-LLM's JSON Lines."""

    source: Path
    """JSON Lines with key, source and target; rows of one source are one clip."""
    split: str | None = None
    """Name of the split."""


@dataclass(frozen=True, kw_only=True)
class PrepareJSONLConfig(PrepareConfig):
    """Check a manifest, or make one of JSON Lines with audio and caption or captions."""

    source: Path
    """JSON Lines; the keys of a manifest, of which id may be missing. Other keys are kept."""
    split: str | None = None
    """Name of the split, of rows that name none."""
    language: str = "eng_Latn"
    """Language of the captions to take, where rows have them by language; a list is taken to be in it.
    Captions in other languages are kept."""
