"""Settings of `r1-aqa prepare`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from audio_common.config import Channel, check_decoding

from r1_aqa.config.ray import RayConfig


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Settings that all readers share."""

    source: Path
    """The file of questions; `-`: standard input."""
    out: Path
    """Plain JSONL to write, with a report of skipped questions beside it (.report.json); `-`: print it."""
    against: tuple[Path, ...] = ()
    """Benchmarks' files of questions: recordings that are in them, under whatever name, are skipped."""
    against_audio: Path | None = None
    """Folder of the benchmarks' audio; none: beside their files."""
    max_seconds: float = 30.0
    """Longer audio is counted in the report, and skipped with too_long skip."""
    too_long: Literal["keep", "skip"] = "keep"
    """`keep`: training and evaluation cut them by their own rule (`sound.too_long`)."""
    check_sound: bool = True
    """Decode all audio and skip what is corrupt or silent; off: only look whether the file exists."""
    channel: Channel = "mean"
    """Channel that is checked, and extracted from videos: `mean` of all, `first`, or the `loudest`."""
    decode_seconds: float = 60.0
    """Stop decoding a sound after so many seconds (and a tenth of its length): it is listed as bad."""
    decode_megabytes: int = 1024
    """Stop decoding a sound that takes more memory than this."""
    json: Path | None = None
    """Write the report to this JSON file, too; `-`: print it."""
    validation_share: float = 0.0
    """Put all questions about this share of the recordings in OUT's neighbor `.validation.jsonl`."""
    seed: int = 0
    """Seed for the choice of validation recordings, and for options that are drawn."""
    audio_dependence: tuple[str, ...] = ()
    """Probes that answer the questions without their sound, and so find those that need it: audio LLMs, which
    are given silence, and language models, which read the text; each a hub id, a folder, or a run."""
    dependence_share: float = 0.5
    """A question depends on its audio if fewer than this share of the probes answer it."""
    only_dependent: bool = False
    """Keep only the questions that depend on their audio."""
    device: str = "auto"
    """Where probes run: auto, cpu, cuda, cuda:1, ...; `auto`: the GPU if there is one."""
    engine: Literal["local", "ray"] = "local"
    """What checks the audio and asks the probes: this process (`local`), or the workers of a Ray cluster
    (`ray`; `pip install r1-aqa[ray]`); questions and audio may then be at any fsspec URL."""
    ray: RayConfig = field(default_factory=RayConfig)
    """With engine ray: the cluster, its workers and their blocks."""

    def __post_init__(self) -> None:
        check_decoding(self.decode_seconds, self.decode_megabytes)
        if not 0 < self.dependence_share <= 1:
            raise ValueError(f"dependence_share must be in (0, 1], got {self.dependence_share}")
        if self.only_dependent and not self.audio_dependence:
            raise ValueError("only_dependent needs probes that tell which questions depend: audio_dependence")
        if len(set(self.audio_dependence)) < len(self.audio_dependence):
            raise ValueError(f"audio_dependence names a probe twice: {', '.join(self.audio_dependence)}")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share must be in [0, 1), got {self.validation_share}")
        if self.validation_share and str(self.out) == "-":
            raise ValueError("validation_share makes a second file; give out a name other than -")
        if str(self.out) == str(self.json) == "-":
            raise ValueError("out and json are both the standard output: give one of them a file")
        if self.against and not self.check_sound:
            raise ValueError("against compares audio, which check_sound false does not decode")
        if self.engine == "ray" and str(self.out) == "-":
            raise ValueError("engine ray keeps parts beside the output: give out a name other than -")
        if self.engine == "ray" and not self.check_sound and not self.audio_dependence:
            raise ValueError(
                "engine ray decodes the audio and asks probes; with check_sound false and without "
                "audio_dependence there is nothing for it to do"
            )


@dataclass(frozen=True, kw_only=True)
class PrepareQuestionsConfig(PrepareConfig):
    """Questions of the paper's JSONL, benchmarks, ms-swift, ShareGPT or plain JSONL, known by their keys;
    a benchmark by its name, too, and a folder or a Parquet file as the hub has them, with sounds within."""

    audio: Path | None = None
    """Folder of the audio, by file names; none: where the file of questions says."""


@dataclass(frozen=True, kw_only=True)
class PrepareClipsConfig(PrepareConfig):
    """Multiple-choice questions made of the captions or labels of a manifest (ml-clap's, aac-llm's)."""

    audio: Path | None = None
    """Folder of the audio, by file names; none: where the manifest says."""
    about: Literal["auto", "captions", "label"] = "auto"
    """What the options are; `auto`: a clip's label if it has one, else one of its captions."""
    language: str = "eng_Latn"
    """Language of the captions, where a manifest has several."""
    num_choices: int = 4
    """Options of a question: the right one, and others of clips that share no caption or label with it."""
    questions_per_clip: int = 1
    """Questions about each clip, with other options each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_choices < 2:
            raise ValueError(f"num_choices must be at least 2, got {self.num_choices}")
        if self.questions_per_clip < 1:
            raise ValueError(f"questions_per_clip must be at least 1, got {self.questions_per_clip}")


@dataclass(frozen=True, kw_only=True)
class PrepareAVQAConfig(PrepareConfig):
    """AVQA's train_qa.json or val_qa.json, and a folder of its audio or videos."""

    audio: Path
    """Folder of audio or videos, searched with all sub-folders; the sound of videos is extracted."""
    relations: tuple[str, ...] = ("Sound", "Both")
    """Kinds of questions to keep; `View` can be answered by looking alone (the paper kept it)."""
    visual_words: tuple[str, ...] = ("color", "colour", "wearing", "dressed", "clothes", "gender")
    """Skip questions with one of these words, for they are about what is seen; none: keep all (the paper)."""


QuestionKind = Literal[
    "which",
    "absent",
    "first",
    "last",
    "after",
    "count",
    "repeats",
    "loudest",
    "quietest",
    "overlap",
    "longest",
    "shortest",
    "seconds",
]
Difficulty = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, kw_only=True)
class PrepareGenerateConfig(PrepareConfig):
    """Questions whose answers are known, about sounds composed of labelled clips or of synthesized events."""

    audio: Path | None = None
    """Folder of the audio, by file names; none: where the manifest says."""
    num_questions: int = 2000
    """Questions to make, over all kinds and splits, each about a sound of its own."""
    kinds: tuple[QuestionKind, ...] = get_args(QuestionKind)
    """What is asked: which sound is there or absent, order, number, loudness, overlap, length."""
    difficulties: tuple[Difficulty, ...] = get_args(Difficulty)
    """Wrong options: `easy` any sounds that are not there, `medium` sounds like the right one that are not
    there, `hard` sounds that are there, at another place or level."""
    num_choices: int = 4
    """Options of a question."""
    seconds: float = 10.0
    """Length of every sound that is composed: the same for all, so that it gives nothing away."""
    max_sounds: int = 4
    """Most sounds in one; fewer where `seconds` has no room for them."""
    test_share: float = 0.0
    """Put questions about this share of the recordings in OUT's neighbor `.test.jsonl`."""
    recording: str | None = None
    """Column of the manifest that names the recording which a clip was cut from; none: `recording`, or
    `sound_id`, or the source in names like ESC-50's, else each file is one."""
    families: Path | None = None
    """JSON object label -> family, for `medium`; none: the column `family`, the folder above the label's,
    ESC-50's five; labels without one are near to those that sound like them."""
    language: str = "eng_Latn"
    """Language of the captions, where a manifest has captions instead of labels, and several languages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if str(self.out) == "-":
            raise ValueError("the sounds are written into a folder beside out; give out a name other than -")
        for name in ("num_choices", "max_sounds"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if self.num_questions < 1:
            raise ValueError(f"num_questions must be at least 1, got {self.num_questions}")
        if not 2.0 <= self.seconds <= 60.0:
            raise ValueError(f"seconds must be in [2, 60], got {self.seconds}")
        if not 0 <= self.test_share < 1 or self.test_share + self.validation_share >= 1:
            raise ValueError(
                "test_share and validation_share must leave something for training, "
                f"got {self.test_share} and {self.validation_share}"
            )
        if not self.kinds or not self.difficulties:
            raise ValueError("kinds and difficulties must name at least one each")
        if not self.check_sound:
            raise ValueError("sounds are composed of what is heard in them; leave check_sound true")
