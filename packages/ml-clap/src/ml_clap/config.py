"""Every setting of every command; standard library and `audio_common.config` only, so `--help` is quick.

A dataclass's fields are a command's flags and a YAML file's keys. Impossible values are refused on
construction, with the flag's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_common.config import CEDConfig

LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn", "nld_Latn", "cat_Latn", "jpn_Jpan", "zho_Hans")
"""The paper's eight languages, by the codes of SONAR (FLORES-200)."""

TEMPERATURE_RANGE = (0.01, 1.0)
"""Where a temperature learnt in log space is kept: similarities are multiplied by 1 to 100."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An ML-CLAP model: CED and a text encoder, each with a two-layer head into one space."""

    audio: CEDConfig = field(default_factory=CEDConfig)
    """Architecture of the audio encoder."""
    audio_weights: str | None = None
    """Where the audio encoder's weights start: hub id (mispeech/ced-base), folder or file; else random."""
    text_backend: Literal["transformers", "sonar"] = "transformers"
    """`transformers` runs any encoder of that library; `sonar` the authors' sonar-space and fairseq2."""
    text_encoder: str = "cointegrated/SONAR_200_text_encoder"
    """Hub id, folder or SONAR's own .pt of the text encoder (for `sonar` also a fairseq2 card's name)."""
    text_prefix: str = ""
    """Put before every text (the e5 family expects `query: `)."""
    text_normalization: Literal["standard", "reference", "none"] = "standard"
    """`standard`: lower case, no punctuation of any script; `reference`: the authors'; `none`: as given."""
    max_text_tokens: int = 128
    """Longer texts are cut to so many tokens, those of language and end included; 512 at most."""
    embed_dim: int = 1024
    """Width of the shared space."""
    temperature: float = 0.07
    """Initial temperature of the loss."""
    temperature_parameter: Literal["log", "raw"] = "log"
    """`log`: learnt in log space and clamped; `raw`: the paper's plain parameter, which can reach zero."""
    freeze_audio: bool = False
    """Keep the audio encoder as it is (its head still learns)."""
    freeze_text: bool = False
    """Keep the text encoder as it is (its head still learns)."""
    gradient_checkpointing: bool = False
    """Recompute the encoders' activations in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        low, high = TEMPERATURE_RANGE if self.temperature_parameter == "log" else (0.0, float("inf"))
        if not max(low, 1e-6) <= self.temperature <= high:
            raise ValueError(
                f"temperature must be between {low} and {high} "
                f"(temperature_parameter: {self.temperature_parameter}), got {self.temperature}"
            )
        if self.embed_dim < 1:
            raise ValueError(f"embed_dim must be at least 1, got {self.embed_dim}")
        if not 3 <= self.max_text_tokens <= 512:
            raise ValueError(f"max_text_tokens must be 3 to 512, got {self.max_text_tokens}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a model is trained on, and what it is validated on."""

    train: tuple[Path, ...] = ()
    """JSONL manifests of training clips."""
    train_splits: tuple[str, ...] = ()
    """Use only these splits of them; none: every clip."""
    validation: tuple[Path, ...] = ()
    """Manifests of validation clips; none: no validation."""
    validation_splits: tuple[str, ...] = ()
    """Use only these splits of them; none: every clip."""
    validation_languages: tuple[str, ...] = ()
    """Languages to validate in; none: all of the validation captions."""
    source_language: str = "eng_Latn"
    """Every caption in this language is used once in each epoch."""
    languages: tuple[str, ...] = ()
    """Further languages to mix in (the paper's language enhancement)."""
    language_rate: float = 0.1
    """How often a caption of a further language joins an epoch; `rate_meaning` says of what."""
    rate_meaning: Literal["per_language", "total"] = "per_language"
    """`per_language`: the paper's, 0.1 of seven languages adds about 70 %; `total`: all share 0.1, +10 %."""
    max_caption_length: int | None = None
    """Captions of a further language with more words (of Japanese and Chinese: characters) are left out."""
    unique_clips: Literal["no", "batch", "epoch"] = "no"
    """`batch`: no clip twice in a batch; `epoch`: one caption of each clip, drawn anew for every epoch."""
    max_seconds: float = 30.0
    """Longer clips are cropped at random."""
    num_workers: int = 2
    """Processes that read audio, for each training process; 0 reads in the training process itself."""
    cache_gigabytes: float = 2.0
    """Decoded audio kept in memory, in all workers together."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.language_rate <= 1.0:
            raise ValueError(f"data.language_rate must be in [0, 1], got {self.language_rate}")
        if self.max_seconds <= 0:
            raise ValueError(f"data.max_seconds must be above 0, got {self.max_seconds}")
        if self.num_workers < 0 or self.cache_gigabytes < 0:
            raise ValueError(
                f"data.num_workers and data.cache_gigabytes must not be negative, "
                f"got {self.num_workers} and {self.cache_gigabytes}"
            )
        if self.max_caption_length is not None and self.max_caption_length < 1:
            raise ValueError(f"data.max_caption_length must be at least 1, got {self.max_caption_length}")
        if self.source_language in self.languages:
            raise ValueError(f"data.languages must not repeat data.source_language ({self.source_language})")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its learning rate: linear warm-up, then a cosine to the end."""

    name: Literal["adamw", "adam"] = "adamw"
    """`adam` adds the weight decay to the gradient, `adamw` takes it off the weights."""
    lr: float = 1e-4
    """Highest learning rate."""
    encoder_lr_factor: float = 1.0
    """The encoders learn at `lr` times this, the heads and the temperature at `lr`."""
    warmup_fraction: float = 0.1
    """Share of the run in which the rate rises from 0."""
    final_lr_factor: float = 0.0
    """At the end of the run the rate is `lr` times this."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two averages."""
    eps: float = 1e-8
    """Added to Adam's denominator."""
    weight_decay: float = 0.01
    """Of matrices; norms, biases, positions and the temperature have none."""
    clip_grad_norm: float | None = 1.0
    """Gradients are scaled down to at most this norm; null: never."""

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.eps <= 0:
            raise ValueError(f"optimizer.lr and optimizer.eps must be above 0, got {self.lr} and {self.eps}")
        for name in ("encoder_lr_factor", "final_lr_factor", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"optimizer.{name} must not be negative, got {getattr(self, name)}")
        if not 0.0 <= self.warmup_fraction < 1.0:
            raise ValueError(f"optimizer.warmup_fraction must be in [0, 1), got {self.warmup_fraction}")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"optimizer.betas must be in [0, 1), got {self.betas}")
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ValueError(
                f"optimizer.clip_grad_norm must be above 0, or null for none, got {self.clip_grad_norm}"
            )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes of the training sounds; all off by default."""

    time_masks: int = 0
    """SpecAugment: stretches of time masked in a clip."""
    time_mask_frames: int = 64
    """Longest such stretch, in frames of 10 ms; half of a clip at most."""
    freq_masks: int = 0
    """SpecAugment: bands of mel bins masked in a clip."""
    freq_mask_bins: int = 8
    """Widest such band, of 64 bins."""
    gain_db: float = 0.0
    """Each clip is made louder or softer by up to so much."""
    time_shift: bool = False
    """Each clip is rotated in time by a random amount, its end coming first."""

    def __post_init__(self) -> None:
        for name in ("time_masks", "time_mask_frames", "freq_masks", "freq_mask_bins", "gain_db"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name} must not be negative, got {getattr(self, name)}")
        if self.freq_mask_bins > 64:
            raise ValueError(f"augment.freq_mask_bins must be at most 64, got {self.freq_mask_bins}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model; `--config FILE.yaml` holds a recipe, and any flag overrides it."""

    out: Path = Path("runs/train")
    """Folder of the run: log, checkpoints, the best and the final model, curves."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The model."""
    init_from: str | None = None
    """Start from this trained model (folder, hub id, or the authors' .pt): fine-tuning. Of `model` only what
    concerns training is then used: freezing, patch-out, drop path, gradient checkpointing."""
    data: DataConfig = field(default_factory=DataConfig)
    """The clips."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes of the training sounds."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizer and learning rate."""
    batch_size: int = 128
    """Pairs that are compared with one another: of one forward pass, over all processes together."""
    accumulation_steps: int = 1
    """Batches per update. Their gradients are averaged; a pair still meets only the others of its own batch,
    so this does not replace a larger `batch_size`."""
    epochs: int = 20
    """Passes over the training captions."""
    max_steps: int | None = None
    """End after so many updates instead of after `epochs`."""
    positives: Literal["clip", "label", "none"] = "clip"
    """Which rows of a batch match besides each caption's own: those of the same `clip`, of the same `label`
    (class-labelled sets, where other clips have the same captions), or `none`."""
    embedding_regularization: bool = True
    """Add the paper's embedding regularisation to the loss."""
    precompute_text: bool = False
    """Encode every caption once before training; for a frozen text encoder and a set that fits in memory."""
    ema_decay: float | None = None
    """Validate and save an exponential moving average of the weights (0.999, say); null: the weights."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Mixed precision of the encoders; the loss is always in fp32."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto` uses the GPU of each process if there is one."""
    seed: int = 0
    """Everything random follows from it."""
    validate_every: int = 1
    """Validate after so many epochs, and at the end."""
    validate_by: Literal["retrieval", "accuracy"] = "retrieval"
    """What validation measures, and the best model has most of: `retrieval` (mAP@10, mean of both ways and
    all languages), or zero-shot `accuracy` (each clip against the captions of every label; needs labels)."""
    checkpoint_every: int = 500
    """Save the training state after so many updates, besides after every epoch."""
    keep_checkpoints: int = 2
    """Older ones are deleted."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` continues from the last checkpoint in `out`, if there is one, as if nothing had happened."""
    log_every: int = 10
    """Updates between lines on the screen; the log file has every update."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Also report there."""

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "accumulation_steps": 1, "epochs": 1, "validate_every": 1}
        least |= {"checkpoint_every": 1, "keep_checkpoints": 1, "log_every": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {getattr(self, name)}")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, or null for none, got {self.max_steps}")
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be between 0 and 1, or null for none, got {self.ema_decay}")
        if self.precompute_text and not self.model.freeze_text:
            raise ValueError("precompute_text needs a text encoder that does not change: --model.freeze_text")
        if not self.data.train:
            raise ValueError("data.train: name the manifests to train on, --data.train FILE.jsonl ...")


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Train a small model on synthesised sounds, evaluate it in eight languages and search with it."""

    out: Path = Path("runs/quickstart")
    """Folder for everything that is made."""
    steps: int = 400
    """Updates to train for; about five minutes on two cores."""
    clips: int = 1500
    """Training scenes to synthesise; validation and test have a tenth of that each."""
    seed: int = 0
    """Of the scenes and of the training."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.clips < 100:
            raise ValueError(f"clips must be at least 100, got {self.clips}")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Measure retrieval both ways, in every language of a manifest's captions."""

    model: str
    """Folder or hub id of the model, or one of the authors' checkpoints."""
    manifest: Path
    """JSONL manifest of clips with captions."""
    split: str | None = None
    """Which clips; needed where the manifest has several splits. `all` takes every clip."""
    languages: tuple[str, ...] = ()
    """Languages to evaluate, as SONAR's codes or ISO 639 (default: all of the captions)."""
    num_captions: int | None = None
    """Use only the first so many captions of a clip in each language."""
    max_clips: int | None = None
    """Use only the first so many clips."""
    bootstrap: int = 1000
    """Draws for the 95 % intervals, which resample clips; 0 for no intervals."""
    seed: int = 0
    """Of the draws."""
    reference: bool = False
    """Run as the authors' evaluation does, faults included, to reproduce their numbers."""
    batch_size: int = 128
    """With `--reference`: rows (captions) of a batch, whose clips share their padding and dB floor."""
    seconds_per_batch: float = 160.0
    """Without `--reference`: sound encoded at once."""
    num_workers: int = 1
    """Threads that read files."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write all numbers to this file."""
    plot: Path | None = None
    """Also draw R@1 and R@10 of every language to this file (png, svg, pdf)."""

    def __post_init__(self) -> None:
        _check_at_least(self, 1, "batch_size", "num_workers", "num_captions", "max_clips")
        _check_at_least(self, 0, "bootstrap")
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")


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
        _check_at_least(self, 1, "top_k", "num_workers", "max_clips")
        _check_at_least(self, 0, "bootstrap")
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")


def _check_at_least(config: EvaluateConfig | ClassifyConfig, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Make or update an index of a folder or manifest of sounds; a second run encodes only what is new."""

    source: Path
    """Folder of sound files, read recursively, or a JSONL manifest."""
    out: Path | None = None
    """Folder of the index; made if it is not there, else updated."""
    model: str | None = None
    """Folder or hub id of the model (a new index needs it; else the one the index was made with)."""
    window_seconds: float = 10.0
    """Files longer than this are cut into windows, so that a hit says where in the file."""
    hop_seconds: float = 10.0
    """From the start of one window to the next; less than the window makes them overlap."""
    dtype: Literal["float32", "float16"] = "float32"
    """How vectors are stored; float16 halves the size."""
    keep_vanished: bool = False
    """Keep clips whose file is gone (a disk that is not mounted); else they are taken out."""
    seconds_per_batch: float = 160.0
    """Sound encoded at once."""
    num_workers: int = 1
    """Threads that read files."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the report to this file."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the index goes, --out FOLDER")
        if self.model is None and not (self.out / "index.json").exists():
            raise ValueError(
                f"model: {self.out} is a new index, say by which model to make it, --model MODEL"
            )
        if not 0 < self.hop_seconds <= self.window_seconds:
            raise ValueError(
                f"hop_seconds must be above 0 and at most window_seconds ({self.window_seconds}), or sound "
                f"would fall between the windows; got {self.hop_seconds}"
            )
        if self.seconds_per_batch <= 0:
            raise ValueError(f"seconds_per_batch must be above 0, got {self.seconds_per_batch}")
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search an index by text in any language, or by a sound."""

    index: Path
    """Folder made by `ml-clap index`."""
    query: tuple[str, ...] = ()
    """What to look for, in the language `--lang`; several texts are several queries."""
    lang: str = "eng_Latn"
    """Language of the texts, as SONAR's code (fra_Latn) or ISO 639 (fr)."""
    queries: Path | None = None
    """Text file of further queries, one a line; `fra_Latn<TAB>un chien aboie` gives a line its language."""
    audio: tuple[Path, ...] = ()
    """Sound files to find similar sounds of."""
    top_k: int = 10
    """Hits per query."""
    model: str | None = None
    """The model, if it is no longer where it was when the index was made."""
    all_windows: bool = False
    """List every window of a file that scores high; else only its best one."""
    engine: Literal["numpy", "faiss", "auto"] = "numpy"
    """`numpy` is exact; `faiss` is approximate above 200,000 vectors; `auto` is the faster one."""
    device: str = "auto"
    """Where the model runs: cpu, cuda, cuda:1, mps; `auto` takes the GPU if there is one."""
    json: Path | None = None
    """Also write the hits to this file."""

    def __post_init__(self) -> None:
        if not (self.query or self.queries or self.audio):
            raise ValueError("query: nothing to search for; give a text, --audio FILE or --queries FILE")
        if self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What every reader of `ml-clap prepare` has in common: what is checked, and where the manifest goes."""

    source: Path
    """What to read."""
    out: Path | None = None
    """The manifest to write (.jsonl); a report and what was checked are kept beside it."""
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
    silence_db: float = -60.0
    """Warn of clips whose loudest sample is below this level, dB of full scale."""
    licence: str | None = None
    """Licence of the recordings, noted for each clip."""
    num_workers: int = 4
    """Threads that read files."""
    json: Path | None = None
    """Also write the report to this file."""

    def __post_init__(self) -> None:
        if self.out is None:
            raise ValueError("out: say where the manifest goes, --out FILE.jsonl")
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
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
    """Name of the split that these clips are."""
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
    finds it in the file's name (ESC: `^\\d+-(\\d+)-`). None: each file is a recording."""
    train_captions: int | None = None
    """So many first captions of a label in each language are for training and validation, the rest for other
    splits. None: all for all."""
    seed: int = 0
    """Of the choice of validation recordings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions is None:
            raise ValueError("captions: say what the labels mean, --captions FILE.json")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation must be in [0, 1), got {self.validation}")
        if self.train_captions is not None and self.train_captions < 1:
            raise ValueError(f"train_captions must be at least 1, got {self.train_captions}")
        if self.splits and self.split_by is None:
            raise ValueError(
                "splits needs split_by: say by which column of the list, such as --split_by fold"
            )


@dataclass(frozen=True, kw_only=True)
class PrepareTuxpaintConfig(PrepareConfig):
    """Make a manifest of the sound stamps of Tux Paint, described in many languages."""

    source: Path
    """Folder of the stamps (from Debian's package tuxpaint-stamps-default), or an effects.jsonl."""
    split: str | None = None
    """Name of the split that these clips are."""


# Further dataclasses (DataConfig, TrainConfig, EvaluateConfig, ...) are added by their commands' authors.
