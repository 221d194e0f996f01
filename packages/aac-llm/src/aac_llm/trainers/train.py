"""`aac-llm train`: a captioner from its settings (paper, section 3: pretraining, AudioCaps, Clotho).

What is written, and where: see `run_folder.py`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from audio_common.strict_json import read_object
from torch import nn
from transformers import PrinterCallback, TrainingArguments, set_seed

from aac_llm.config.train import TrainConfig
from aac_llm.data.captions import has_words
from aac_llm.data.dataset import CaptionDataset
from aac_llm.data.manifest import Clip, ManifestError, read_manifest
from aac_llm.files import write_json
from aac_llm.lock import sole_writer
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.config_file import write_use
from aac_llm.models.licence import say_licence_of_weights
from aac_llm.output import printable
from aac_llm.trainers.callbacks import LogFile, SaveOnInterrupt, ShowProgress, ValidateAtEnd
from aac_llm.trainers.checkpoint import prepare_resume
from aac_llm.trainers.confidence import calibrate
from aac_llm.trainers.curves import plot_curves
from aac_llm.trainers.lengths import (
    bad_files,
    check_captions,
    check_lengths,
    check_timestamps,
    crop_note,
    make_report,
)
from aac_llm.trainers.memory import estimate_memory
from aac_llm.trainers.resume import Resume
from aac_llm.trainers.run_folder import (
    BEST,
    CURVES,
    LAST,
    LOG,
    REPORT,
    VALIDATION,
    TrainResult,
    begin,
    read_result,
    write_result,
)
from aac_llm.trainers.trainer import CaptionTrainer
from aac_llm.trainers.validation import describe_scores

logger = logging.getLogger(__name__)


def train_verb(config: TrainConfig) -> int:
    """Train, say where the model is, and return 1 if clips had to be left out."""
    return tell(train(config))


def tell(result: TrainResult) -> int:
    """Say where the model is, and return 1 if clips had to be left out."""
    if PartialState().is_main_process:
        scores = describe_scores({name: value for name, value in result.scores.items() if name != "step"})
        print(
            f"model: {printable(result.model)}"
            + (f" ({scores} after {result.scores['step']:.0f} updates)" if scores else "")
        )
        print(f"curves: {printable(result.out / CURVES)}")
    return 1 if result.bad_clips else 0


def train(config: TrainConfig, trainer: type[CaptionTrainer] = CaptionTrainer) -> TrainResult:
    """Train, or resume what was begun in `config.out`.

    Args:
        config: settings.
        trainer: whose loss is trained for.

    Raises:
        TrainingError: a loss, a gradient or the weights are not finite.
        ValueError: there are no clips, or `out` holds a training with other settings.
        BusyError: another process trains there.
        KeyboardInterrupt: after Ctrl-C, when all is saved.
    """
    check_device(config)
    join_processes(config)
    # One process of a launcher holds the folder for all of them.
    with sole_writer(config.out, folder=True) if PartialState().is_main_process else nullcontext():
        # The first process decides for all; none is away before the last has come.
        found = [read_result(config)]
        return broadcast_object_list(found)[0] or train_rest(config, trainer)


def train_rest(config: TrainConfig, make_trainer: type[CaptionTrainer]) -> TrainResult:
    """Do what is left to do of a training; `config.out` is this process's alone."""
    # Before anything is built: other settings than before are refused in a second, not after loading 7B.
    checkpoint = begin(config)
    # Before the model: its bridge starts from random weights.
    set_seed(config.seed)
    train_set = make_dataset(config, config.data.train, config.data.train_splits, training=True)
    validation_set = None
    if config.data.validation:
        validation_set = make_dataset(
            config, config.data.validation, config.data.validation_splits, training=False
        )
    check_timestamps(config, train_set)
    model = build_model(config)
    model.trained_seconds = max(train_set.durations)
    check_lengths(config, model, train_set)
    for data in (train_set, validation_set):
        if data is not None:
            check_captions(model, data)
    interrupt, progress = SaveOnInterrupt(), ShowProgress()
    updates = count_updates(config, len(train_set))
    trainer = make_trainer(
        config,
        model,
        training_arguments(config, updates, validate=validation_set is not None),
        train_set,
        validation_set,
        [LogFile(config.out / LOG), ValidateAtEnd(), interrupt, progress],
    )
    # Here and not by Trainer: whole weights are loaded before FSDP shares them out. After the trainer is
    # made, which may keep those of the start.
    if checkpoint:
        prepare_resume(checkpoint, trainer.accelerator)
        if not trainer.keeps_parts:
            model.restore(checkpoint)
    # In place of tqdm's bar it prints dictionaries to the standard output.
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Resume(trainer))
    if trainer.is_world_process_zero():
        describe(config, model, train_set, validation_set, updates)
    try:
        trainer.fit(checkpoint)
    finally:
        progress.close()
        interrupt.close()
    if interrupt.stopped:
        raise KeyboardInterrupt(f"Saved in {config.out}; the same command goes on from there.")
    return finish(config, trainer, [train_set, validation_set] if validation_set else [train_set])


def build_model(config: TrainConfig) -> CaptionModel:
    """Make a new model, or load a trained one to go on from, ready for training."""
    source = config.init_from
    # Quantised weights are made on the GPU; all others go there when training begins, or a part of them.
    device = "cpu" if config.model.quantization == "none" else PartialState().device
    if source:
        model = CaptionModel.from_pretrained(source, device=device)
    else:
        model = CaptionModel.from_config(config.model, device=device)
        say_licence_of_weights("the model", model.licence)
    model.channel = config.data.channel
    model.calibrations = {}  # of what it was before
    if config.data.timestamps:
        # Also of a captioner to go on from; no weights are added, so nothing else changes.
        model.config = replace(model.config, timestamps=True)
    model.card = None  # that of the model to go on from would be wrong of this one
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def make_dataset(
    config: TrainConfig, manifests: Sequence[Path], splits: Sequence[str], *, training: bool
) -> CaptionDataset:
    """Make a data set of some splits of some manifests."""
    clips = read_clips(manifests, splits, config.data.language)
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
        channel=config.data.channel,
        timestamps=config.data.timestamps,
    )


def read_clips(manifests: Sequence[Path], splits: Sequence[str], language: str) -> list[Clip]:
    """Read the clips of manifests that have captions in a language, of the given splits or all.

    Raises:
        ManifestError: a manifest cannot be used, or a caption has no words.
    """
    clips = [clip for path in manifests for clip in read_manifest(path, language=language)]
    clips = [clip for clip in clips if not splits or clip.split in splits]
    # Now, not when its turn comes in the midst of an epoch.
    for clip in clips:
        if not all(map(has_words, clip.captions)):
            raise ManifestError(
                f"clip {clip.id!r} of {', '.join(map(str, manifests))} has a caption without words, "
                f"{list(clip.captions)}: take it out, or let `aac-llm prepare jsonl` do it"
            )
        if not all(has_words(event.text) for event in clip.timestamps or ()):
            raise ManifestError(
                f"clip {clip.id!r} of {', '.join(map(str, manifests))} has an event without words"
            )
    return clips


def training_arguments(config: TrainConfig, updates: int, *, validate: bool) -> TrainingArguments:
    """Return the settings in transformers' form."""
    by_steps, save = config.eval_steps, config.save_steps
    arguments = TrainingArguments(
        output_dir=str(config.out),
        # max_steps above 0 overrides it.
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        # transformers 5 has no warmup_ratio.
        warmup_steps=round(updates * config.warmup_ratio),
        lr_scheduler_type="cosine",
        max_grad_norm=config.max_grad_norm or 0.0,
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        eval_strategy=("steps" if by_steps else "epoch") if validate else "no",
        eval_steps=by_steps,
        save_strategy="steps" if save else "epoch",
        save_steps=save or 500,
        save_total_limit=config.keep_checkpoints,
        logging_steps=config.logging_steps,
        # It would hide a loss that is not finite.
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,
        use_cpu=uses_cpu(config),
        seed=config.seed,
        data_seed=config.seed,
        # Batches are dictionaries of ours, not a data set's columns.
        remove_unused_columns=False,
        label_names=["labels"],
        # Every trained parameter takes part in every pass; looking for unused ones costs time.
        ddp_find_unused_parameters=False,
    )
    if not uses_cpu(config) and PartialState().num_processes == 1:
        arguments._n_gpu = 1  # or Trainer would spread batches over all GPUs that it sees (DataParallel)
        if ":" in config.device:
            device = torch.device(config.device)
            torch.accelerator.set_device_index(device.index)
            arguments.__dict__["_setup_devices"] = device  # or it would be the first one
    return arguments


def count_updates(config: TrainConfig, num_examples: int) -> int:
    """Count the updates of the whole training."""
    if config.max_steps:
        return config.max_steps
    # The last batch of an epoch may be smaller, and counts: rounded up, as Trainer does.
    passes = -(-num_examples // (config.batch_size * PartialState().num_processes))
    return -(-passes // config.gradient_accumulation_steps) * config.epochs


def uses_cpu(config: TrainConfig) -> bool:
    """Tell whether training is on the processor: it was asked for, or there is nothing else."""
    asked = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return asked or not torch.accelerator.is_available()


def join_processes(config: TrainConfig) -> None:
    """Meet the other processes of a launcher, before anything is written or counted.

    Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    """
    if ":" in config.device:  # one of several GPUs; accelerate would take the first
        os.environ["ACCELERATE_TORCH_DEVICE"] = config.device
    PartialState(cpu=uses_cpu(config), timeout=timedelta(minutes=30))


def check_device(config: TrainConfig) -> None:
    """Refuse a device or a precision that this machine does not have.

    Raises:
        ValueError: with what to set instead.
    """
    if config.device not in ("auto", "cpu") and not torch.accelerator.is_available():
        raise ValueError(f"device {config.device}: PyTorch sees no such device; set device to auto or cpu")
    if config.precision == "fp16" and uses_cpu(config):
        raise ValueError("precision fp16 needs a GPU: set precision to bf16 or fp32")


def describe(
    config: TrainConfig,
    model: CaptionModel,
    dataset: CaptionDataset,
    validation: CaptionDataset | None,
    updates: int,
) -> None:
    """Log what will be trained, for how long and with how much memory."""
    parts = {"encoder": model.encoder, "bridge": model.bridge, "decoder": model.decoder}
    for name, part in parts.items():
        trained, total = total_parameters(part, trained=True), total_parameters(part)
        logger.info("%-8s %8.2f M of %8.2f M parameters are trained", name, trained / 1e6, total / 1e6)
    seconds = config.data.max_seconds
    clips = f"{len(dataset.clips)} clips" + (
        "" if len(dataset) == len(dataset.clips) else f", {len(dataset)} captions"
    )
    if dataset.num_cropped:
        logger.info("%s", crop_note(dataset, seconds))
    per_update = config.batch_size * config.gradient_accumulation_steps
    logger.info("%s, %d updates of %d on each device", clips, updates, per_update)
    limit = config.validation.max_clips
    if validation is not None and 0 < limit < len(validation):
        logger.info(
            "validation captions %d of %d clips, drawn from every kind; --validation.max_clips takes more",
            limit,
            len(validation),
        )
    logger.info("%g s of sound become %d embeddings", seconds, model.token_budget(seconds))
    estimate = estimate_memory(
        model,
        batch_size=config.captions_per_pass,
        seconds=seconds,
        half_precision=config.precision != "fp32" or model.config.decoder_dtype != "float32",
        gradient_checkpointing=config.gradient_checkpointing,
    )
    logger.info("memory on each device: %s", estimate)


def finish(config: TrainConfig, trainer: CaptionTrainer, datasets: Sequence[CaptionDataset]) -> TrainResult:
    """Save the last model, the curves and what became of the clips; mark the training as finished."""
    best = config.out / BEST
    # All ranks: with FSDP each holds a part.
    trainer.save_captioner(config.out / LAST)
    for data in datasets:
        data.take_over(trainer.found_out(data))
    # Without validation a `best` would be of another training.
    is_validated = trainer.eval_dataset is not None and (best / VALIDATION).is_file()
    scores = read_object(best / VALIDATION) if is_validated else {}
    result = TrainResult(
        out=config.out,
        model=best if scores else config.out / LAST,
        scores=scores,
        steps=trainer.state.global_step,
        bad_clips={file: why for data in datasets for file, why in bad_files(data).items()},
        cropped_clips=sum(data.num_cropped for data in datasets),
    )
    if trainer.is_world_process_zero():
        plot_curves(config.out / LOG, config.out / CURVES)
        if result.bad_clips:
            logger.warning(
                "%d clips could not be decoded and were left out (named above)", len(result.bad_clips)
            )
        for data in datasets:
            if data.num_cropped:
                logger.info("%s", crop_note(data, config.data.max_seconds))
        write_json(config.out / REPORT, make_report(datasets))
        if scores:
            calibrate_best(config, trainer, scores["step"])
        write_result(config, result)
    trainer.accelerator.wait_for_everyone()
    return result


def calibrate_best(config: TrainConfig, trainer: CaptionTrainer, step: float) -> None:
    """Let the best model say how likely its captions are right; see `trainers/confidence.py`.

    Args:
        config: of the training, which is over.
        trainer: with the last model.
        step: the best model's updates.
    """
    data, model, indices = trainer.eval_dataset, trainer.captioner, sorted(trainer.captioned)
    # Shared out among GPUs no single process can caption.
    if not isinstance(data, CaptionDataset) or not indices or trainer.is_sharded:
        return
    best = config.out / BEST
    if step != trainer.state.global_step:
        model.restore(best)
    with trainer.accelerator.autocast():
        model.calibrations = calibrate(model, data, indices, config.validation.batch_size)
    write_use(model.use(), best)


def total_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Count the parameters of a module, or those of them that are trained."""
    return sum(one.numel() for one in module.parameters() if one.requires_grad or not trained)
