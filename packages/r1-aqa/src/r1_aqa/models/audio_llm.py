"""Audio LLMs of transformers behind one small surface: find their parts, embed prompts, generate, load.

`AudioLLM.embed_prompts` stops a forward pass where the family's own code has merged the encoder's output into
the embeddings of the prompt. These embeddings are computed once and shared by all that follows: rollouts,
log-probabilities of the policy and of the reference. `tests/models/test_audio_llm.py` shows that logits and
generated text are the same as with features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from audio_common.hub import split_revision
from torch import Tensor, nn

from r1_aqa.config.model import ModelConfig, PromptStyle
from r1_aqa.data.questions import Question
from r1_aqa.models.chat import Sounds, encode_chats, format_chat, format_question, longest_seconds
from r1_aqa.models.checkpoint import load_adapters, read_adapter_base
from r1_aqa.models.families import Family, find_family
from r1_aqa.models.foreign import fetch_model, naming
from r1_aqa.models.licence import licence_of_weights, say_licence_of_weights
from r1_aqa.models.prompt import Prompt
from r1_aqa.models.run_folder import find_model
from r1_aqa.models.template import PromptTemplate


class _Stop(Exception):  # noqa: N818 - not an error: it ends a forward pass that has done what is wanted
    pass


@dataclass
class AudioLLM:
    """A loaded model with its processor.

    Attributes:
        model: of transformers, maybe wrapped by peft, accelerate, DDP or DeepSpeed.
        processor: makes tensors of texts and audio; pads on the left.
        family: see `r1_aqa.models.families`.
        revision: of the hub's repository, where one was asked for.
    """

    model: nn.Module
    processor: Any
    family: Family
    revision: str | None = None

    @property
    def tokenizer(self) -> Any:
        """Return the processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.model.parameters()).device

    @property
    def audio_token_id(self) -> int:
        """Return the token whose embeddings the audio takes the place of."""
        config: Any = self.model.config
        found = getattr(config, "audio_token_id", None)
        return int(config.audio_token_index if found is None else found)

    @property
    def max_seconds(self) -> float:
        """Return the longest audio that the processor takes whole; more it would cut without a word."""
        return longest_seconds(self.processor, self.family)

    @property
    def max_tokens(self) -> int | None:
        """Return the most tokens of prompt and answer that the model was made for; None: not known."""
        config: Any = getattr(self.model, "config", None)
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        return getattr(text, "max_position_embeddings", None)

    def why_too_long(self, text: str) -> str | None:
        """Return why a formatted chat cannot be asked, if without its sound it is beyond the model's context.

        Attention over it takes memory with the square of its length, and ends the job for all others.
        """
        most = self.max_tokens
        if most is None or len(text.encode()) <= most:  # a token is a byte at least
            return None
        count = len(self.tokenizer(text)["input_ids"])
        return (
            f"the question has {count} tokens without its sound, the model was made for {most}"
            if count > most
            else None
        )

    def language_model(self) -> nn.Module:
        """Return the module that receives prompt and audio merged as `inputs_embeds`."""
        base = self._base()
        for root in (getattr(base, "model", None), base):  # transformers 5 keeps the parts under `.model`
            for name in self.family.language_model:
                inner = getattr(root, name, None)
                if isinstance(inner, nn.Module):
                    return inner
        raise ValueError(f"{type(base).__name__} has no {' or '.join(self.family.language_model)}")

    def head(self) -> nn.Module:
        """Return the language model's head, which makes logits of hidden states."""
        return self.head_owner().lm_head  # type: ignore[return-value]

    def head_owner(self) -> nn.Module:
        """Return the model that calls the head: the language model, or the whole on transformers 5."""
        owners = (self.language_model(), self._base())
        found = next(
            (owner for owner in owners if isinstance(getattr(owner, "lm_head", None), nn.Module)), None
        )
        if found is None:
            raise ValueError(f"{type(self._base()).__name__} has no lm_head")
        return found

    def embed(self, ids: Tensor) -> Tensor:
        """Return what the language model is given for ids `(batch, length)` of text: `(..., width)`."""
        if self.family.embed is not None:
            return self.family.embed(self.language_model(), ids)
        return self.embedding()(ids)

    def embedding(self) -> nn.Module:
        """Return the embedding of text tokens."""
        return unwrap(self.model).get_input_embeddings()  # type: ignore[operator]

    @contextmanager
    def taking_embeddings(self, first: Tensor | None = None) -> Iterator[None]:
        """Let the whole model take, within the block, what `embed_prompts` returned as `inputs_embeds`.

        Args:
            first: embeddings `(batch, length, width)`, in place of the ids of the first call.
        """
        base, inner, waiting = self._base(), self.language_model(), [] if first is None else [first]

        def split(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            if waiting:
                kwargs = kwargs | {"input_ids": None, "inputs_embeds": waiting.pop()}
            return args, self.family.split(inner, kwargs)

        outer = getattr(base, "model", base)
        handle = outer.register_forward_pre_hook(split, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def giving(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
        """Call the language model with other keyword arguments, within the block.

        Args:
            change: its keyword arguments, all of a prompt in `inputs_embeds` -> those that are different.
        """
        join, split = self.family.join, self.family.split

        def replace(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            given = join(module, kwargs)
            return args, split(module, given | change(given))

        # A hook: the family itself merges the audio, and only what comes after is changed.
        handle = self.language_model().register_forward_pre_hook(replace, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _base(self) -> nn.Module:
        model = unwrap(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]

    def format_chat(self, text: str, *, num_audios: int = 1, system: str | None = None) -> str:
        """Return a question as the model's chat template lays it out, ready for an answer."""
        return format_chat(self.processor, self.family, Prompt(text, system), num_audios=num_audios)

    def format_question(
        self, question: Question, style: PromptStyle, template: PromptTemplate | None = None
    ) -> str:
        """Return the formatted chat of a question about one sound or several, by a template or in a style."""
        return format_question(self.processor, self.family, question, style, template)

    def encode(self, texts: Sequence[str], sounds: Sequence[Sounds]) -> dict[str, Tensor]:
        """Return the tensors of formatted chats, padded on the left, and of their audio.

        Args:
            texts: those of `format_chat`.
            sounds: of each text its audio, 1-D float at 16 kHz, or a list of several.
        """
        return encode_chats(self.processor, self.family, texts, sounds)

    def embed_prompts(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return what the language model is given for encoded prompts: `(batch, length, width)`.

        With gradients, if they are on, into whatever of encoder, projector and embeddings is trained.
        """
        found: dict[str, Tensor] = {}

        def stop(module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
            found["inputs_embeds"] = self.family.join(module, kwargs)["inputs_embeds"]
            raise _Stop

        # A hook, not the family's own function for merging: names and arguments of that differ and change.
        handle = self.language_model().register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.model(**inputs)
        except _Stop:
            return found["inputs_embeds"]
        finally:
            handle.remove()
        raise RuntimeError("the model never called its language model")

    @torch.no_grad()
    def generate(
        self, inputs_embeds: Tensor, attention_mask: Tensor, *, num_rollouts: int = 1, **settings: Any
    ) -> Tensor:
        """Return the ids of the completions alone, those of a prompt side by side.

        A prompt is read once for all its rollouts: its keys and values are computed, then repeated. Where
        positions are more than a count, each rollout reads it, but no encoder runs again.

        Args:
            inputs_embeds: `(batch, length, width)`, of `embed_prompts`.
            attention_mask: `(batch, length)`, 0 for padding on the left.
            num_rollouts: completions of each prompt.
            **settings: for `generate` of transformers.

        Returns:
            `(batch * num_rollouts, new length)` int64.
        """
        inner: Any = self.language_model()
        # Before transformers 5 Qwen2-Audio itself cannot generate from embeddings, its language model can.
        is_inner = hasattr(inner, "lm_head")
        generator: Any = inner if is_inner else self.model
        if num_rollouts > 1 and self.family.plain_positions:
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            # The last position is left to `generate`, which needs something to read.
            cache = inner(
                inputs_embeds=inputs_embeds[:, :-1],
                attention_mask=attention_mask[:, :-1],
                position_ids=positions[:, :-1],
                use_cache=True,
            ).past_key_values
            cache.batch_repeat_interleave(num_rollouts)
            settings["past_key_values"] = cache
        # No logits over the prompt.
        own = without_own_settings(inner if is_inner else self._base())
        embeddings = inputs_embeds.repeat_interleave(num_rollouts, 0)
        settings["attention_mask"] = attention_mask.repeat_interleave(num_rollouts, 0)
        with keep_last(self.head(), 1), own:
            if self.family.generates_from_embeddings:
                with self.taking_embeddings():
                    return generator.generate(inputs_embeds=embeddings, **settings)
            # The ids of the prompts are never looked at; their embeddings take the place of them.
            ids = torch.zeros_like(settings["attention_mask"])
            with self.taking_embeddings(first=embeddings):
                return generator.generate(input_ids=ids, **settings)[:, ids.shape[1] :]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model of transformers or peft inside what accelerate, DDP or DeepSpeed put around it."""
    # Peft has no `module`, so its adapters stay on.
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


@contextmanager
def keep_last(head: nn.Module, count: int) -> Iterator[None]:
    """Let the head see the last `count` positions alone, within the block."""

    def cut(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][:, -count:], *args[1:])

    handle = head.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def without_own_settings(model: Any) -> Iterator[None]:
    """Leave the model's own generation settings out within the block.

    transformers fills up what it is given with them: a published repetition penalty would count in answers
    that are to be greedy, and several sequences for each prompt would be taken for those of others.
    """
    own = model.generation_config
    model.generation_config = transformers.GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


# -- loading --------------------------------------------------------------------------------------------


def load_audio_llm(
    source: str | Path, config: ModelConfig | None = None, *, device: str | torch.device = "cpu"
) -> AudioLLM:
    """Load a model by hub id, or from a folder of a model, of adapters (which name their base) or of a run.

    A hub id may have a revision behind it: `owner/name@revision`.

    Raises:
        ValueError: not an audio LLM that this package knows, or one that the installed transformers lacks;
            or adapters of another model.
    """
    config, source = config or ModelConfig(), find_model(source)
    try:
        base = read_adapter_base(source)
        name = base or source
        family = find_family(name, config.family)
        model_class = family.model_class
        if isinstance(model_class, str):
            model_class = getattr(transformers, model_class, None)  # type: ignore[assignment]
        major = int(transformers.__version__.partition(".")[0])
        if model_class is None or major < family.oldest:
            raise ValueError(
                f"{name} needs {family.class_name}, which transformers {transformers.__version__} lacks, or "
                "has without what is needed here; update it: pip install -U transformers"
            )
        folder = fetch_model(name, more=family.adapters)
    except OSError as e:
        # Why the hub refuses is in `e`, which the command line puts into words; its own are a page long.
        raise ValueError(f"{source} is no folder, and the hub does not give it") from e
    quantization = quantization_config(config)
    with naming(name):
        model = _load_model(model_class, folder, config, quantization)
        model = merge_published(model, folder, family)
        processor = transformers.AutoProcessor.from_pretrained(folder, revision=None, trust_remote_code=False)
    base_name, revision = split_revision(name)
    say_licence_of_weights(source, _licence(source, name, folder))
    # Adapters that are trained name their base by this, and not by its place in the hub's cache.
    model.name_or_path = model.config._name_or_path = base_name
    if base:
        with naming(source):
            model = load_adapters(model, source)
    # Completions are appended: padding must not stand between a prompt and its answer.
    processor.tokenizer.padding_side = "left"
    if config.quantization == "none":  # bitsandbytes has placed the weights already
        model.to(device)
    return AudioLLM(model.eval(), processor, family, revision)


def _licence(source: str, name: str, folder: Path) -> str:
    """Return the licence of a model; of adapters theirs and that of the base that they name."""
    whole = licence_of_weights(split_revision(name)[0], folder)
    return whole if source == name else f"adapters {licence_of_weights(source)}; base {whole} ({name})"


def merge_published(model: Any, folder: Path, family: Family) -> Any:
    """Return the model with the adapters that were published with it merged, where it has some."""
    own = folder / family.adapters
    if not family.adapters or not own.is_dir():
        return model
    return load_adapters(model, str(own)).merge_and_unload()  # type: ignore[operator]


def _load_model(model_class: Any, folder: Path, config: ModelConfig, quantization: Any) -> Any:
    """Return a model every tensor of which comes from the folder's weights.

    Raises:
        ValueError: they lack some: transformers would draw these at random, and answer.
    """
    model, found = model_class.from_pretrained(
        folder,
        dtype=getattr(torch, config.dtype),
        attn_implementation=config.attention,
        quantization_config=quantization,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    missing = sorted(found["missing_keys"])
    if missing and config.quantization == "none":
        raise ValueError(
            f"{folder}: the weights lack {len(missing)} tensors of the model in config.json, the first: "
            f"{missing[0]}"
        )
    return model


def load_for_answers(
    source: str | Path, *, dtype: str = "auto", device: str = "auto", family: str | None = None
) -> AudioLLM:
    """Load a model where it will answer; `auto` is bfloat16 on a GPU if there is one, else float32."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    return load_audio_llm(source, ModelConfig(dtype=dtype, family=family), device=device)  # type: ignore[arg-type]


def quantization_config(config: ModelConfig) -> Any:
    """Return bitsandbytes' settings for `from_pretrained`: 8 bits, 4 bits, or None.

    Raises:
        ValueError: there is no GPU, which quantized weights need.
    """
    if config.quantization == "none":
        return None
    if not torch.cuda.is_available():
        raise ValueError(f"model.quantization {config.quantization} needs a CUDA device")
    if config.quantization == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, config.dtype)
    )
