"""Settings of `ml-clap classify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """Classify sounds by descriptions of the classes, in any language, without training."""

    model: str
    """Folder or hub id of the model, or one of the authors' checkpoints."""
    source: tuple[Path, ...]
    """A JSONL manifest (its labels, where it has them, are the truth), folders of sounds, or sound files."""
    prompts: Path | None = None
    """JSON file of the classes: label -> language -> list of descriptions."""
    languages: tuple[str, ...] = ()
    """Languages of the descriptions to use, each by itself (default: all that every class has)."""
    prompt_indices: tuple[int, ...] = ()
    """Which descriptions of a class, from 0; their embeddings are averaged (default: all)."""
    split: str | None = None
    """Which clips of a manifest; needed where it has several splits. `all` takes every clip."""
    max_clips: int | None = None
    """Use only the first so many clips."""
    top_k: int = 3
    """Labels shown for each sound without a label of its own."""
    bootstrap: int = 1000
    """Draws for the 95 % intervals, which resample clips; 0 for no intervals."""
    seed: int = 0
    """Of the draws."""
    seconds_per_batch: float = 160.0
    """Sound encoded at once."""
    num_workers: int = 1
    """Threads that read files."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write all numbers to this file."""
    plot: Path | None = None
    """Also draw the share of each class recognised in each language to this file (png, svg, pdf)."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source: nothing to classify; give a manifest, a folder or sound files")
        if self.prompts is None:
            raise ValueError("prompts: say what the classes are, --prompts FILE.json")
        if any(index < 0 for index in self.prompt_indices):
            raise ValueError(f"prompt_indices count from 0, got {list(self.prompt_indices)}")
        check_at_least(self, 1, "top_k", "num_workers", "max_clips")
        check_at_least(self, 0, "bootstrap")
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
