"""Settings of `ml-clap calibrate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Find from which score on a hit is an answer, so that a search can say that it found nothing."""

    data: Path
    """Manifest (.jsonl) of clips with captions that the model was not trained on."""
    model: str
    """Folder or hub id of the model, a training run, or one of the authors' checkpoints."""
    false_positives: float = 0.05
    """Share of queries without a right answer in the archive for which something is shown nevertheless."""
    split: str | None = None
    """Split to calibrate with; needed where the manifest has several. `all` takes every clip."""
    held_out: str | None = None
    """Split of the same manifest on which the thresholds are then tried."""
    languages: tuple[str, ...] = ()
    """Languages to calibrate, as SONAR's codes or ISO 639 (default: all of the captions)."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    limit: int | None = None
    """Use only this many clips, the first ones."""
    bootstrap: int = 200
    """Draws for the 95 % intervals, which resample clips."""
    seed: int = 0
    """Seed for bootstrap sampling."""
    out: Path | None = None
    """File to write (default: calibration.json in the model's folder, where a search finds it)."""
    seconds_per_batch: float = 160.0
    """Seconds of audio encoded at once."""
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
    json: Path | None = None
    """Also write the calibration, and how it held on `held_out`, to this file; `-`: to standard output."""

    def __post_init__(self) -> None:
        if not 0.0 < self.false_positives < 1.0:
            raise ValueError(f"false_positives must be between 0 and 1, got {self.false_positives:g}")
        check_at_least(self, 1, "num_workers", "limit", "bootstrap")
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
