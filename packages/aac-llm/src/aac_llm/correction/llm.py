"""The task that a language model is given with a caption, and a model of transformers that does it here.

A model is called with captions and gives for each an answer, or an `LLMError` that says why there is none: a
bad endpoint (`endpoint.py`) costs answers, never the job. Both show the model the same conversation: the task
and some repairs, the last of which leaves a sound caption alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from audio_common.hub import split_revision

from aac_llm.models.endpoint import CutAnswerError, LLMError
from aac_llm.models.licence import licence_of_weights, say_licence_of_weights
from aac_llm.models.run_folder import first_sentence

TASK = (
    "Fix the grammar of a caption of a sound. Keep every sound and add none. Change as few words as you can. "
    "Answer with the caption only."
)
EXAMPLES = (
    ("a kettle kettle whistles and a a spoon clinks", "a kettle whistles and a spoon clinks"),
    ("an owl hoots in the distance with a", "an owl hoots in the distance"),
    ("leaves rustle softly leaves rustle softly", "leaves rustle softly"),
    ("a goat bleat then drill are whirring", "a goat bleats, then a drill is whirring"),
    ("frogs croak near a pond", "frogs croak near a pond"),
)
"""Broken captions and their repairs, shown to the model. Of rare sounds: a small model copies them."""

LLM: TypeAlias = Callable[[Sequence[str]], Sequence["str | LLMError"]]
"""From captions to an answer for each, or why there is none. A plain function will do."""


def messages(caption: str) -> list[dict[str, str]]:
    """Return the conversation that asks for a repair; no system turn, which some models refuse."""
    # The task stands in the first turn alone, or a small model repeats it.
    turns = []
    for number, (broken, repaired) in enumerate(EXAMPLES):
        ask = f"{TASK}\n\n{broken}" if number == 0 else broken
        turns += [{"role": "user", "content": ask}, {"role": "assistant", "content": repaired}]
    return [*turns, {"role": "user", "content": caption}]


def plain_prompt(caption: str) -> str:
    """Return the same for a model without a chat template: a text to continue."""
    shown = "\n\n".join(f"Caption: {broken}\nFixed: {repaired}" for broken, repaired in EXAMPLES)
    return f"{TASK}\n\n{shown}\n\nCaption: {caption}\nFixed:"


def check_source(source: str | Path) -> None:
    """Load a model's configuration; raise ValueError if there is no model of transformers."""
    from transformers import AutoConfig

    name, revision = split_revision(source)
    try:
        AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as e:  # of a configuration without sense transformers raises a dozen kinds
        raise ValueError(
            f"llm: expected a folder or a hub id of a language model, got {source} ({first_sentence(e)})"
        ) from e


class LocalLLM:
    """A causal language model of transformers; answers are greedy, so they can be had again."""

    def __init__(self, model: Any, tokenizer: Any, *, max_new_tokens: int = 64, batch_size: int = 16) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:  # masked, so any token will do
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 64,
        batch_size: int = 16,
    ) -> LocalLLM:
        """Load a folder or a hub id.

        Args:
            source: of the model and its tokenizer; a hub id may be `owner/name@revision`.
            device: `cpu`, `cuda` ...; auto: the first GPU if there is one.
            dtype: auto: bfloat16 on a GPU, float32 elsewhere.
            max_new_tokens: most tokens of an answer.
            batch_size: captions at once.

        Raises:
            ValueError: there is no causal language model.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from aac_llm.models.decoder import NO_FAULT_OF_THE_FILES
        from aac_llm.models.sizes import check_folder

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        name, revision = split_revision(source)
        check_folder(name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                name, revision=revision, dtype=getattr(torch, dtype), trust_remote_code=False
            )
        except NO_FAULT_OF_THE_FILES:
            raise
        except Exception as e:  # of a configuration without sense transformers raises a dozen kinds
            raise ValueError(
                f"llm: no causal language model at {source}, expected a folder or a hub id: "
                f"{first_sentence(e)}"
            ) from e
        say_licence_of_weights(source, licence_of_weights(name))
        model.to(device)
        return cls(model, tokenizer, max_new_tokens=max_new_tokens, batch_size=batch_size)

    def __call__(self, captions: Sequence[str]) -> list[str | LLMError]:
        """Return the model's answer to each caption, or why there is none."""
        import torch

        too_long = LLMError("the caption does not fit into the model's context")
        answers: list[str | LLMError] = [too_long] * len(captions)
        # Like lengths together: less padding.
        order = sorted(
            (place for place, caption in enumerate(captions) if self._fits(caption)),
            key=lambda place: len(captions[place]),
        )
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            found: Sequence[str | LLMError]
            try:
                found = self._answer([captions[place] for place in places])
            # One batch without answers; the next, of shorter captions, may fit.
            except torch.OutOfMemoryError:
                found = [LLMError(f"no memory for {len(places)} captions at once")] * len(places)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers

    def surprise(self, texts: Sequence[str]) -> np.ndarray:
        """Return the mean negative log-probability of texts' tokens, (texts,) nats; infinite without any."""
        found = np.full(len(texts), np.inf)
        order = [place for place in range(len(texts)) if texts[place].strip()]
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            found[places] = self._surprise([texts[place] for place in places])
        return found

    def prompt(self, caption: str) -> str:
        """Return what the model reads, special tokens included."""
        if not self.tokenizer.chat_template:
            return (self.tokenizer.bos_token or "") + plain_prompt(caption)
        # Models that think aloud by default (Qwen3) are told not to; templates of others ignore it.
        return self.tokenizer.apply_chat_template(
            messages(caption), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )

    def _fits(self, caption: str) -> bool:
        """Tell whether caption and answer fit; beyond its positions a model fails, or writes nonsense."""
        context = getattr(self.model.config, "max_position_embeddings", None)
        if context is None:
            return True
        tokens = self.tokenizer(self.prompt(caption), add_special_tokens=False)["input_ids"]
        return len(tokens) + self.max_new_tokens <= context

    def _answer(self, captions: list[str]) -> list[str | LLMError]:
        import torch

        batch = self.tokenizer(
            [self.prompt(caption) for caption in captions],
            padding=True,
            add_special_tokens=False,
            return_tensors="pt",
        ).to(self.model.device)
        with torch.inference_mode():
            tokens = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                num_beams=1,
                # Named, or a chat model's own sampling settings would stay and be warned of.
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.pad_token_id,
                tokenizer=self.tokenizer,
                **({} if self.tokenizer.chat_template else {"stop_strings": ["\n\n"]}),
            )
        made = tokens[:, batch["input_ids"].shape[1] :]
        ends = self.model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        has_end = torch.isin(made, torch.tensor(ends, dtype=made.dtype, device=made.device)).any(dim=1)
        answers = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        is_full = made.shape[1] >= self.max_new_tokens
        return [
            CutAnswerError(answer) if is_full and not ended else answer
            for answer, ended in zip(answers, has_end.tolist(), strict=True)
        ]

    def _surprise(self, texts: list[str]) -> np.ndarray:
        """Return (texts,); a separator comes first, so that texts of one token have a value."""
        import torch

        start = self.tokenizer.bos_token or self.tokenizer.eos_token or ""
        batch = self.tokenizer(
            [start + text for text in texts], padding=True, add_special_tokens=False, return_tensors="pt"
        ).to(self.model.device)
        mask = batch["attention_mask"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self.model(
                input_ids=batch["input_ids"], attention_mask=mask, position_ids=positions
            ).logits  # (texts, tokens, vocabulary)
        log_probs = logits[:, :-1].float().log_softmax(-1)
        chosen = log_probs.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]  # (texts, tokens - 1)
        counted = mask[:, :-1] * mask[:, 1:]
        return (-(chosen * counted).sum(1) / counted.sum(1).clamp(min=1)).cpu().numpy().astype(np.float64)
