"""The kinds of audio LLMs that this package knows: where transformers keeps their parts.

Every family merges the output of an audio encoder into the embeddings of the prompt and gives them to a
language model. A family of your own is a `Family` in a Python file, named as `FILE.py:NAME`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from r1_aqa.models.foreign import read_settings
from r1_aqa.own_code import load_own

Arguments = dict[str, Any]
"""Keyword arguments of a language model's forward."""


@dataclass(frozen=True)
class Family:
    """Names and habits of one kind of audio LLM."""

    model_class: str | type
    """Name of its class in transformers, or the class itself, with transformers' `from_pretrained`."""
    language_model: tuple[str, ...]
    """Names, newest first, of the module that receives the merged embeddings."""
    encoder: tuple[str, ...]
    """Parts of module names that belong to the audio encoder."""
    projector: tuple[str, ...]
    """Parts of module names between encoder and language model."""
    audio_in_text: str = ""
    """Placeholder of the audio in the text, where the chat template knows no parts of content."""
    tokenizes_chats: bool = False
    """Whether its processor lays out, tokenizes and featurizes a chat in one call (Mistral's tokenizer)."""
    oldest: int = 4
    """First line of transformers on which its language model takes all that a prompt is."""
    adapters: str = ""
    """Folder beside the weights with adapters without which it does not hear; they are merged on loading."""
    hears: str = ""
    """Where the processor has the seconds beyond which it cuts audio; empty where it takes all."""
    plain_positions: bool = True
    """Whether positions simply count tokens, so that what was read once can be continued many times."""
    join: Callable[[Any, Arguments], Arguments] = lambda _inner, given: given
    """Language model and what it is given -> the same with all that a prompt is in `inputs_embeds`, where the
    language model merges the sound itself, or is given more of each token than its embedding."""
    split: Callable[[Any, Arguments], Arguments] = lambda _inner, given: given
    """The way back from `join`, to what the language model, and the model around it, take."""
    generates_from_embeddings: bool = True
    """Whether transformers' `generate` of it takes `inputs_embeds`."""
    embed: Callable[[Any, Tensor], Tensor] | None = None
    """Language model and ids `(batch, length)` -> what `join` makes of text; None: embeddings of tokens."""

    @property
    def class_name(self) -> str:
        """Return the name of its class."""
        return self.model_class if isinstance(self.model_class, str) else self.model_class.__name__


def join_layers(_inner: Any, given: Arguments) -> Arguments:
    """Put Gemma's further embeddings, one of each token for each layer, behind the embedding of the token."""
    layers = given.get("per_layer_inputs")
    if layers is None:
        return given
    whole = torch.cat([given["inputs_embeds"], layers.flatten(-2).to(given["inputs_embeds"])], -1)
    return given | {"inputs_embeds": whole, "per_layer_inputs": None}


def split_layers(inner: Any, given: Arguments) -> Arguments:
    """Give Gemma the embeddings for each layer by themselves."""
    whole, config = given.get("inputs_embeds"), inner.config
    if whole is None or whole.shape[-1] == config.hidden_size:
        return given
    layers = whole[..., config.hidden_size :].unflatten(-1, (config.num_hidden_layers, -1))
    return given | {"inputs_embeds": whole[..., : config.hidden_size], "per_layer_inputs": layers}


def embed_layers(inner: Any, ids: Tensor) -> Tensor:
    """Return Gemma's embeddings of text tokens, those for each layer behind, `(batch, length, width)`."""
    embeddings = inner.embed_tokens(ids)
    if not inner.config.hidden_size_per_layer_input:
        return embeddings
    # Gemma 4 takes the embeddings, too, for where it is given no ids.
    more = () if inner.config.model_type.startswith("gemma3n") else (None,)
    layers = inner.get_per_layer_inputs(ids, *more)
    return torch.cat([embeddings, layers.flatten(-2).to(embeddings)], -1)


def merge_phi4(inner: Any, given: Arguments) -> Arguments:
    """Let Phi-4's language model merge the sound into the embeddings, as its forward would."""
    ids = given.get("input_ids")
    if ids is None:
        return given
    names = ("audio_input_features", "audio_embed_sizes", "audio_attention_mask")
    sounds = {name: given[name] for name in names if given.get(name) is not None}
    merged = inner.embed_tokens_extend(ids, inner.embed_tokens(ids), **sounds)
    return given | dict.fromkeys((*names, "input_ids")) | {"inputs_embeds": merged}


FAMILIES = {
    "qwen2_audio": Family(
        "Qwen2AudioForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("multi_modal_projector",),
        hears="feature_extractor.chunk_length",
    ),
    "qwen2_5_omni_thinker": Family(
        "Qwen2_5OmniThinkerForConditionalGeneration",
        ("language_model", "model"),
        ("audio_tower",),
        ("audio_tower.proj",),
        hears="feature_extractor.chunk_length",
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
        "VoxtralForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("multi_modal_projector",),
        tokenizes_chats=True,
    ),
    "audioflamingo3": Family(
        "AudioFlamingo3ForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("multi_modal_projector",),
        hears="max_audio_len",
    ),
    "musicflamingo": Family(
        "MusicFlamingoForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("multi_modal_projector",),
        hears="max_audio_len",
    ),
    "phi4_multimodal": Family(
        "Phi4MultimodalForCausalLM",
        ("model",),
        ("audio_embed.encoder",),
        ("up_proj_for_speech", "down_proj_for_speech"),
        adapters="speech-lora",
        join=merge_phi4,
    ),
    "gemma3n": Family(
        "Gemma3nForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("embed_audio",),
        oldest=5,
        plain_positions=False,
        join=join_layers,
        split=split_layers,
        embed=embed_layers,
    ),
    "gemma4": Family(
        "Gemma4ForConditionalGeneration",
        ("language_model",),
        ("audio_tower",),
        ("embed_audio",),
        generates_from_embeddings=False,
        plain_positions=False,
        join=join_layers,
        split=split_layers,
        embed=embed_layers,
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


def find_family(source: str, own: str | None = None) -> Family:
    """Return the family of a model by its config, so that a renamed folder is still what it is.

    Args:
        source: a hub id or a folder.
        own: `FILE.py:NAME` of a `Family`; None: one of `FAMILIES`. The file is run.

    Raises:
        ValueError: it is not an audio LLM that this package knows, or the file has no family of that name.
    """
    if own is not None:
        family = load_own(own, "family")
        if not isinstance(family, Family):
            raise ValueError(f"family: {own} is a {type(family).__name__}, expected a Family of r1_aqa")
        return family
    model_type = read_settings(source, "config.json").get("model_type", "")
    model_type = WHOLE_OMNI.get(str(model_type), str(model_type))
    if model_type not in FAMILIES:
        raise ValueError(
            f"{source} is a model of type {model_type!r}; r1-aqa knows the audio LLMs "
            f"{', '.join(FAMILIES)}; --family FILE.py:NAME describes others"
        )
    return FAMILIES[model_type]
