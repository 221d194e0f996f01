"""`r1-aqa train grpo` and `r1-aqa train sft`: from settings to a trained model.

OUT/config.json            the settings
OUT/checkpoint-N/          where training can resume; the same command again does
OUT/best/                  the best model on the validation questions
OUT/last/                  the model at the end
OUT/log.jsonl              what was logged; OUT/curves.png shows it
OUT/skipped.jsonl          questions that were skipped, and why
OUT/silent_answers.jsonl   GRPO: answers without sound, for rewards that compare with them
OUT/finished.json          the result, once the end is reached
OUT/rollouts/              GRPO: every rollout with its rewards (`r1-aqa rollouts OUT`)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from r1_aqa.config.model import ModelConfig
from r1_aqa.config.train import GRPOTrainConfig, SFTTrainConfig, TrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import say_skipped
from r1_aqa.evaluators.scores import chance
from r1_aqa.files import write_json
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.heard import require_heard
from r1_aqa.models.lora import (
    is_adapted,
    lora_config,
    prepare_adapters,
    prepare_full,
    prompts_are_frozen,
)
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.template import read_template
from r1_aqa.output import printable
from r1_aqa.rewards.columns import require_columns
from r1_aqa.rewards.rewards import load_rewards
from r1_aqa.trainers.callbacks import (
    EndAtEnd,
    LogFile,
    NothingLeft,
    SaveOnInterrupt,
    ShowProgress,
    Validation,
    save_model,
)
from r1_aqa.trainers.checkpoint import prepare_resume
from r1_aqa.trainers.curriculum import easiness
from r1_aqa.trainers.curves import ROLLED_OUT, VALIDATED, write_curves
from r1_aqa.trainers.questions import record_skipped, usable_questions, validation_questions
from r1_aqa.trainers.resumable import FiniteUpdates, ResumableTrainer
from r1_aqa.trainers.rollouts import RolloutLog
from r1_aqa.trainers.run_folder import (
    TrainResult,
    checkpoint_step,
    prepare_folder,
    read_result,
    sole_training,
    uses_cpu,
)
from r1_aqa.trainers.silent_answers import COLUMN as SILENT_ANSWER
from r1_aqa.trainers.silent_answers import SilentAnswers, needs_silent_answers
from r1_aqa.trainers.told import describe, idle_updates, say_cuts, say_new_length, truncated_rollouts

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=TrainConfig)


def train_verb(config: GRPOTrainConfig | SFTTrainConfig) -> int:
    """Train, print where the model is, and return 1 if questions were skipped."""
    result = train_grpo(config) if isinstance(config, GRPOTrainConfig) else train_sft(config)
    if PartialState().is_main_process:
        chosen = (
            "" if result.accuracy is None else f" ({result.accuracy:.1%} of the validation questions right)"
        )
        print(f"model:  {printable(result.model)}{chosen}")
        print(f"curves: {printable(result.out / 'curves.png')}")
    return 1 if (config.out / "skipped.jsonl").is_file() else 0


def train_grpo(config: GRPOTrainConfig) -> TrainResult:
    """Train by reinforcement, or resume what was begun in `config.out`.

    Raises:
        ValueError: there is no usable question, or `out` holds a training with other settings.
        DeafModelError: answers do not depend on the audio.
        BusyError: another training writes into `out`.
        TrainingError: a loss, gradient or reward is not finite.
        KeyboardInterrupt: after Ctrl-C, when everything is saved.
    """
    config = typed(config)
    with sole_training(config):
        return read_result(config) or _train_grpo(config)


def train_sft(config: SFTTrainConfig) -> TrainResult:
    """Fine-tune on the right answers, or resume what was begun in `config.out`; errors as `train_grpo`."""
    config = typed(config)
    with sole_training(config):
        return read_result(config) or _train_sft(config)


def typed(config: Config) -> Config:
    """Return the settings with TRL's further ones checked and typed; without such TRL is not imported.

    Raises:
        ValueError: TRL does not take them.
    """
    if not config.trl:
        return config
    from r1_aqa.trainers.trl_settings import with_checked_trl

    return with_checked_trl(config)


def _train_grpo(config: GRPOTrainConfig) -> TrainResult:
    # TRL takes seconds to import: not before a finished training has said that it is finished.
    from r1_aqa.trainers.grpo import grpo_arguments
    from r1_aqa.trainers.grpo_trainer import AudioGRPOTrainer

    # Before the model, which may take minutes to load.
    rewards = load_rewards(
        config.rewards, max_new_tokens=config.max_new_tokens, overlong_margin=config.overlong_margin
    )
    llm, questions, checkpoint = begin(config)
    asks_in_silence = needs_silent_answers(rewards, questions)
    require_columns(rewards, questions, made=[SILENT_ANSWER] if asks_in_silence else [])
    adapters, frozen = set_up(llm, config.model)
    require_enough(config, len(questions))
    log = RolloutLog(config.out / "rollouts")
    trainer = AudioGRPOTrainer(
        llm,
        encode(config, llm, questions, frozen=frozen),
        rewards=rewards,
        config=config,
        args=grpo_arguments(config, **trainer_arguments(config, len(questions))),
        on_rollouts=lambda step, rows: log.append(step, rows),
        peft_config=adapters,
    )
    if asks_in_silence:
        give = partial(trainer.give_column, SILENT_ANSWER)
        trainer.add_callback(SilentAnswers(config, llm, questions, give))
    if checkpoint and trainer.is_world_process_zero():
        log.drop_after(checkpoint_step(checkpoint))
    return run(config, llm, trainer, checkpoint)


def _train_sft(config: SFTTrainConfig) -> TrainResult:
    from r1_aqa.trainers.sft import make_sft_trainer, sft_arguments

    llm, questions, checkpoint = begin(config)
    adapters, _ = set_up(llm, config.model)
    if adapters is not None:
        from peft import get_peft_model

        llm.model = get_peft_model(llm.model, adapters)
    args = sft_arguments(config, **trainer_arguments(config, len(questions)))
    prompts = encode(config, llm, questions, frozen=prompts_are_frozen(llm))
    easy = easiness(questions) if config.data.curriculum == "easy_first" else None
    trainer = make_sft_trainer(
        llm, prompts, prompt=config.prompt, args=args, easy=easy, packing=config.packing
    )
    return run(config, llm, trainer, checkpoint)


def begin(config: TrainConfig) -> tuple[AudioLLM, list[Question], Path | None]:
    """Return the model, the questions, and the checkpoint to resume from."""
    checkpoint = prepare_folder(config)
    questions = usable_questions(config)
    if config.data.curriculum == "easy_first":
        easiness(questions)  # before a model is loaded for minutes
    set_seed(config.seed)  # before the model: new adapters are random
    # Quantized weights are made on the GPU; all others go there when training begins.
    device = "cpu" if config.model.quantization == "none" else PartialState().device
    return load_audio_llm(config.init_from, config.model, device=device), questions, checkpoint


def set_up(llm: AudioLLM, config: ModelConfig) -> tuple[Any, bool]:
    """Choose what is trained.

    Returns:
        The settings of new adapters or None, and whether the embeddings of prompts stay as they are.
    """
    if config.strategy == "full":
        prepare_full(llm, config)
        return None, prompts_are_frozen(llm)
    if is_adapted(llm):
        prepare_adapters(llm)
        return None, prompts_are_frozen(llm)
    # TRL adds new adapters itself, and then uses the model without them as the reference.
    llm.model.requires_grad_(False)
    return lora_config(llm, config), config.freeze_encoder and config.freeze_projector


def questions_at_once(config: GRPOTrainConfig) -> int:
    """Return how many questions are sampled together, in all processes."""
    passes = config.gradient_accumulation_steps * config.minibatches
    return config.batch_size * passes * PartialState().num_processes


def require_enough(config: GRPOTrainConfig, num_questions: int) -> None:
    """Refuse fewer questions than are sampled together, and say how many of the others fill no sampling.

    Raises:
        ValueError: TRL drops what does not fill a sampling, so there would be no update.
    """
    at_once = questions_at_once(config)
    if num_questions < at_once:
        each = "an update takes" if config.minibatches == 1 else f"{config.minibatches} updates take"
        raise ValueError(f"{each} {at_once} questions, there are {num_questions}; lower batch_size")
    if (rest := num_questions % at_once) and PartialState().is_main_process:
        logger.info(
            "each pass over the questions leaves out %d of %d, others each time: they fill no update",
            rest,
            num_questions,
        )


def encode(
    config: TrainConfig, llm: AudioLLM, questions: Sequence[Question], *, frozen: bool
) -> EncodedPrompts:
    """Return questions as prompts; training and validation questions share the cache's bytes."""
    return EncodedPrompts(
        llm,
        questions,
        sound=config.sound,
        style=config.prompt,
        template=read_template(config.template),
        frozen=frozen,
        one_by_one=True,
        cache_bytes=int(config.data.cache_gigabytes * 2**30) // 2,
    )


def run(
    config: TrainConfig, llm: AudioLLM, trainer: ResumableTrainer, checkpoint: Path | None
) -> TrainResult:
    """Check that the model hears, train, save, draw the curves."""
    training = trainer.prompts
    validation = encode(config, llm, validation_questions(config), frozen=prompts_are_frozen(llm))
    interrupt = SaveOnInterrupt(getattr(config, "updates_per_sampling", 1))
    progress, best = ShowProgress(), Validation(config, llm, trainer, validation)
    for callback in (ProgressCallback, PrinterCallback):  # which of them, depends on transformers' verbosity
        trainer.remove_callback(callback)
    log = LogFile(config.out / "log.jsonl")
    for added in (FiniteUpdates(trainer), progress, log, best, interrupt, EndAtEnd()):
        trainer.add_callback(added)
    trainer.card = best.card
    for prompts in (training, validation):
        prompts.sounds.on_unreadable = lambda question, why: skip(config.out, question, why)
    if config.check_heard and not checkpoint:
        heard = require_heard(
            llm,
            training.questions,
            config.sound,
            prompt=config.prompt,
            template=read_template(config.template),
        )
        logger.info("%s", heard)
    if trainer.is_world_process_zero():
        describe(config, llm, len(training.questions))
    num_cut = say_cuts(config, training, validation)
    if checkpoint:
        prepare_resume(checkpoint, trainer.accelerator)
        total = count_updates(config, len(training.questions))
        say_new_length(config, checkpoint, total, round(total * config.warmup_ratio))
    try:
        with suppress(NothingLeft):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        progress.close()
        interrupt.close()
    if interrupt.interrupted:
        raise KeyboardInterrupt(f"Saved in {config.out}; the same command goes on from there.")
    save_model(trainer, llm, config.out / "last", best.card())
    model = config.out / ("best" if best.accuracy is not None else "last")
    result = TrainResult(config.out, model, best.accuracy, trainer.state.global_step)
    if trainer.is_world_process_zero():
        chances = {VALIDATED: chance(validation.questions), ROLLED_OUT: chance(training.questions)}
        write_curves(config.out / "log.jsonl", config.out / "curves.png", chances=chances)
        told = {
            "num_cut": num_cut,
            "truncated_rollouts": truncated_rollouts(config),
            "nothing_to_learn": idle_updates(config),
        }
        write_json(config.out / "finished.json", asdict(result) | told | {"settings": asdict(config)})
    return result


def skip(out: Path, question: Question, why: str) -> None:
    """Say that a question is skipped, and record it."""
    say_skipped(question, why)
    record_skipped(out, [(question, why)])


def count_updates(config: TrainConfig, num_questions: int) -> int:
    """Return the number of updates of the whole training."""
    if config.max_steps:
        return config.max_steps
    if isinstance(config, GRPOTrainConfig):
        return num_questions // questions_at_once(config) * config.updates_per_sampling * config.epochs
    # Divisions rounded up, as transformers counts an unfinished pass or update.
    passes = -(-num_questions // (config.batch_size * PartialState().num_processes))
    return math.ceil(-(-passes // config.gradient_accumulation_steps) * config.epochs)


def trainer_arguments(config: TrainConfig, num_questions: int) -> dict[str, Any]:
    """Return the settings that both trainers have in common, in transformers' form."""
    not_reentrant = {"gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return {
        "output_dir": str(config.out),
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_scheduler_type,
        "warmup_steps": round(count_updates(config, num_questions) * config.warmup_ratio),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm or 0.0,
        "bf16": config.precision == "bf16",
        "fp16": config.precision == "fp16",
        "gradient_checkpointing": config.gradient_checkpointing,  # TRL would switch it on
        **(not_reentrant if config.gradient_checkpointing else {}),
        "deepspeed": str(config.deepspeed) if config.deepspeed else None,
        "save_strategy": "steps" if config.save_steps else "epoch",
        "save_steps": config.save_steps or 500,  # not used after epochs
        "save_total_limit": config.keep_checkpoints,
        "logging_steps": config.logging_steps,
        "logging_nan_inf_filter": False,  # see `FiniteUpdates`
        "disable_tqdm": True,  # progress is ours, see `ShowProgress`
        "report_to": list(config.report_to) or "none",
        "use_cpu": uses_cpu(config),
        "seed": config.seed,
        "data_seed": config.seed,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,  # a row is a number; its audio comes from the cache
    }
