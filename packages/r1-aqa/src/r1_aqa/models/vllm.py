"""Ask a model that vLLM runs here (`pip install vllm`); what it is given is tested, itself it needs a GPU.

A prompt goes with its sounds as samples and holds one audio token for each, which vLLM itself expands. The
chat is the one that transformers would be given, so both engines are asked the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import transformers

from r1_aqa.data.sounds import SAMPLE_RATE
from r1_aqa.models.asked import AskedQuestions, Written
from r1_aqa.models.checkpoint import read_adapter_base
from r1_aqa.models.families import find_family
from r1_aqa.models.foreign import fetch_model, naming


class VLLMModel:
    """A model in vLLM's hands, with its processor in ours.

    Args:
        source: a hub id, or the folder of a model.
        dtype: number format of the weights; `auto` is vLLM's choice, bfloat16 for most models.
        max_new_tokens: longest answer.
        max_audios: most sounds of a question.
        seed: vLLM's; answers are greedy.

    Raises:
        ValueError: no audio LLM that is known here, adapters, or a family whose chats transformers cannot lay
            out alone.
    """

    def __init__(
        self, source: str, *, dtype: str = "auto", max_new_tokens: int, max_audios: int = 1, seed: int = 0
    ) -> None:
        from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

        if read_adapter_base(source):
            raise ValueError(f"{source} holds adapters; make a whole model for vLLM: r1-aqa merge {source}")
        self.family = find_family(source)
        if self.family.tokenizes_chats:
            raise ValueError(f"engine vllm does not know the chats of {source}; use engine transformers")
        folder = fetch_model(source)
        with naming(source):
            self.processor: Any = transformers.AutoProcessor.from_pretrained(
                folder, revision=None, trust_remote_code=False
            )
        self.llm = LLM(
            model=str(folder),
            dtype=dtype,
            limit_mm_per_prompt={"audio": max_audios},
            seed=seed,
            trust_remote_code=False,
        )
        # Greedy, as with transformers; the model's own settings (a repetition penalty) do not count.
        self.parameters = SamplingParams(temperature=0.0, max_tokens=max_new_tokens)

    def answer(self, asked: AskedQuestions, rows: Sequence[int]) -> list[Written]:
        """Return what the model writes about each row."""
        prompts = vllm_inputs(asked, self.processor.tokenizer, rows)
        try:
            return self._generate(prompts)
        except ValueError:  # one of them, which would end the job for all, is beyond the model's context
            return [written for prompt in prompts for written in self._alone(prompt)]

    def _alone(self, prompt: dict[str, Any]) -> list[Written]:
        try:
            return self._generate([prompt])
        except ValueError as error:
            return [Written(None, error=" ".join(str(error).split()))]

    def _generate(self, prompts: list[dict[str, Any]]) -> list[Written]:
        outputs = self.llm.generate(prompts, sampling_params=self.parameters, use_tqdm=False)
        found = [output.outputs[0] for output in outputs]
        return [Written(one.text, one.finish_reason == "length") for one in found]


def vllm_inputs(asked: AskedQuestions, tokenizer: Any, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return vLLM's prompt for each row; a clip is decoded once for all rows about it."""
    ids = {row: tokenizer(asked.texts[row])["input_ids"] for row in dict.fromkeys(rows)}
    return [
        {
            "prompt_token_ids": ids[row],
            "multi_modal_data": {"audio": [(samples, SAMPLE_RATE) for samples in sounds]},
        }
        for row, sounds in zip(rows, asked.sounds.take(rows), strict=True)
    ]
