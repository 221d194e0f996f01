"""Log-probabilities of a question's options, by models that do not hear it: probes of audio dependence.

Two kinds: an audio LLM that is given silence (`SilentProbe`), and a causal language model of transformers
that reads the text (`TextProbe`). Which one a model is, its config.json says.

The score of an option is the log-probability of the whole answer, its end included: a sum, not a mean over
tokens. The options stand in the prompt, so what follows an option's first words is copied at nearly no cost,
and a mean over tokens would favor whatever is long. With its end an option that another one begins with
(`dog`, `dog barking`) is a text of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from audio_common.hub import fetch
from torch import Tensor

from r1_aqa.config.model import PromptStyle
from r1_aqa.data.dependence import options_of, rotations
from r1_aqa.data.questions import Question, QuestionError
from r1_aqa.models.audio_llm import AudioLLM, load_for_answers
from r1_aqa.models.checkpoint import read_adapter_base
from r1_aqa.models.families import find_family
from r1_aqa.models.foreign import MODEL_FILES, fetch_model, naming
from r1_aqa.models.licence import licence_of_weights, say_licence_of_weights
from r1_aqa.models.log_probs import (
    Prompts,
    completion_log_probs,
    completion_logits,
    shared_prefix_logits,
)
from r1_aqa.models.prompt import format_prompt, format_target
from r1_aqa.models.prompt_cache import EncodedPrompts, LRUCache
from r1_aqa.models.run_folder import find_model
from r1_aqa.models.silence import silent_prompts

STYLE: PromptStyle = "answer"
"""An audio LLM is asked as it is trained and evaluated."""
MOST_ROWS = 64
"""Options, of several orders, that go through a model at once."""


@dataclass
class SilentProbe:
    """An audio LLM that hears silence."""

    llm: AudioLLM
    _clips: LRUCache[Tensor] | None = field(default=None, init=False)

    @torch.no_grad()
    def score(self, question: Question, orders: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the log-probability of each option as each order has it, nats: `(orders, options)`.

        Raises:
            QuestionError: the question is longer than the model's context.
        """
        asked = [_in_order(question, order) for order in orders]
        prompts = silent_prompts(self.llm, asked, style=STYLE, clips=self._clips)
        if why := next(iter(prompts.sounds.unaskable.values()), None):
            raise QuestionError(why)
        self._clips = prompts.clips
        targets = [format_target(option, STYLE) for order in orders for option in order]
        rows = [row for row, order in enumerate(orders) for _ in order]
        tokens = self.llm.tokenizer(targets, add_special_tokens=False)["input_ids"]
        return _by_order(text_log_probs(prompts, rows, tokens), orders)


@torch.no_grad()
def text_log_probs(
    prompts: EncodedPrompts,
    rows: Sequence[int],
    texts: Sequence[Sequence[int]],
    written: Mapping[int, Sequence[int]] | None = None,
) -> Tensor:
    """Return the log-probability of each text behind its prompt, nats: `(texts,)`.

    Args:
        prompts: the questions, of a model that nothing trains.
        rows: of each text the row of its question.
        texts: their tokens.
        written: of rows the tokens that stand between prompt and text, such as thinking.
    """
    llm = prompts.llm
    ids, mask = _pad_right(texts, llm.device)
    distinct, index = prompts.distinct(rows, llm.device)
    if written:
        tails = [torch.tensor(written.get(row, ()), device=llm.device).long() for row in dict.fromkeys(rows)]
        heads = zip(distinct.embeddings or (), tails, strict=True)
        distinct = Prompts(embeddings=[torch.cat([head, llm.embed(tail).to(head)]) for head, tail in heads])
    flash = "flash" in str(getattr(llm.model.config, "_attn_implementation", ""))
    is_shared = llm.family.plain_positions and not flash
    read = shared_prefix_logits if is_shared else completion_logits
    scores = completion_log_probs(read(llm, distinct, index, ids, mask), ids) * mask
    return scores.sum(1)


@dataclass
class TextProbe:
    """A causal language model that reads question and options, as a chat if it has a template for that."""

    model: Any
    tokenizer: Any

    @torch.no_grad()
    def score(self, question: Question, orders: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the log-probability of each option as each order has it, nats: `(orders, options)`.

        Raises:
            QuestionError: the question is longer than the model's context.
        """
        return [self._score_order(_in_order(question, order)) for order in orders]

    def _score_order(self, question: Question) -> list[float]:
        prompt, answers = self._prompt(question), [self.answer_ids(option) for option in question.choices]
        length, most = len(prompt) + max(map(len, answers)), self._max_tokens
        if most is not None and length > most:
            raise QuestionError(f"the question has {length} tokens, the model was made for {most}")
        ids, mask = _pad_right([[prompt[-1], *answer] for answer in answers], self.model.device)
        # The prompt is read once for all its options; its last token comes with them, to predict their first.
        head = ids.new_tensor([prompt[:-1]])
        cache = self.model.base_model(input_ids=head, use_cache=True).past_key_values  # without the head
        cache.batch_repeat_interleave(len(answers))
        whole = torch.cat([mask.new_ones(len(answers), head.shape[1]), mask], 1)
        logits = self.model(input_ids=ids, attention_mask=whole, past_key_values=cache).logits[:, :-1]
        scores = completion_log_probs(logits, ids[:, 1:]) * mask[:, 1:]
        return scores.sum(1).float().cpu().tolist()

    @property
    def _max_tokens(self) -> int | None:
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def _has_chats(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def _prompt(self, question: Question) -> list[int]:
        text = format_prompt(question.question, question.choices, "choices", about_video=question.about_video)
        if not self._has_chats:
            return self.tokenizer(f"{text}\nAnswer:")["input_ids"]
        chat = [{"role": "user", "content": text}]
        laid_out = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return self.tokenizer(laid_out, add_special_tokens=False)["input_ids"]

    def answer_ids(self, option: str) -> list[int]:
        """Return the tokens of an option as an answer, its end included."""
        if self._has_chats:
            ids = self.tokenizer(option, add_special_tokens=False)["input_ids"]
            return [*ids, self.tokenizer.eos_token_id]
        return self.tokenizer(f" {option}\n", add_special_tokens=False)["input_ids"]


Probe = SilentProbe | TextProbe


def score_options(probe: Probe, question: Question) -> list[list[float]]:
    """Return the log-probability of each option in every rotation, nats: `(orders, options)`.

    The columns are the options of `r1_aqa.data.dependence.options_of`, whatever their place in an order.

    Raises:
        QuestionError: the question is longer than the model's context.
    """
    options, _ = options_of(question)
    orders = rotations(options)
    at_once = max(1, MOST_ROWS // len(options))
    parts = [orders[start : start + at_once] for start in range(0, len(orders), at_once)]
    scores = [row for part in parts for row in probe.score(question, part)]
    return [
        [row[order.index(option)] for option in options] for row, order in zip(scores, orders, strict=True)
    ]


def load_probe(source: str, *, device: str = "auto") -> Probe:
    """Load a probe: an audio LLM that this package knows, or else a causal language model.

    Args:
        source: hub id (maybe `@revision`), folder of a model or of adapters, or a run (its best model).
        device: auto, cpu, cuda, ...

    Raises:
        ValueError: it is neither, or damaged.
    """
    name = find_model(source)
    if is_audio_llm(name):
        return SilentProbe(load_for_answers(name, device=device))
    folder = fetch_model(name)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with naming(name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, revision=None, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
            use_safetensors=True,
            revision=None,
            trust_remote_code=False,
        )
    say_licence_of_weights(source, licence_of_weights(name, folder))
    if getattr(tokenizer, "chat_template", None) and tokenizer.eos_token_id is None:
        raise ValueError(f"{source}: its tokenizer has no token that ends an answer (eos_token)")
    return TextProbe(model.eval().to(device), tokenizer)  # type: ignore[arg-type]


def is_audio_llm(name: str) -> bool:
    """Return whether a model is an audio LLM that this package knows, or adapters of one."""
    if read_adapter_base(name):
        return True
    try:
        find_family(name)
    except ValueError:  # of another type; damaged files are named when it is loaded
        return False
    return True


def stamp_of(source: str) -> str:
    """Return a short mark of a model's files that changes when they do: names, sizes, times."""
    folder = fetch(find_model(source), (*MODEL_FILES, "adapter_model.safetensors"))
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name[0] != ".")
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def _in_order(question: Question, order: Sequence[str]) -> Question:
    return replace(question, choices=tuple(order), answer=None, written_answer=None)


def _pad_right(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and mask, `(rows, longest)` int64; masked places hold token 0."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, (torch.arange(longest, device=device)[None] < lengths[:, None]).long()


def _by_order(scores: Tensor, orders: Sequence[Sequence[str]]) -> list[list[float]]:
    parts = scores.float().cpu().split([len(order) for order in orders])
    return [part.tolist() for part in parts]
