"""The settings of a CED encoder and of sounds; standard library only: reading them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Channel = Literal["mean", "first", "loudest"]
"""Which of a sound's channels is heard; see `audio_common.load_audio`."""
CHANNELS: tuple[Channel, ...] = get_args(Channel)

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""How an encoder computes; see `audio_common.CED.set_precision`."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

LEAST_MEGABYTES = 64
"""Memory (MiB) with which anything can be decoded."""


def check_decoding(seconds: float, megabytes: int) -> None:
    """Refuse the settings `decode_seconds` and `decode_megabytes` within which nothing can be decoded.

    Raises:
        ValueError: with the setting's name and what it is.
    """
    if not seconds > 0:
        raise ValueError(f"decode_seconds must be above 0, got {seconds}")
    if not megabytes >= LEAST_MEGABYTES:
        raise ValueError(f"decode_megabytes must be at least {LEAST_MEGABYTES}, got {megabytes}")


PATCH_FRAMES = 16  # mel frames, and mel bands, of a patch

MOST = {
    "embed_dim": 131_072,
    "depth": 1_000,
    "num_heads": 65_536,
    "num_classes": 4_194_304,
    "target_length": 360_000,
}
"""The largest sizes that are built, far beyond any published; of `target_length` it is an hour."""
MOST_RATIO = 1_024


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
    """`masked`: a clip's embedding depends on it alone; `reference`: the authors' batching and its faults."""
    drop_path: float = 0.0
    """Stochastic depth of the last block in training (0 at the first, linear between)."""
    time_patch_out: float = 0.0
    """Fraction of time columns of patches dropped in training."""
    freq_patch_out: float = 0.0
    """Fraction of frequency rows of patches dropped in training."""
    labels: tuple[str, ...] = ()
    """Names of the classes in order, where the checkpoint has them."""

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most:,}, got {getattr(self, name)}")
        if not 0.0 < self.mlp_ratio <= MOST_RATIO:
            raise ValueError(f"mlp_ratio must be above 0 and at most {MOST_RATIO}, got {self.mlp_ratio}")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, got {self.embed_dim} and {self.num_heads}"
            )
        if self.target_length < PATCH_FRAMES:
            raise ValueError(
                f"target_length must be at least {PATCH_FRAMES} frames, got {self.target_length}"
            )
        if self.mode not in ("masked", "reference"):
            raise ValueError(f"mode must be 'masked' or 'reference', got {self.mode!r}")
        for name in ("drop_path", "time_patch_out", "freq_patch_out"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.labels and len(self.labels) != self.num_classes:
            raise ValueError(f"expected {self.num_classes} labels (num_classes), got {len(self.labels)}")

    @property
    def num_columns(self) -> int:
        """Time columns of patches in a full piece (63 for 1012 frames)."""
        return self.target_length // PATCH_FRAMES


CED_PRESETS = {
    "ced-tiny": CEDConfig(embed_dim=192, num_heads=3),
    "ced-mini": CEDConfig(embed_dim=256, num_heads=4),
    "ced-small": CEDConfig(embed_dim=384, num_heads=6),
    "ced-base": CEDConfig(),
}
"""The four published sizes."""
