"""Audio LLMs of transformers behind one small surface: load, turn questions into tensors, embed, generate.

Every family merges what its encoder hears into the embeddings of the prompt and gives them to a language
model. `AudioLLM.embed_prompts` stops a forward pass right there, so that the embeddings of a prompt, sound
included, are had once, by the family's own code, and are then shared by all that follows: rollouts,
log-probabilities of the policy and of the reference. `tests/models/test_audio_llm.py` shows that logits and
generated text are the same as with features.

The processors of transformers take sound as `audio=`; current ones ignore or refuse `audios=`, which the
paper's code used: its evaluation would run deaf today.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from r1_aqa.config.model import ModelConfig
from r1_aqa.models.checkpoint import load_adapters, read_adapter_base
from r1_aqa.models.prompt import make_messages

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Family:
    """What sets one kind of audio LLM apart."""

    model_class: str
    """Name in transformers."""
    language_model: tuple[str, ...]
    """Names, newest first, of the module that receives the merged embeddings."""
    encoder: tuple[str, ...]
    """Parts of module names that belong to the audio encoder."""
    projector: tuple[str, ...]
    """Parts of module names between encoder and language model."""
    audio_in_text: str = ""
    """What stands for a sound in the text of a message, where the chat template knows no parts of content."""
    plain_positions: bool = True
    """Whether positions simply count tokens, so that what was read once can be continued many times."""


FAMILIES = {
    "qwen2_audio": Family(
        "Qwen2AudioForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("multi_modal_projector",),
    ),
    "qwen2_5_omni_thinker": Family(
        "Qwen2_5OmniThinkerForConditionalGeneration",
        ("language_model", "model"),
        ("audio_tower",),
        ("audio_tower.proj",),
        plain_positions=False,
    ),
    "qwen3_omni_moe_thinker": Family(
        "Qwen3OmniMoeThinkerForConditionalGeneration",
        ("language_model", "model"),
        ("audio_tower",),
        ("audio_tower.proj1", "audio_tower.proj2"),
        plain_positions=False,
    ),
    "voxtral": Family(
        "VoxtralForConditionalGeneration", ("language_model",), ("audio_tower",), ("multi_modal_projector",)
    ),
    "audioflamingo3": Family(
        "AudioFlamingo3ForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("multi_modal_projector",),
    ),
    "granite_speech": Family(
        "GraniteSpeechForConditionalGeneration",
        ("language_model",),
        ("encoder",),
        ("projector",),
        audio_in_text="<|audio|>",
    ),
}
"""By `model_type` of config.json; those that the installed transformers lacks are refused on loading."""

WHOLE_OMNI = {"qwen2_5_omni": "qwen2_5_omni_thinker", "qwen3_omni_moe": "qwen3_omni_moe_thinker"}
"""Published models that also speak; the part that hears and thinks is loaded, the rest is left."""


class _Stop(Exception):  # noqa: N818 - not an error: it ends a forward pass that has done what is wanted
    pass


@dataclass
class AudioLLM:
    """A loaded model with its processor.

    Attributes:
        model: of transformers, maybe wrapped by peft.
        processor: makes tensors of texts and sounds; pads on the left.
        family: see `FAMILIES`.
    """

    model: nn.Module
    processor: Any
    family: Family

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def audio_token_id(self) -> int:
        """The token whose embeddings the sound takes the place of."""
        config: Any = self.model.config
        found = getattr(config, "audio_token_id", None)
        return int(config.audio_token_index if found is None else found)

    @property
    def language_model(self) -> nn.Module:
        """The module that receives prompt and sound merged as `inputs_embeds`."""
        return language_model(self.model, self.family)

    def format_chat(self, text: str, *, num_audios: int = 1) -> str:
        """A question as the model's chat template lays it out, ready for an answer."""
        if is_voxtral(self.family):
            return text  # its processor lays out and tokenises at once
        messages = make_messages(text, num_audios=num_audios)
        if self.family.audio_in_text:
            messages = [{"role": "user", "content": self.family.audio_in_text * num_audios + text}]
        return self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def encode(self, texts: Sequence[str], sounds: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Tensors of laid-out chats and their sounds (1-D float, 16 kHz), padded on the left."""
        if len(texts) != len(sounds):
            raise ValueError(f"expected one sound a text, got {len(sounds)} sounds for {len(texts)} texts")
        if is_voxtral(self.family):
            from r1_aqa.models.voxtral import encode_chats

            return encode_chats(self.processor, texts, sounds)
        # Granite's processor of transformers 4 takes no rate; it expects 16 kHz, too.
        rate = {} if self.family.audio_in_text else {"sampling_rate": SAMPLE_RATE}
        encoded = self.processor(
            text=list(texts), audio=list(sounds), return_tensors="pt", padding=True, **rate
        )
        return {name: value for name, value in encoded.items() if isinstance(value, Tensor)}

    def embed_prompts(self, inputs: dict[str, Tensor]) -> Tensor:
        """What the language model is given for encoded prompts: `(batch, length, width)`, sound included.

        With gradients, if they are on, into whatever of encoder, projector and embeddings is trained.
        """
        found: dict[str, Tensor] = {}

        def stop(_module: nn.Module, _args: tuple, kwargs: dict[str, Any]) -> None:
            found["inputs_embeds"] = kwargs["inputs_embeds"]
            raise _Stop

        handle = self.language_model.register_forward_pre_hook(stop, with_kwargs=True)
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
        """Ids of the completions alone, `(batch * num_rollouts, length)`, those of a prompt side by side.

        A prompt is read once for all its rollouts: its keys and values are computed, then repeated; where
        positions are more than a count, each rollout reads it, but no encoder runs again.
        """
        inner: Any = self.language_model
        # Before transformers 5 Qwen2-Audio itself cannot generate from embeddings, its language model can.
        generator: Any = inner if hasattr(inner, "lm_head") else self.model
        if num_rollouts > 1 and self.family.plain_positions:
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            cache = inner(
                inputs_embeds=inputs_embeds[:, :-1],
                attention_mask=attention_mask[:, :-1],
                position_ids=positions[:, :-1],
                use_cache=True,
            ).past_key_values
            cache.batch_repeat_interleave(num_rollouts)
            settings["past_key_values"] = cache
        with keep_last(head_of(self.model, self.family), 1):  # no logits over the prompt
            return generator.generate(
                inputs_embeds=inputs_embeds.repeat_interleave(num_rollouts, 0),
                attention_mask=attention_mask.repeat_interleave(num_rollouts, 0),
                **settings,
            )


def is_voxtral(family: Family) -> bool:
    """Whether sounds go through Mistral's own tokenizer."""
    return family is FAMILIES["voxtral"]


def language_model(model: nn.Module, family: Family) -> nn.Module:
    """The module of a model, bare or wrapped by peft, that receives merged embeddings."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    for root in (getattr(base, "model", None), base):  # transformers 5 keeps the parts under `.model`
        for name in family.language_model:
            inner = getattr(root, name, None)
            if isinstance(inner, nn.Module):
                return inner
    raise ValueError(f"{type(base).__name__} has no {' or '.join(family.language_model)}")


def head_of(model: nn.Module, family: Family) -> nn.Module:
    """The language model's head."""
    inner = language_model(model, family)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    head = getattr(inner, "lm_head", None) or getattr(base, "lm_head", None)
    if not isinstance(head, nn.Module):
        raise ValueError(f"{type(base).__name__} has no lm_head")
    return head


@contextmanager
def keep_last(head: nn.Module, count: int) -> Iterator[None]:
    """Within it the head sees the last `count` positions alone."""

    def cut(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][:, -count:], *args[1:])

    handle = head.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def load_audio_llm(config: ModelConfig, *, device: str | torch.device = "cpu") -> AudioLLM:
    """A model by hub name or from a folder; a folder of adapters is put on the base that it names.

    Raises:
        ValueError: not an audio LLM that this package knows, or one that the installed transformers lacks;
            or adapters of another model.
    """
    adapters = read_adapter_base(config.name)
    source = adapters or config.name
    family = find_family(source)
    model_class = getattr(transformers, family.model_class, None)
    if model_class is None:
        raise ValueError(
            f"{source} needs {family.model_class}, which transformers {transformers.__version__} lacks; "
            "update it: pip install -U transformers"
        )
    model = model_class.from_pretrained(
        source,
        dtype=getattr(torch, config.dtype),
        attn_implementation=config.attention,
        quantization_config=quantization_config(config),
    )
    if adapters:
        model = load_adapters(model, config.name)
    processor = transformers.AutoProcessor.from_pretrained(source)
    processor.tokenizer.padding_side = "left"
    if config.quantization == "none":
        model.to(device)
    return AudioLLM(model.eval(), processor, family)


def find_family(source: str) -> Family:
    """The family of a model, by its config: a renamed folder is still what it is."""
    model_type = transformers.PretrainedConfig.get_config_dict(source)[0].get("model_type", "")
    model_type = WHOLE_OMNI.get(model_type, model_type)
    if model_type not in FAMILIES:
        raise ValueError(
            f"{source} is a model of type {model_type!r}; r1-aqa knows the audio LLMs {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def quantization_config(config: ModelConfig) -> Any:
    """For `from_pretrained`: bitsandbytes in 8 or 4 bits, or None."""
    if config.quantization == "none":
        return None
    if not torch.cuda.is_available():
        raise ValueError(f"quantization {config.quantization} needs a CUDA device")
    if config.quantization == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, config.dtype)
    )
