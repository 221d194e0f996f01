"""What a training tells about itself: its size, what it does not hear, what was cut."""

from __future__ import annotations

import logging

from accelerate import PartialState

from r1_aqa.config.train import GRPOTrainConfig, TrainConfig
from r1_aqa.data.options import count_lettered
from r1_aqa.data.sounds import describe_cuts
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.rewards.columns import reserved_columns
from r1_aqa.trainers.curves import read_log
from r1_aqa.trainers.memory import estimate_memory

logger = logging.getLogger(__name__)


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


def describe(config: TrainConfig, llm: AudioLLM, num_questions: int) -> None:
    """Log what will be trained, and with how much memory."""
    trained = sum(p.numel() for p in llm.model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in llm.model.parameters())
    logger.info("%.2f M of %.2f M parameters are trained", trained / 1e6, total / 1e6)
    logger.info("%d questions", num_questions)
    logger.info("%s", estimate_memory(llm, config))
