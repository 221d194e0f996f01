"""What a training tells about itself: its size, what it does not hear, what was cut."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerState, get_scheduler

from r1_aqa.config.train import GRPOTrainConfig, TrainConfig
from r1_aqa.data.options import count_lettered
from r1_aqa.data.sounds import describe_cuts
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.rewards.columns import reserved_columns
from r1_aqa.trainers.curves import read_log
from r1_aqa.trainers.memory import estimate_memory

logger = logging.getLogger(__name__)

IDLE = ("equal_rewards", "all_cut")
"""Why an update has nothing to learn."""
SAID_EVERY = 20
"""How many such updates come between two lines about them."""


def say_cuts(config: TrainConfig, *prompts: EncodedPrompts) -> int:
    """Say, and return, of how many questions only a part of the sound is heard; say what else is changed."""
    total, advice = 0, "--sound.too_long chooses the part, or skips them; --sound.max_seconds its length"
    for some in prompts:
        count, line = describe_cuts(some.sounds, range(len(some.questions)), advice)
        total += count
        if line and PartialState().is_main_process:
            logger.warning("%s", line)
    if PartialState().is_main_process:
        if lettered := count_lettered(prompts[0].questions):
            logger.info(
                "the options of %d questions have letters, as in (A) Man: answers are compared without",
                lettered,
            )
        if isinstance(config, GRPOTrainConfig) and (names := reserved_columns(prompts[0].questions)):
            logger.warning("the columns %s are not given to rewards: the names are taken", ", ".join(names))
    return total


def truncated_rollouts(config: TrainConfig) -> float | None:
    """Return, and say, the share of rollouts that `max_new_tokens` ended; None where nothing was sampled."""
    rows = read_log(config.out / "log.jsonl") if isinstance(config, GRPOTrainConfig) else []
    shares = [row["completions/clipped_ratio"] for row in rows if "completions/clipped_ratio" in row]
    if not shares or not isinstance(config, GRPOTrainConfig):
        return None
    share = sum(shares) / len(shares)
    if share:
        logger.info(
            "%.1f %% of rollouts were ended after %d tokens (max_new_tokens)",
            100 * share,
            config.max_new_tokens,
        )
    return share


def say_idle(config: GRPOTrainConfig, step: int, why: str, rollouts: Sequence[dict[str, Any]]) -> None:
    """Say that an update has nothing to learn, why, and what helps.

    Args:
        config: the settings.
        step: the update.
        why: one of `IDLE`.
        rollouts: of this process, as they are logged.
    """
    rewards = [row["reward"] for row in rollouts]
    span = (
        f"{min(rewards):.2f}" if min(rewards) == max(rewards) else f"{min(rewards):.2f} to {max(rewards):.2f}"
    )
    cut = sum(row["completion_length"] >= config.max_new_tokens for row in rollouts)
    what = (
        "within each question all rollouts have the same reward"
        if why == "equal_rewards"
        else "every rollout that differs was cut (ignore_truncated)"
    )
    rest = "; only the KL term is felt" if config.beta and config.zero_advantage == "keep" else ""
    logger.warning(
        "update %d has nothing to learn: %s (rewards %s; %d of %d rollouts reach max_new_tokens)%s. "
        "Questions of another difficulty, more rollouts, a higher temperature or more tokens help; this line "
        "comes with every %dth such update",
        *(step, what, span, cut, len(rollouts), rest, SAID_EVERY),
    )


def idle_updates(config: TrainConfig) -> dict[str, int] | None:
    """Return, and say, how many updates had nothing to learn and why; None where nothing is sampled."""
    if not isinstance(config, GRPOTrainConfig):
        return None
    rows = [row for row in read_log(config.out / "log.jsonl") if f"nothing_to_learn/{IDLE[0]}" in row]
    # A line is the mean over the updates since the line before.
    ends = [0, *(row["step"] for row in rows)]
    counts = [end - before for before, end in pairwise(ends)]
    found = {
        why: round(sum(row[f"nothing_to_learn/{why}"] * n for row, n in zip(rows, counts, strict=True)))
        for why in IDLE
    }
    if any(found.values()) and PartialState().is_main_process:
        told = ", ".join(f"{count} {why}" for why, count in found.items())
        logger.warning("%d of %d updates had nothing to learn (%s)", sum(found.values()), sum(counts), told)
    return found


def say_new_length(config: TrainConfig, checkpoint: Path, total: int, warmup: int) -> None:
    """Warn where a training goes on towards another end while its learning rate falls towards the end.

    Args:
        config: the settings.
        checkpoint: from which it goes on.
        total: updates until the end, by these settings.
        warmup: updates over which the rate rises, by these settings.
    """
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    before = state.max_steps
    is_flat = config.lr_scheduler_type == "constant" and not config.warmup_ratio
    if not before or before == total or is_flat or not PartialState().is_main_process:
        return
    step, warmup_before = state.global_step, round(before * config.warmup_ratio)
    old, new = (
        config.learning_rate * _rate_factor(config, step, updates, rising)
        for updates, rising in ((before, warmup_before), (total, warmup))
    )
    logger.warning(
        "this training was to end after %d updates and now ends after %d: at update %d its %s learning rate "
        "goes from %.3g to %.3g. A training of %d updates from the start is another one; lr_scheduler_type "
        "constant goes on as it was",
        *(before, total, step, config.lr_scheduler_type, old, new, total),
    )


def _rate_factor(config: TrainConfig, step: int, total: int, warmup: int) -> float:
    """Return the share of the peak learning rate at an update, by transformers' own schedule."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    schedule: Any = get_scheduler(
        config.lr_scheduler_type,
        torch.optim.SGD([parameter]),
        num_warmup_steps=warmup,
        num_training_steps=total,
        scheduler_specific_kwargs=config.trl.get("lr_scheduler_kwargs"),
    )
    return float(schedule.lr_lambdas[0](step))


def describe(config: TrainConfig, llm: AudioLLM, num_questions: int) -> None:
    """Log what will be trained, and with how much memory."""
    trained = sum(p.numel() for p in llm.model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in llm.model.parameters())
    logger.info("%.2f M of %.2f M parameters are trained", trained / 1e6, total / 1e6)
    logger.info("%d questions", num_questions)
    logger.info("%s", estimate_memory(llm, config))
