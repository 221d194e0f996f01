"""Adapters merged into their base: one plain model, to start another training from or to serve elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.model import ModelConfig
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.models.lora import is_adapted


def merge(config: MergeConfig) -> Path:
    """Write a model that loads like a published one, without need of peft.

    Raises:
        ValueError: `source` holds no adapters.
    """
    llm = load_audio_llm(ModelConfig(name=str(config.source), dtype=config.dtype))
    if not is_adapted(llm):
        raise ValueError(
            f"{config.source} holds no adapters (adapter_config.json): it is a whole model already"
        )
    adapted: Any = llm.model
    adapted.merge_and_unload().save_pretrained(config.out)
    llm.processor.save_pretrained(config.out)
    return config.out
