"""Which mel frames each patch is cut from, and which pieces patches are encoded in: integers, no network.

A *column* is the four patches (one per 16 mel bands) that start at one frame. A *piece* is a run of at most
63 columns of one clip that attend to each other. A plan lists the columns of a whole batch piece by piece,
equally long pieces side by side, and says where each column's tokens belong in the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audio_common.config import PATCH_FRAMES
from audio_common.mel import NUM_MELS

NUM_ROWS = NUM_MELS // PATCH_FRAMES  # 4 patches on the frequency axis


@dataclass(frozen=True)
class Plan:
    """The columns of a batch in the order in which they are encoded; all tensors `(columns,)` int64."""

    frame: Tensor
    """First frame of the column, in the frames of all clips one after another."""
    position: Tensor
    """Index of the column in its piece before any was dropped: the time position it is given."""
    clip: Tensor
    """Clip of the column: the row of the output it goes to."""
    slot: Tensor
    """Place among the clip's columns."""
    time: Tensor
    """First frame of the column, counted from the start of the clip."""
    sizes: list[int]
    """Columns of each piece."""
    clip_columns: list[int]
    """Columns of each clip."""


def plan_masked(counts: Sequence[int], piece_columns: int, drop: float = 0.0) -> Plan:
    """Cut clips of `counts` frames in columns of real sound only, and in pieces of at most `piece_columns`.

    The last column covers the clip's last 16 frames, so it overlaps its neighbour unless the frames divide
    by 16. `drop` is the share of each clip's columns left out at random (at least one stays).
    """
    starts, positions, slots, piece_sizes = [], [], [], []
    clip_columns = []
    for count in counts:
        columns = -(-count // PATCH_FRAMES)
        kept = _keep(columns, drop)
        starts.append((kept * PATCH_FRAMES).clamp_max(count - PATCH_FRAMES))
        positions.append(kept % piece_columns)
        slots.append(torch.arange(len(kept)))
        sizes = torch.bincount(kept // piece_columns)
        piece_sizes.append(sizes[sizes > 0])
        clip_columns.append(len(kept))
    ends = torch.tensor(counts).cumsum(0)
    offset = torch.cat([ends.new_zeros(1), ends[:-1]])
    clip = torch.repeat_interleave(torch.tensor(clip_columns))
    time = torch.cat(starts)
    order, sorted_sizes = _sort_pieces(torch.cat(piece_sizes))
    return Plan(
        frame=(time + offset[clip])[order],
        position=torch.cat(positions)[order],
        clip=clip[order],
        slot=torch.cat(slots)[order],
        time=time[order],
        sizes=sorted_sizes,
        clip_columns=clip_columns,
    )


def plan_reference(num_clips: int, num_chunks: int, num_frames: int, drop: float = 0.0) -> Plan:
    """The authors' grid: `num_chunks` chunks of `num_frames` frames a clip, whose last `% 16` are unused."""
    kept = _keep(num_frames // PATCH_FRAMES, drop)
    chunk = torch.arange(num_clips * num_chunks)
    frame = (chunk[:, None] * num_frames + kept * PATCH_FRAMES).flatten()
    clip = (chunk // num_chunks).repeat_interleave(len(kept))
    return Plan(
        frame=frame,
        position=kept.repeat(len(chunk)),
        clip=clip,
        slot=torch.arange(num_chunks * len(kept)).repeat(num_clips),
        time=frame - clip * num_chunks * num_frames,
        sizes=[len(kept)] * len(chunk),
        clip_columns=[num_chunks * len(kept)] * num_clips,
    )


def _keep(columns: int, drop: float) -> Tensor:
    """Indices of the columns that stay, in order."""
    if drop == 0.0:
        return torch.arange(columns)
    return torch.randperm(columns)[: max(1, round(columns * (1.0 - drop)))].sort().values


def _sort_pieces(sizes: Tensor) -> tuple[Tensor, list[int]]:
    """The order of columns that puts pieces, each intact, from longest to shortest, and the sizes in it."""
    piece = torch.repeat_interleave(sizes)  # (columns,)
    order = torch.argsort(-sizes[piece], stable=True)
    return order, sizes.sort(descending=True).values.tolist()


def cut_columns(frames: Tensor, first_frames: Tensor) -> Tensor:
    """Frames `(all frames, 64)` to columns of patches `(columns, 4, 256)`, a patch's values band by band."""
    columns = frames[first_frames[:, None] + torch.arange(PATCH_FRAMES, device=frames.device)]
    columns = columns.unflatten(-1, (NUM_ROWS, PATCH_FRAMES))  # (columns, 16 frames, 4, 16 bands)
    return columns.permute(0, 2, 3, 1).flatten(2)


def choose_rows(num_clips: int, drop: float) -> Tensor:
    """`(clips, rows)`: the frequency rows that each clip keeps at random, as many for each (at least one)."""
    keep = max(1, round(NUM_ROWS * (1.0 - drop)))
    return torch.rand(num_clips, NUM_ROWS).argsort(1)[:, :keep].sort(1).values


class PatchEmbed(nn.Module):
    """A linear map of 16x16 patches, kept as the convolution that published checkpoints have."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, PATCH_FRAMES, PATCH_FRAMES)

    def forward(self, patches: Tensor) -> Tensor:
        """`(..., 256)` to `(..., dim)`."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
