"""Sample rollouts by vLLM beside the trainer on the same GPU (`vllm: colocate`), for questions about audio.

TRL starts vLLM, sends it the weights after every update and corrects for its other numerics by importance
sampling; but it would give vLLM the text alone. Here every prompt goes with its audio. The prompt holds one
audio token, which vLLM itself expands.

Untested: vLLM needs a GPU, and no GPU was there. `pip install vllm` beside r1-aqa; what TRL wants of its
version, TRL says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.vllm import vllm_inputs


def sample(trainer: Any, rows: Sequence[int]) -> tuple[list[list[int]], list[list[float]]]:
    """Return the ids of a rollout for each row, and the log-probability that vLLM gave each token."""
    from vllm import SamplingParams  # type: ignore[import-not-found]

    if trainer.state.global_step != trainer._last_loaded_step:
        trainer.vllm_generation.sync_weights()
        trainer._last_loaded_step = trainer.state.global_step
    config = trainer.config
    parameters = SamplingParams(
        n=1,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        max_tokens=config.max_new_tokens,
        logprobs=0,  # those of the sampled token alone
        stop_token_ids=list(trainer.ends),
    )
    outputs = trainer.vllm_generation.llm.generate(
        vllm_prompts(trainer.prompts, rows), sampling_params=parameters, use_tqdm=False
    )
    return read_outputs(outputs)


def vllm_prompts(prompts: EncodedPrompts, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return vLLM's prompt for each row; a clip is decoded once for all its rollouts."""
    return vllm_inputs(prompts, prompts.llm.tokenizer, rows)


def read_outputs(outputs: Sequence[Any]) -> tuple[list[list[int]], list[list[float]]]:
    """Return ids and log-probabilities of the sampled tokens in vLLM's request outputs."""
    ids, log_probs = [], []
    for output in outputs:
        (rollout,) = output.outputs
        ids.append(list(rollout.token_ids))
        log_probs.append(
            [found[token].logprob for token, found in zip(ids[-1], rollout.logprobs, strict=True)]
        )
    return ids, log_probs
