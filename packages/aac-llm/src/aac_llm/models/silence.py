"""Sound in which nothing can be heard: it has a constant caption (`NO_SOUND`), and no model is asked.

A captioner that was trained on sounds alone names one in silence, too. What counts is the loudest tenth of a
second, so that one click in a minute of silence is a sound, and its alternating part, so that a constant
offset of a bad sound card is none. -70 dBFS is 28 dB below what the quietest of the 320 recordings of ESC-10
here reaches so (-41.8, a clock), and 31 dB above the noise of rounding to 16 bits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SILENCE_DBFS = -70.0
"""Sound whose loudest block is below this level (RMS, of full scale 1) is silence."""
BLOCK_SAMPLES = 1600
"""A tenth of a second at 16 kHz."""


def loudest_level(waveform: Tensor) -> float:
    """Return the level of the loudest block of a waveform (samples,), in dB of full scale; -inf of zeros.

    >>> import torch
    >>> round(loudest_level(0.01 * torch.tensor([1.0, -1.0]).repeat(8000)), 1)
    -40.0
    """
    import torch

    blocks = [block for block in waveform.float().split(BLOCK_SAMPLES) if len(block)]
    # A rest of a few samples would say little about a level.
    if len(blocks) > 1 and len(blocks[-1]) < BLOCK_SAMPLES // 2:
        blocks.pop()
    # `max` of torch keeps NaN.
    loudest = float(torch.stack([block.std(unbiased=False) for block in blocks]).max()) if blocks else 0.0
    return 20 * math.log10(loudest) if loudest else -math.inf


def is_silent(waveform: Tensor) -> bool:
    """Tell whether nothing can be heard in a waveform (samples,); NaN is no silence."""
    return loudest_level(waveform) < SILENCE_DBFS
