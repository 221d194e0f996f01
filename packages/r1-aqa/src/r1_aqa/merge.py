"""Adapters merged into their base: one plain model, to start another training from or to serve elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r1_aqa.audio_llm import load_audio_llm
from r1_aqa.config.model import ModelConfig
from r1_aqa.model_setup import is_adapted


def merge_adapters(source: str | Path, out: str | Path, *, dtype: str = "bfloat16") -> Path:
    """Write the model of a folder of adapters without need of peft; `out` loads like a published model.

    Raises:
        ValueError: `source` holds no adapters.
    """
    llm = load_audio_llm(ModelConfig(name=str(source), dtype=dtype))  # type: ignore[arg-type]
    if not is_adapted(llm):
        raise ValueError(f"{source} holds no adapters (adapter_config.json): it is a whole model already")
    adapted: Any = llm.model
    adapted.merge_and_unload().save_pretrained(out)
    llm.processor.save_pretrained(out)
    return Path(out)
