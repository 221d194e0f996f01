"""`aac-llm train`: a captioner from its settings (paper, section 3: pretraining, AudioCaps, Clotho).

OUT/config.json         the settings
OUT/checkpoints/        where training can resume; the same command again does
OUT/best/               the best model on the validation clips
OUT/last/               the model at the end
OUT/metrics.jsonl       what was logged; OUT/curves.png shows it
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from aac_llm.config.train import TrainConfig
from aac_llm.data.dataset import CaptionDataset
from aac_llm.data.manifest import Clip, ManifestError, read_manifest
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.checkpoint import restore
from aac_llm.trainers.curves import plot_curves
from aac_llm.trainers.memory import estimate_memory
from aac_llm.trainers.trainer import (
    CaptionTrainer,
    MetricsFile,
    SaveOnInterrupt,
    is_whole,
    total_parameters,
    write_json,
)

FREE_TO_CHANGE = {"device", "report_to", "log_every_steps", "keep_checkpoints", "epochs", "max_steps"}
"""Settings that may differ when training resumes."""


@dataclass(frozen=True)
class TrainResult:
    """What came out."""

    out: Path
    """The folder."""
    model: Path
    """The best model, or the last where nothing was validated."""
    scores: dict[str, float]
    """Validation scores of the best model; empty without validation."""
    steps: int
    """Updates."""


def train(config: TrainConfig) -> TrainResult:
    """Train, or resume what was begun in `config.out`.

    Raises:
        ValueError: there are no clips, or `out` holds a training with other settings.
        KeyboardInterrupt: after Ctrl-C, when all is saved.
    """
    join_processes(config)
    checkpoint = find_checkpoint(config.out)
    check_settings(config, resumes=checkpoint is not None)
    set_seed(config.seed)
    train_set = make_dataset(config, config.data.train, config.data.train_splits, training=True)
    validation_set = None
    if config.data.validation:
        validation_set = make_dataset(
            config, config.data.validation, config.data.validation_splits, training=False
        )
    model = build_model(config)
    if checkpoint:
        restore(model, checkpoint)
    interrupt = SaveOnInterrupt()
    updates = count_updates(config, len(train_set))
    trainer = CaptionTrainer(
        config,
        model,
        training_arguments(config, updates, validate=validation_set is not None),
        train_set,
        validation_set,
        [MetricsFile(config.out / "metrics.jsonl"), interrupt],
    )
    if trainer.is_world_process_zero():
        describe(config, model, train_set, updates)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if interrupt.interrupted:
        raise KeyboardInterrupt(f"Saved in {config.out}; the same command goes on from there.")
    return finish(config, trainer, [train_set, validation_set] if validation_set else [train_set])


def build_model(config: TrainConfig) -> CaptionModel:
    """A new model, or a trained one to go on from, ready for training."""
    source = config.start_from
    # Quantised weights are made on the GPU; all others go there when training begins, or a part of them.
    device = "cpu" if config.model.quantization == "none" else PartialState().device
    if source:
        model = CaptionModel.from_pretrained(source, device=device)
    else:
        model = CaptionModel.from_config(config.model, device=device)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def make_dataset(
    config: TrainConfig, manifests: Sequence[Path], splits: Sequence[str], *, training: bool
) -> CaptionDataset:
    """The examples of some splits of some manifests."""
    clips = read_clips(manifests, splits)
    if not clips:
        raise ManifestError(
            f"no clip of {', '.join(map(str, manifests)) or 'no manifest'} has a split of {list(splits)}; "
            f"set data.{'train' if training else 'validation'} and its splits"
        )
    return CaptionDataset(
        clips,
        max_seconds=config.data.max_seconds,
        captions=config.data.captions if training else "one",
        random=training,
        seed=config.seed,
        cache_gigabytes=config.data.cache_gigabytes,
    )


def read_clips(manifests: Sequence[Path], splits: Sequence[str]) -> list[Clip]:
    """Clips of all manifests, of the given splits or all."""
    clips = [clip for path in manifests for clip in read_manifest(path)]
    return [clip for clip in clips if not splits or clip.split in splits]


def training_arguments(config: TrainConfig, updates: int, *, validate: bool) -> TrainingArguments:
    """The settings in transformers' form."""
    every = config.validation.every_steps
    save = config.save_every_steps
    return TrainingArguments(
        output_dir=str(config.out / "checkpoints"),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=round(updates * config.warmup_ratio),
        lr_scheduler_type="cosine",
        max_grad_norm=config.max_grad_norm,
        bf16=config.bf16,
        eval_strategy=("steps" if every else "epoch") if validate else "no",
        eval_steps=every or None,
        save_strategy="steps" if save else "epoch",
        save_steps=save or 500,
        save_total_limit=config.keep_checkpoints,
        logging_steps=config.log_every_steps,
        report_to=list(config.report_to) or "none",
        use_cpu=uses_cpu(config),
        seed=config.seed,
        data_seed=config.seed,
        remove_unused_columns=False,
        label_names=["labels"],
        ddp_find_unused_parameters=False,
    )


def count_updates(config: TrainConfig, num_examples: int) -> int:
    """Updates of the whole training."""
    if config.max_steps:
        return config.max_steps
    passes = -(-num_examples // (config.batch_size * PartialState().num_processes))
    return -(-passes // config.gradient_accumulation) * config.epochs


def uses_cpu(config: TrainConfig) -> bool:
    """Whether training is on the processor: it was asked for, or there is nothing else."""
    asked = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return asked or not torch.accelerator.is_available()


def join_processes(config: TrainConfig) -> None:
    """Meet the other processes of a launcher, before anything is written or counted.

    Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    """
    PartialState(cpu=uses_cpu(config), timeout=timedelta(minutes=30))


def check_settings(config: TrainConfig, *, resumes: bool) -> None:
    """Write the settings to `out`; refuse to resume with others.

    Raises:
        ValueError: with every setting that changed.
    """
    path = config.out / "config.json"
    now = json.loads(json.dumps(asdict(config), default=str))
    if path.is_file() and resumes:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{name}: {before[name]} -> {now[name]}"
            for name in now
            if name not in FREE_TO_CHANGE and name in before and before[name] != now[name]
        ]
        if changed:
            raise ValueError(
                f"{config.out} holds a training with other settings ({'; '.join(changed)}); "
                "give another --out, or the same settings to resume"
            )
    if PartialState().is_main_process:
        config.out.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
    PartialState().wait_for_everyone()


def find_checkpoint(out: Path) -> Path | None:
    """The latest whole checkpoint; what a kill left half-written is removed."""
    folder = out / "checkpoints"
    while folder.is_dir() and (found := get_last_checkpoint(str(folder))):
        if is_whole(Path(found)):
            return Path(found)
        shutil.rmtree(found, ignore_errors=True)
    return None


def describe(config: TrainConfig, model: CaptionModel, dataset: CaptionDataset, updates: int) -> None:
    """Print what will be trained, for how long and with how much memory."""
    parts = {"encoder": model.encoder, "bridge": model.bridge, "decoder": model.decoder}
    for name, part in parts.items():
        trained, total = total_parameters(part, trained=True), total_parameters(part)
        print(f"{name:8} {trained / 1e6:8.2f} M of {total / 1e6:8.2f} M parameters are trained")
    seconds = config.data.max_seconds
    clips = f"{len(dataset.clips)} clips" + (
        "" if len(dataset) == len(dataset.clips) else f", {len(dataset)} captions"
    )
    print(f"{clips}, {updates} updates of {config.batch_size * config.gradient_accumulation} on each device")
    print(f"{seconds:g} s of sound become {model.token_budget(seconds)} embeddings")
    estimate = estimate_memory(
        model,
        batch_size=config.batch_size,
        seconds=seconds,
        half_precision=config.bf16 or model.config.decoder_dtype != "float32",
        gradient_checkpointing=config.gradient_checkpointing,
    )
    print(f"memory on each device: {estimate}")


def finish(config: TrainConfig, trainer: CaptionTrainer, datasets: Sequence[CaptionDataset]) -> TrainResult:
    """Save the last model and the curves, and name the clips that were left out."""
    best = config.out / "best"
    trainer.save_captioner(config.out / "last")
    bad = [(str(each.clips[n].audio), reason) for each in datasets for n, reason in each.bad.items()]
    bad = gather_object(bad) if trainer.args.world_size > 1 else bad
    if trainer.is_world_process_zero():
        plot_curves(config.out / "metrics.jsonl", config.out / "curves.png")
        if bad:
            print(f"{len(dict(bad))} clips could not be decoded and were left out:")
            print("\n".join(f"  {audio}: {reason}" for audio, reason in sorted(dict(bad).items())))
    trainer.accelerator.wait_for_everyone()
    record = best / "validation.json"
    scores = json.loads(record.read_text()) if record.is_file() else {}
    model = best if scores else config.out / "last"
    return TrainResult(out=config.out, model=model, scores=scores, steps=trainer.state.global_step)
