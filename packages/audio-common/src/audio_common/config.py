"""The settings of a CED encoder; standard library only, so that reading them costs no import of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CEDConfig:
    """Architecture of a CED audio transformer (defaults: CED-base)."""

    embed_dim: int = 768
    """Width of the tokens."""
    depth: int = 12
    """Number of transformer blocks."""
    num_heads: int = 12
    """Attention heads per block; must divide `embed_dim`."""
    mlp_ratio: float = 4.0
    """Width of a block's hidden layer over `embed_dim`."""
    num_classes: int = 527
    """Classes of the tagging head (AudioSet has 527)."""
    target_length: int = 1012
    """Longest piece, in mel frames of 10 ms, that is encoded at once; longer audio is cut."""
    mode: Literal["masked", "reference"] = "masked"
    """`masked`: a clip's embedding depends on that clip alone; `reference`: the authors' batching, faults included."""
    drop_path: float = 0.0
    """Stochastic depth of the last block in training (0 at the first, linear between)."""
    time_patch_out: float = 0.0
    """Fraction of time columns of patches dropped in training."""
    freq_patch_out: float = 0.0
    """Fraction of frequency rows of patches dropped in training."""

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads, got {self.embed_dim} and {self.num_heads}")
        for name in ("drop_path", "time_patch_out", "freq_patch_out"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")


CED_PRESETS = {
    "ced-tiny": CEDConfig(embed_dim=192, num_heads=3),
    "ced-mini": CEDConfig(embed_dim=256, num_heads=4),
    "ced-small": CEDConfig(embed_dim=384, num_heads=6),
    "ced-base": CEDConfig(),
}
"""The four published sizes."""
