"""Sample rollouts by vLLM, for questions about audio: beside the trainer (`colocate`) or on a server.

TRL sends vLLM the weights after every update and corrects for its other numerics by importance sampling; but
it would give vLLM the text alone. Here every prompt goes with its audio.

* `vllm: colocate`: vLLM on the trainer's GPUs, started by TRL. The prompt holds one audio token, which vLLM
  itself expands.
* `vllm: server`: a running `vllm serve`, asked by its OpenAI-compatible chat with the sound as a WAV file.
  The server lays out the chat with the model's own template; what it made of it must be our prompt token by
  token, or training stops.

Untested: vLLM needs a GPU, and no GPU was there; what it is given and sent is tested. `pip install vllm`
beside r1-aqa; what TRL wants of its version and of the server's flags, TRL says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from r1_aqa.config.model import PromptStyle
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.models.remote import sound_chat
from r1_aqa.models.template import prompt_of
from r1_aqa.models.vllm import vllm_inputs
from r1_aqa.trainers.finite import TrainingError

Sampled = tuple[list[list[int]], list[list[float]]]
"""Ids of each rollout, and the log-probability that vLLM gave each of its tokens."""


def sample(trainer: Any, rows: Sequence[int]) -> Sampled:
    """Return a rollout for each row.

    Raises:
        TrainingError: a server lays out a chat in another way than this model is trained on.
    """
    if trainer.state.global_step != trainer._last_loaded_step:
        trainer.vllm_generation.sync_weights()
        trainer._last_loaded_step = trainer.state.global_step
    return (_sample_on_server if trainer.config.vllm == "server" else _sample_beside)(trainer, rows)


def sampling_settings(trainer: Any) -> dict[str, Any]:
    """Return how rollouts are sampled, by vLLM's names; `--trl.generation_kwargs` over all others."""
    config, args = trainer.config, trainer.args
    return {
        "temperature": config.temperature,
        "top_k": config.top_k,
        "top_p": config.top_p,
        "min_p": args.min_p or 0.0,
        "repetition_penalty": args.repetition_penalty,
        "max_tokens": config.max_new_tokens,
    } | (args.generation_kwargs or {})


# -- beside the trainer -----------------------------------------------------------------------------------


def _sample_beside(trainer: Any, rows: Sequence[int]) -> Sampled:
    from vllm import SamplingParams  # type: ignore[import-not-found]

    parameters = SamplingParams(
        n=1,
        logprobs=0,  # those of the sampled token alone
        stop_token_ids=list(trainer.ends),
        **sampling_settings(trainer),
    )
    outputs = trainer.vllm_generation.llm.generate(
        vllm_prompts(trainer.prompts, rows), sampling_params=parameters, use_tqdm=False
    )
    return read_outputs(outputs)


def vllm_prompts(prompts: EncodedPrompts, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return vLLM's prompt for each row; a clip is decoded once for all its rollouts."""
    return vllm_inputs(prompts, prompts.llm.tokenizer, rows)


def read_outputs(outputs: Sequence[Any]) -> Sampled:
    """Return ids and log-probabilities of the sampled tokens in vLLM's request outputs."""
    ids, log_probs = [], []
    for output in outputs:
        (rollout,) = output.outputs
        ids.append(list(rollout.token_ids))
        log_probs.append(
            [found[token].logprob for token, found in zip(ids[-1], rollout.logprobs, strict=True)]
        )
    return ids, log_probs


# -- on a server ------------------------------------------------------------------------------------------


def _sample_on_server(trainer: Any, rows: Sequence[int]) -> Sampled:
    """Return rollouts that the main process asks the server for, for all processes."""
    group = trainer.config.num_rollouts
    asked = list(rows[::group])
    if [row for row in asked for _ in range(group)] != list(rows):
        raise ValueError(
            f"expected the {group} rollouts of each question side by side, got rows {list(rows)}"
        )
    chats = gather_object(server_chats(trainer.prompts, asked, trainer.config.prompt))
    answer: list[Any] = [None]
    if trainer.accelerator.is_main_process:
        answer = [_ask(trainer, chats)]
    broadcast_object_list(answer, from_process=0)
    if isinstance(answer[0], str):
        raise TrainingError(answer[0])
    start = trainer.accelerator.process_index * len(rows)
    ids, log_probs = (part[start : start + len(rows)] for part in answer[0])
    return ids, log_probs


def _ask(trainer: Any, chats: Sequence[dict[str, Any]]) -> Sampled | str:
    """Return the rollouts of all chats, those of one side by side, or why they cannot be used."""
    settings = sampling_settings(trainer)
    found = trainer.vllm_generation.vllm_client.chat(
        messages=[chat["messages"] for chat in chats],
        n=trainer.config.num_rollouts,
        max_tokens=settings["max_tokens"],
        logprobs=0,  # those of the sampled token alone
        generation_kwargs={"stop_token_ids": list(trainer.ends)} | settings,
    )
    for chat, ids in zip(chats, found["prompt_ids"], strict=True):
        if list(ids) != chat["input_ids"]:
            return (
                f"vllm server: it reads question {chat['id']} as {len(ids)} tokens that are not the "
                f"{len(chat['input_ids'])} of training; serve the model of --init_from with its own chat "
                "template"
            )
    parts = zip(found["completion_ids"], found["logprob_token_ids"], found["logprobs"], strict=True)
    log_probs = [_of_sampled(*rollout) for rollout in parts]
    return [list(ids) for ids in found["completion_ids"]], log_probs


def _of_sampled(ids: Sequence[int], tokens: Sequence[list[int]], values: Sequence[list]) -> list[float]:
    """Return the log-probability of each sampled token; NaN, which TRL passes over, where there is none."""
    picked = [row[known.index(token)] for token, known, row in zip(ids, tokens, values, strict=True)]
    return [math.nan if value is None else value for value in picked]


def server_chats(prompts: EncodedPrompts, rows: Sequence[int], style: PromptStyle) -> list[dict[str, Any]]:
    """Return the questions of some rows as OpenAI's chats, and the ids that training reads them as."""
    return [
        {
            "id": prompts.questions[row].id,
            "messages": sound_chat(prompt_of(prompts.questions[row], style), sounds),
            "input_ids": prompts.input_ids(row),
        }
        for row, sounds in zip(rows, prompts.sounds.take(rows), strict=True)
    ]
