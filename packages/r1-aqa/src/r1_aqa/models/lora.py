"""Choose which parts of an audio LLM to train, and merge adapters into their base."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.model import ModelConfig
from r1_aqa.files import flush, remove_leftovers
from r1_aqa.lock import sole_writer
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.card import make_merged_card
from r1_aqa.models.licence import CARD_FILE
from r1_aqa.models.run_folder import find_model
from r1_aqa.output import printable


def adapter_targets(llm: AudioLLM, names: tuple[str, ...]) -> str | list[str]:
    """Return the language model's layers that are adapted: a regular expression or a list of paths.

    Layer names alone, peft's usual way, would adapt the audio encoder's q_proj too. The experts of a mixture
    stay as they are: their weights are fused, and there are hundreds.

    Raises:
        ValueError: no layer of the language model has one of these names.
    """
    inner = llm.language_model()
    prefix = next(name for name, module in llm.model.named_modules() if module is inner)
    paths = [name for name, _ in inner.named_modules()]
    # Phi-4's language model holds what hears and what sees.
    parts = ("experts", *llm.family.encoder, *llm.family.projector, "image_embed")
    others = tuple(f".{part}." for part in parts)
    found = [
        path
        for path in paths
        if path.rpartition(".")[2] in names and not any(part in f".{path}." for part in others)
    ]
    if not found:
        raise ValueError(f"lora.targets: the language model has no layer named {', '.join(names)}")
    if any(part in f".{path}." for path in paths for part in others):
        return [f"{prefix}.{path}" for path in found]  # peft reads an expression as bare names in mixtures
    return rf"{re.escape(prefix)}\..*\b({'|'.join(map(re.escape, names))})"


def lora_config(llm: AudioLLM, config: ModelConfig) -> Any:
    """Return peft's settings; encoder or projector that are trained are saved whole with the adapters.

    As `modules_to_save` they have an untouched copy, which is what the reference model runs through.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,  # type: ignore[arg-type]
        lora_dropout=config.lora.dropout,
        target_modules=adapter_targets(llm, config.lora.targets),
        modules_to_save=trained_parts(llm, config) or None,
        task_type="CAUSAL_LM",
        revision=llm.revision,  # the adapters then name their base as it was
    )


def trained_parts(llm: AudioLLM, config: ModelConfig) -> list[str]:
    """Return the names of the modules outside the language model that are trained."""
    wanted = () if config.freeze_projector else llm.family.projector
    wanted += () if config.freeze_encoder else llm.family.encoder
    return [part for part in wanted if any(name.endswith(part) for name, _ in llm.model.named_modules())]


def prepare_full(llm: AudioLLM, config: ModelConfig) -> None:
    """Train all weights, apart from those that are to stay as they are."""
    frozen = llm.family.encoder if config.freeze_encoder else ()
    frozen += llm.family.projector if config.freeze_projector else ()
    # Some families keep the projector inside the encoder: trained, though the encoder around it is frozen.
    kept = () if config.freeze_projector else llm.family.projector
    for name, parameter in llm.model.named_parameters():
        outside = any(f".{part}." in f".{name}" for part in frozen)
        inside = any(f".{part}." in f".{name}" for part in kept)
        parameter.requires_grad_(inside or not outside)


def prepare_adapters(llm: AudioLLM) -> None:
    """Train the adapters that were loaded, and nothing else."""
    for name, parameter in llm.model.named_parameters():
        parameter.requires_grad_("lora_" in name or "modules_to_save" in name)


def is_adapted(llm: AudioLLM) -> bool:
    """Return whether the model came with adapters."""
    return hasattr(llm.model, "peft_config")


def prompts_are_frozen(llm: AudioLLM) -> bool:
    """Return whether training leaves the embeddings of prompts, audio included, as they are.

    They depend on encoder, projector and the embedding of text: on everything outside the language model's
    layers.
    """
    # Parts of them may be within the language model: Phi-4's encoder, Gemma's embeddings for each layer.
    before = (*llm.family.encoder, *llm.family.projector, "embed_tokens_per_layer")
    named = llm.language_model().named_parameters()
    layers = {id(p) for name, p in named if not any(part in name for part in before)}
    layers -= {id(p) for p in llm.embedding().parameters()}
    return not any(p.requires_grad and id(p) not in layers for p in llm.model.parameters())


def merge(config: MergeConfig) -> Path:
    """Write a model that loads like a published one, without need of peft.

    Raises:
        ValueError: the source holds no adapters.
        BusyError: another process writes into `out`.
    """
    with sole_writer(config.out, folder=True):
        return _merge(config)


def _merge(config: MergeConfig) -> Path:
    llm = load_audio_llm(config.source, ModelConfig(dtype=config.dtype, family=config.family))
    if not is_adapted(llm):
        raise ValueError(
            f"{config.source} holds no adapters (adapter_config.json): it is a whole model already"
        )
    adapted: Any = llm.model
    base = str(adapted.get_base_model().name_or_path)
    merged = adapted.merge_and_unload()
    remove_leftovers(config.out)
    # Beside the lock, file by file, the settings last: without them nobody takes the folder for a model.
    partial = config.out / ".saving-merged"
    merged.save_pretrained(partial)
    llm.processor.save_pretrained(partial)
    card = make_merged_card(Path(find_model(config.source)), base)
    (partial / CARD_FILE).write_text(card, encoding="utf-8")
    for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
        flush(file)
        file.replace(config.out / file.name)
    partial.rmdir()
    print(printable(config.out))
    return config.out
