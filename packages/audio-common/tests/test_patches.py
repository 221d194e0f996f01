"""Which frames patches are cut from, worked out by hand."""

import pytest
import torch
from audio_common.patches import choose_rows, cut_columns, plan_masked, plan_reference
from hypothesis import given, settings
from hypothesis import strategies as st


def test_plan_of_two_clips_by_hand() -> None:
    plan = plan_masked([40, 5 * 16 + 3], piece_columns=4)
    assert plan.sizes == [4, 3, 2]  # the second clip's full piece, the first clip, the second's rest
    assert plan.clip_columns == [3, 6]
    assert plan.clip.tolist() == [1, 1, 1, 1, 0, 0, 0, 1, 1]
    assert plan.time.tolist() == [0, 16, 32, 48, 0, 16, 24, 64, 67]
    assert plan.frame.tolist() == [40, 56, 72, 88, 0, 16, 24, 104, 107]
    assert plan.position.tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert plan.slot.tolist() == [0, 1, 2, 3, 0, 1, 2, 4, 5]


def test_plan_of_the_authors_chunks_by_hand() -> None:
    plan = plan_reference(num_clips=2, num_chunks=2, num_frames=36)
    assert plan.sizes == [2, 2, 2, 2]
    assert plan.frame.tolist() == [0, 16, 36, 52, 72, 88, 108, 124]  # 4 frames of each chunk unused
    assert plan.time.tolist() == [0, 16, 36, 52] * 2
    assert plan.position.tolist() == [0, 1] * 4
    assert plan.clip.tolist() == [0] * 4 + [1] * 4
    assert plan.slot.tolist() == [0, 1, 2, 3] * 2


@given(st.lists(st.integers(16, 500), min_size=1, max_size=5), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_columns_cover_every_frame_of_their_clip_and_no_other(counts: list[int], piece_columns: int) -> None:
    plan = plan_masked(counts, piece_columns)
    ends = torch.tensor(counts).cumsum(0)
    covered = torch.zeros(sum(counts), dtype=torch.int)
    for frame, clip in zip(plan.frame.tolist(), plan.clip.tolist(), strict=True):
        assert ends[clip] - counts[clip] <= frame <= ends[clip] - 16
        covered[frame : frame + 16] += 1
    assert (covered >= 1).all()
    assert (covered > 1).sum() == sum(-count % 16 for count in counts)  # only the last columns overlap
    assert sum(plan.sizes) == len(plan.frame)
    assert max(plan.sizes) <= piece_columns


@given(st.lists(st.integers(16, 500), min_size=1, max_size=5), st.floats(0.0, 0.99))
@settings(max_examples=30, deadline=None)
def test_dropped_columns_leave_the_others_as_they_were(counts: list[int], drop: float) -> None:
    whole, plan = plan_masked(counts, 9), plan_masked(counts, 9, drop)
    known = set(zip(whole.clip.tolist(), whole.frame.tolist(), whole.position.tolist(), strict=True))
    kept = list(zip(plan.clip.tolist(), plan.frame.tolist(), plan.position.tolist(), strict=True))
    assert set(kept) <= known
    assert len(set(kept)) == len(kept) == sum(plan.clip_columns) == sum(plan.sizes)
    for columns, left in zip(whole.clip_columns, plan.clip_columns, strict=True):
        assert left == max(1, round(columns * (1 - drop)))


def test_a_patch_is_laid_out_band_by_band_as_the_convolutions_weight() -> None:
    frames = torch.randn(50, 64)
    convolution = torch.nn.Conv2d(1, 5, 16, 16)
    columns = cut_columns(frames, torch.tensor([0, 16, 34]))
    ours = torch.nn.functional.linear(columns, convolution.weight.flatten(1), convolution.bias)
    for i, start in enumerate((0, 16, 34)):
        theirs = convolution(frames[start : start + 16].T[None, None])  # (1, 5, 4, 1)
        torch.testing.assert_close(ours[i], theirs[0, :, :, 0].T)


@pytest.mark.parametrize(("drop", "rows"), [(0.2, 3), (0.5, 2), (0.9, 1)])
def test_each_clip_keeps_its_own_rows(drop: float, rows: int) -> None:
    chosen = choose_rows(200, drop)
    assert chosen.shape == (200, rows)
    assert chosen.unique().tolist() == [0, 1, 2, 3]
    assert (chosen.diff(dim=1) > 0).all()
