"""SpecAugment: blank out random stretches of time and bands of frequency (arXiv:1904.08779), in training.

The masks are the authors' of CED: their number and greatest widths are settings, their value is 0 dB,
before BatchNorm (quite loud; the published weights were trained to see through exactly that). They are
drawn for each clip within its own frames, which `torchaudio.functional.mask_along_axis_iid` cannot do (it
masks a padded axis, so a short clip in a long batch often gets no mask and an embedding that depends on the
padding); hence the few lines here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

MASK_VALUE = 0.0  # dB


class SpecAugment(nn.Module):
    """Mask log-mel frames, each clip by itself; pass it to `CED.forward` in training.

    Args:
        time_masks: masks on the time axis of each clip.
        time_width: frames of 10 ms; a mask is 0 up to this long.
        freq_masks: masks on the frequency axis of each clip.
        freq_width: mel bands of 64; a mask is 0 up to this wide.
        max_time_fraction: of a clip's frames, the greatest share that one time mask may cover, so that
            short clips are not lost (1.92 s, the authors' width, is longer than many).
        generator: of torch, on the CPU, for masks independent of other random numbers; None: torch's own.
    """

    def __init__(
        self,
        *,
        time_masks: int = 1,
        time_width: int = 192,
        freq_masks: int = 1,
        freq_width: int = 24,
        max_time_fraction: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("time_masks", time_masks),
            ("time_width", time_width),
            ("freq_masks", freq_masks),
        ):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not 0 <= freq_width <= 64:
            raise ValueError(f"freq_width must be 0 to 64 mel bands, got {freq_width}")
        if not 0.0 < max_time_fraction <= 1.0:
            raise ValueError(f"max_time_fraction must be in (0, 1], got {max_time_fraction}")
        self.time_masks, self.time_width = time_masks, time_width
        self.freq_masks, self.freq_width = freq_masks, freq_width
        self.max_time_fraction = max_time_fraction
        self.generator = generator

    def forward(self, frames: Tensor, counts: Sequence[int]) -> Tensor:
        """Mask frames `(all frames, bands)` in dB, clips of `counts` frames one after another."""
        frames = frames.clone()
        num_bands = frames.shape[1]
        for end, count in zip(accumulate(counts), counts, strict=True):
            clip = frames[end - count : end]
            widest = min(self.time_width, int(count * self.max_time_fraction))
            for _ in range(self.time_masks):
                clip[self._stretch(count, widest)] = MASK_VALUE
            for _ in range(self.freq_masks):
                clip[:, self._stretch(num_bands, self.freq_width)] = MASK_VALUE
        return frames

    def _stretch(self, length: int, widest: int) -> slice:
        """Draw a random stretch of `length`: its width uniform in 0..`widest`, then its place uniform."""
        width_draw, place_draw = torch.rand(2, generator=self.generator).tolist()
        width = int(width_draw * (widest + 1))
        start = int(place_draw * (length - width + 1))
        return slice(start, start + width)
