"""Settings of `aac-llm serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aac_llm.config.correct import CorrectionConfig
from aac_llm.config.server import ServerConfig
from aac_llm.config.sound import Channel, check_channel


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ServerConfig):
    """Caption sounds on a page in the browser, and by HTTP.

    Everything stays on this machine: the page asks nothing of any other host, and uploads are deleted.
    """

    model: str
    """Captioner: folder, run folder of a training (its best model) or hub id (name or name@revision)."""
    num_beams: int = 3
    """Beams of the search, and most captions of a sound that can be asked for (n-best)."""
    max_new_tokens: int = 30
    """Most tokens of a caption; of events with their times four times as many."""
    correction: CorrectionConfig = field(default_factory=lambda: CorrectionConfig(choose=True))
    """Which captions are repaired, and by which model; without correction.llm a broken caption is replaced
    by another one of the captioner's own, if one is whole."""
    channel: Channel | None = None
    """What is heard of several channels: `mean`, `first` or `loudest` (none: as the model was trained)."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` ...; auto: the first GPU if there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the model; auto: bfloat16 on a GPU, float32 elsewhere."""
    decoder: str | None = None
    """Folder or hub id of the decoder, if it is not the one that the model names."""
    quantization: Literal["none", "8bit", "4bit"] | None = None
    """Load the decoder in 8 or 4 bits, on a GPU by bitsandbytes; on a CPU `8bit` multiplies 8-bit integers,
    which is faster and changes some captions a little (none given: as the model says)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_channel(self.channel)
        for name in ("num_beams", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
