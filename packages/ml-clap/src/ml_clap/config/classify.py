"""Settings of `ml-clap classify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audio_common.config import Channel, check_decoding

from ml_clap.config.limits import check_at_least


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """Classify audio by descriptions of the classes, in any language, without training."""

    data: tuple[Path, ...]
    """A manifest (.jsonl; its labels, where it has them, are the truth), folders of audio, or audio files."""
    model: str
    """Folder, file, hub id or https address of a model (ML-CLAP, GLAP, CLAP of transformers,
    sentence-transformers), or a training run."""
    text_tower: Path | None = None
    """Folder of a small text tower made for the model (`distill`, `project`, `export`), which embeds all
    texts."""
    prompts: Path | None = None
    """File of the classes: JSON of label -> language -> list of descriptions, of label -> list, or a list of
    labels; or a text file with a label a line."""
    labels: tuple[str, ...] = ()
    """Instead of `--prompts`: the classes as plain words, each put into a sentence (The sound of dog.)."""
    prompt: tuple[str, ...] = ()
    """Sentences into which labels are put instead of the usual ones, with {} for the label, each with its
    language: deu_Latn='Man hört {}.'; without one it is that of `languages`, if that is one."""
    languages: tuple[str, ...] = ()
    """Languages of the descriptions to use, each by itself (default: all that every class has). Labels and
    descriptions that are not by language are in these (default: `language`)."""
    prompt_indices: tuple[int, ...] = ()
    """Which descriptions of a class to use, from 0; their embeddings are averaged (default: all)."""
    recording: str | None = None
    """Key of a manifest's rows that says which recording a clip was cut from: the intervals then resample
    recordings, since clips of one are alike."""
    bootstrap: int = 1000
    """Draws for the 95 % interval of the mean over languages, and of all with `--recording`; 0: none.
    An accuracy's own interval is else Wilson's."""
    seed: int = 0
    """Seed for bootstrap sampling."""
    split: str | None = None
    """Split of a manifest; needed where it has several. `all` takes every clip."""
    language: str = "eng_Latn"
    """Language of captions that the manifest does not name by language."""
    limit: int | None = None
    """Use only this many clips, the first ones."""
    top_k: int = 3
    """Labels shown for each clip without a label of its own."""
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
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "float32"
    """Precision of the model's weights; `auto`: bfloat16 where the device multiplies it faster; `int8`: the
    sound encoder in 8-bit integers, on a CPU."""
    json: Path | None = None
    """Also write all numbers to this file; `-`: to standard output."""
    plot: Path | None = None
    """Also draw the share of each class recognized in each language, with accuracies, their intervals and
    chance, to this file (png, svg, pdf)."""
    confusion: Path | None = None
    """Also draw what each class is taken for, the mean of the languages, to this file (png, svg, pdf)."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("data: nothing to classify; give a manifest, a folder or audio files")
        if self.prompts is None and not self.labels:
            raise ValueError("prompts: say what the classes are, --prompts FILE or --labels dog cat")
        if self.prompts is not None and self.labels:
            raise ValueError("prompts and labels both say what the classes are: give one of them")
        if any(index < 0 for index in self.prompt_indices):
            raise ValueError(f"prompt_indices count from 0, got {list(self.prompt_indices)}")
        check_at_least(self, 0, "bootstrap")
        check_at_least(self, 1, "top_k", "num_workers", "limit")
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
