"""The kinds of audio LLMs that this package knows: where transformers keeps their parts.

Every family merges the output of an audio encoder into the embeddings of the prompt and gives them to a
language model.
"""

from __future__ import annotations

from dataclasses import dataclass

from r1_aqa.models.foreign import read_settings


@dataclass(frozen=True)
class Family:
    """Names and habits of one kind of audio LLM."""

    model_class: str
    """Class in transformers."""
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
    hears: str = ""
    """Where the processor has the seconds beyond which it cuts audio; empty where it takes all."""
    plain_positions: bool = True
    """Whether positions simply count tokens, so that what was read once can be continued many times."""


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


def find_family(source: str) -> Family:
    """Return the family of a model by its config, so that a renamed folder is still what it is.

    Raises:
        ValueError: it is not an audio LLM that this package knows.
    """
    model_type = read_settings(source, "config.json").get("model_type", "")
    model_type = WHOLE_OMNI.get(str(model_type), str(model_type))
    if model_type not in FAMILIES:
        raise ValueError(
            f"{source} is a model of type {model_type!r}; r1-aqa knows the audio LLMs {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]
