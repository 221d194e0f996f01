"""Changes of training data: loudness, rotation in time, and random pieces in captions."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def augment_waveforms(
    waveforms: Tensor, lengths: Tensor, *, gain_db: float, time_shift: bool, generators: list[Generator]
) -> Tensor:
    """Make each clip louder or softer, and rotate it in time.

    Args:
        waveforms: `(batch, samples)`, zero-padded.
        lengths: `(batch,)` samples of each clip.
        gain_db: The gain is drawn uniformly from `-gain_db` to `gain_db`.
        time_shift: Rotate each clip within its length; its end then comes before its beginning.
        generators: One for each clip, so that what happens to a clip does not depend on its neighbours.

    Returns:
        `(batch, samples)`, a copy.
    """
    changed = waveforms.clone()
    for row, (length, generator) in enumerate(zip(lengths.tolist(), generators, strict=True)):
        gain, shift = torch.rand(2, generator=generator).tolist()
        clip = waveforms[row, :length] * 10 ** ((2 * gain - 1) * gain_db / 20)
        changed[row, :length] = clip.roll(int(shift * length)) if time_shift else clip
    return changed


def replace_tokens(ids: Tensor, mask: Tensor, *, share: float, pieces: Tensor) -> Tensor:
    """Put random pieces in the place of some, drawn from torch's own generator.

    Args:
        ids: Token ids `(batch, length)`.
        mask: `(batch, length)` bool, True where there is a token.
        share: Probability for each piece.
        pieces: Ids of the pieces of text `(pieces,)`; special tokens and languages stay.

    Returns:
        `(batch, length)`, a copy.
    """
    # Drawn on the CPU, so that a run is the same on any device.
    is_drawn = (torch.rand(ids.shape) < share).to(ids.device)
    drawn = pieces[torch.randint(len(pieces), ids.shape)].to(ids.device)
    is_piece = mask & torch.isin(ids, pieces.to(ids.device))
    return drawn.where(is_drawn & is_piece, ids)
