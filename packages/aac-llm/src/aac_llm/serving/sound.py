"""What the model heard, for the eye and the ear: an outline to draw, and a file that browsers play."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import soundfile

from aac_llm.models.captioner_model import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

NUM_COLUMNS = 240
"""Of an outline: more than one in five pixels of a large screen is a grey area."""


def outline(waveform: Tensor, num_columns: int = NUM_COLUMNS) -> list[float]:
    """Return how loud a waveform (samples,) is along its length: (columns,) of 0 to 1, the loudest one 1.

    >>> import torch
    >>> outline(torch.tensor([0.0, 0.1, -0.2, 0.1, 0.0, 0.0]), 3)
    [0.5, 1.0, 0.0]
    """
    columns = min(num_columns, len(waveform))
    peaks = [float(part.abs().max()) for part in waveform.float().tensor_split(columns)] if columns else []
    loudest = max(peaks, default=0.0)
    return [round(peak / loudest, 3) if loudest else 0.0 for peak in peaks]


def outline_path(heights: list[float]) -> str:
    """Return an outline as an SVG path in a box as wide as it has columns, from -1 to 1 high."""
    above = [f"{place} {-height:g}" for place, height in enumerate(heights)]
    below = [f"{place} {height:g}" for place, height in enumerate(heights)]
    return f"M{' L'.join([*above, *reversed(below)])}Z" if heights else ""


def playable(waveform: Tensor) -> str:
    """Return a waveform (samples,) at 16 kHz as the address of a sound that holds it: FLAC, in base64.

    So a page can play what was heard after the upload was deleted.
    """
    file = io.BytesIO()
    samples = waveform.float().clamp(-1, 1).cpu().numpy()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f"data:audio/flac;base64,{base64.b64encode(file.getvalue()).decode()}"
