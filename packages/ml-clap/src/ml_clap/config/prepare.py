"""Settings of `ml-clap prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Settings that the readers of `ml-clap prepare` share: what is checked, and where the manifest goes."""

    source: Path
    """What to read."""
    out: Path | None = None
    """The manifest to write (.jsonl); a report and what was checked are kept beside it."""
    against: tuple[Path, ...] = ()
    """Other manifests whose clips should not be among these, such as the test set of a training set."""
    drop_overlap: bool = False
    """Skip training clips (and clips without a split) that are in another split or in `--against` too."""
    quick: bool = False
    """Read headers only: damage inside a file, silence, and copies in another format are not found."""
    recheck: bool = False
    """Check also the files that were checked before and have not changed."""
    min_seconds: float = 0.2
    """Warn of shorter clips."""
    silence_db: float = -60.0
    """Warn of clips whose loudest sample is below this level, dB of full scale."""
    channel: Channel = "mean"
    """What is checked of several channels: `mean` (the louder where they cancel out), `first`, `loudest`."""
    licence: str | None = None
    """Licence of the recordings, noted for each clip."""
    num_workers: int = 4
    """Threads that read files."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    json: Path | None = None
    """Also write the report to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the manifest goes, --out FILE.jsonl")
        check_at_least(self, 1, "num_workers")
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if self.min_seconds < 0:
            raise ValueError(f"min_seconds must not be negative, got {self.min_seconds}")


@dataclass(frozen=True, kw_only=True)
class PrepareReferenceConfig(PrepareConfig):
    """Make a manifest of the authors' JSON format (AudioCaps, Clotho, WavCaps)."""

    source: Path
    """JSON file with `data`: entries with caption(s), source_lang(s), audio or wav, id."""
    audio: Path | None = None
    """Folder of the sound files, read recursively (default: the JSON file's)."""
    split: str | None = None
    """Name of these clips' split."""
    language: str = "eng_Latn"
    """Language of captions whose entry names none."""


@dataclass(frozen=True, kw_only=True)
class PrepareClothoConfig(PrepareConfig):
    """Make a manifest of Clotho."""

    source: Path
    """One of Clotho's CSV files (file_name, caption_1, ...), or the folder of all three."""
    audio: Path | None = None
    """Folder of the sound files, read recursively (default: the CSV file's)."""
    split: str | None = None
    """Name of the split, of one CSV file; a folder's are train, validation and test."""
    language: str = "eng_Latn"
    """Language of the captions."""


@dataclass(frozen=True, kw_only=True)
class PrepareAudioCapsConfig(PrepareConfig):
    """Make a manifest of AudioCaps."""

    source: Path
    """One of AudioCaps' CSV files (youtube_id, start_time, caption), or the folder of all three."""
    audio: Path | None = None
    """Folder of the sound files, read recursively (default: the CSV file's); usual names are known."""
    split: str | None = None
    """Name of the split, of one CSV file; a folder's are train, validation and test."""
    language: str = "eng_Latn"
    """Language of the captions."""


@dataclass(frozen=True, kw_only=True)
class PrepareFolderConfig(PrepareConfig):
    """Make a manifest of sounds with labels, and captions of each label (ESC-10, ESC-50, one's own)."""

    source: Path
    """Folder with a folder of sounds for each label; or a list of clips, .jsonl or .csv, with audio (or
    filename), label (or category), and further columns."""
    captions: Path | None = None
    """JSON file: label -> language -> list of captions."""
    audio: Path | None = None
    """Folder that a list's paths are relative to (default: the list's)."""
    split_by: str | None = None
    """Column of the list that decides the split, such as `fold`."""
    splits: tuple[str, ...] = ()
    """Which values of it are which split: `train=1,2,3 test=4`; others are left out. None: the values are the
    splits' names."""
    validation: float = 0.0
    """Share of training clips that become the split `validation`: of each label, by whole recordings."""
    recording: str | None = None
    """What clips of one recording share: a column of the list, or a regular expression whose first group
    finds it in the file's name (ESC: `^\\d+-(\\d+)-`). The manifest keeps it. None: each file is one."""
    train_captions: int | None = None
    """Number of captions of a label in each language that are for training and validation, the first ones;
    the others are for other splits (default: all for all)."""
    seed: int = 0
    """Seed for the choice of validation recordings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions is None:
            raise ValueError("captions: say what the labels mean, --captions FILE.json")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation must be in [0, 1), got {self.validation}")
        check_at_least(self, 1, "train_captions")
        if self.splits and self.split_by is None:
            raise ValueError(
                "splits needs split_by: say by which column of the list, such as --split_by fold"
            )


@dataclass(frozen=True, kw_only=True)
class PrepareWavCapsConfig(PrepareConfig):
    """Make a manifest of WavCaps, without what test sets are made of."""

    source: Path
    """One of its JSON files (as_final, bbc_final, fsd_final, sb_final), or the folder of them."""
    audio: Path | None = None
    """Folder of the sound files, read recursively (default: the source's)."""
    split: str | None = "train"
    """Name of the split."""
    language: str = "eng_Latn"
    """Language of the captions."""
    blacklist: tuple[Path, ...] = ()
    """WavCaps' own lists (default: found beside the source: blacklist_exclude_test_ac.json, which is needed,
    and blacklist_exclude_ub8k_esc50_vggsound.json)."""
    use_blacklist: bool = True
    """Leave out what is on the lists; without it, captions of the test sets' recordings are trained on."""


@dataclass(frozen=True, kw_only=True)
class PrepareESC50Config(PrepareConfig):
    """Make a manifest of ESC-50; its folds are splits (fold1 to fold5)."""

    source: Path
    """Folder with meta/esc50.csv and audio."""
    audio: Path | None = None
    """Folder of the sound files, if they are elsewhere."""
    captions: Path | None = None
    """JSON file: label -> language -> list of captions (default: The sound of LABEL.)."""
    esc10: bool = False
    """Only the ten classes of ESC-10."""


@dataclass(frozen=True, kw_only=True)
class PrepareUrbanSound8KConfig(PrepareConfig):
    """Make a manifest of UrbanSound8K; its folds are splits (fold1 to fold10)."""

    source: Path
    """Folder with metadata/UrbanSound8K.csv and audio."""
    audio: Path | None = None
    """Folder of the sound files, if they are elsewhere."""
    captions: Path | None = None
    """JSON file: label -> language -> list of captions (default: The sound of LABEL.)."""


@dataclass(frozen=True, kw_only=True)
class PrepareFSD50KConfig(PrepareConfig):
    """Make a manifest of FSD50K, whose clips have several classes; splits: train, validation and test."""

    source: Path
    """Folder with FSD50K.ground_truth, FSD50K.dev_audio and FSD50K.eval_audio."""
    audio: Path | None = None
    """Folder of the two folders of sound files, if they are elsewhere."""


@dataclass(frozen=True, kw_only=True)
class PrepareTuxpaintConfig(PrepareConfig):
    """Make a manifest of the sound stamps of Tux Paint, described in many languages."""

    source: Path
    """Folder of the stamps (from Debian's package tuxpaint-stamps-default), or an effects.jsonl."""
    split: str | None = None
    """Name of these clips' split."""


@dataclass(frozen=True, kw_only=True)
class PrepareJSONLConfig(PrepareConfig):
    """Make a manifest of a manifest: aac-llm's, r1-aqa's or one's own; its sounds are checked."""

    source: Path
    """JSON Lines with audio and captions (a list, one text, or language -> list); id, split and all further
    keys are kept."""
    audio: Path | None = None
    """Folder of the sound files, read recursively, where they are not where the manifest says."""
    split: str | None = None
    """Name of the split of clips that have none."""
    language: str = "eng_Latn"
    """Language of captions that are not named by language."""
