"""Whether a model's embedding of a sound depends on that sound alone, measured.

It should: else an index depends on how its files happened to be batched, and a query finds another place in
it than the same sound did. Public models fail this by dB floors taken over a batch, by padding that is heard,
or by cuts drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from audio_common.batch import pad_waveforms
from torch import Tensor

from ml_clap.models.dual_encoder import DualEncoder

LARGEST = 1e-3
"""Difference in a value of a unit vector above which a warning is due; float32 alone gives about 1e-6."""


def measure_independence(model: DualEncoder, waveforms: Sequence[Tensor]) -> float:
    """Compare sounds embedded alone with the same in a batch that holds a longer and a louder one.

    Args:
        model: in evaluation mode.
        waveforms: some sounds, each `(samples,)` at the model's rate.

    Returns:
        The largest difference between two values of an embedding; infinite where one is not finite.
    """
    longest = max(map(len, waveforms))
    generator = torch.Generator().manual_seed(0)
    loud = torch.rand(longest + longest // 2 + model.sample_rate, generator=generator) * 2 - 1
    batch, lengths = pad_waveforms([*waveforms, loud])
    with torch.inference_mode():
        alone = torch.cat([model.embed_audio(waveform[None].to(model.device)) for waveform in waveforms])
        together = model.embed_audio(batch.to(model.device), lengths.to(model.device))[:-1]
    difference = float((alone - together).abs().max())
    return difference if math.isfinite(difference) else math.inf


def describe_independence(difference: float) -> str:
    """Say what was measured, and whether that is well."""
    said = f"a sound alone and beside others: embeddings differ by {difference:.0e} at most"
    if difference <= LARGEST:
        return said
    return (
        f"{said}, over {LARGEST:.0e}: this model's embeddings depend on what is batched with them, or on "
        "chance, so hits may change when the index is made again"
    )
