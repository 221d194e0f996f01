"""SpecAugment: blank out random stretches of time and bands of frequency (arXiv:1904.08779), in training.

The masks are the authors' of CED: their number and greatest widths are settings, their value is 0 dB,
before BatchNorm (quite loud; the published weights were trained to see through exactly that). They are
drawn for each clip within its own frames, which `torchaudio.functional.mask_along_axis_iid` cannot do (it
masks a padded axis, so a short clip in a long batch often gets no mask and an embedding that depends on the
padding); hence the few lines here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MASK_VALUE = 0.0  # dB


class SpecAugment(nn.Module):
    """Masks on log-mel frames, each clip by itself; pass it to `CED.forward` in training.

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
        """Frames `(all frames, bands)` in dB, clips of `counts` frames one after another; to the same."""
        num_clips, num_bands = len(counts), frames.shape[1]
        lengths = torch.tensor(counts)
        clip = torch.repeat_interleave(torch.arange(num_clips), lengths)  # (all frames,)
        frame = (
            torch.arange(len(frames)) - (lengths.cumsum(0) - lengths)[clip]
        )  # counted from the clip's start
        widths = (lengths * self.max_time_fraction).clamp_max(self.time_width)
        hidden_time = self._inside(frame, clip, self._draw(self.time_masks, widths, lengths))
        bands, band_widths = (
            torch.full((num_clips,), num_bands),
            torch.full((num_clips,), float(self.freq_width)),
        )
        masks = self._draw(self.freq_masks, band_widths, bands)
        every_clip = torch.arange(num_clips).repeat_interleave(num_bands)
        hidden_bands = self._inside(torch.arange(num_bands).repeat(num_clips), every_clip, masks)
        hidden = hidden_time[:, None] | hidden_bands.view(num_clips, num_bands)[clip]
        return frames.masked_fill(hidden.to(frames.device), MASK_VALUE)

    def _draw(self, masks: int, widths: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Starts and ends `(clips, masks)`: the width uniform up to `widths`, then the place uniform."""
        width = (torch.rand(len(lengths), masks, generator=self.generator) * (widths[:, None] + 1)).floor()
        width = torch.minimum(width, widths[:, None].floor())
        start = torch.rand(len(lengths), masks, generator=self.generator) * (lengths[:, None] - width + 1)
        start = torch.minimum(start.floor(), lengths[:, None] - width)
        return start, start + width

    @staticmethod
    def _inside(position: Tensor, clip: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        start, end = masks
        return ((position[:, None] >= start[clip]) & (position[:, None] < end[clip])).any(1)
