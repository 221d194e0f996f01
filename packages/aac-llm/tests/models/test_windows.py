"""Encoder tokens in windows."""

import pytest
import torch
import torch.nn.functional as F
from aac_llm.models.windows import count_windows, cut_windows, encoder_tokens, masked_mean
from audio_common.ced import CED
from audio_common.config import CEDConfig
from hypothesis import given, settings
from hypothesis import strategies as st

examples = settings(max_examples=40, deadline=None)


def _batch(lengths, dim=3):
    tokens = torch.zeros(len(lengths), max(lengths), dim)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randn(length, dim)
        mask[row, :length] = True
    return tokens, mask


@examples
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4), window=st.integers(1, 20))
def test_time_major_windows_hold_each_token_once_and_in_order(lengths, window):
    tokens, mask = _batch(lengths)
    windows = cut_windows(tokens, mask, window, "time_major")
    for row, length in enumerate(lengths):
        assert torch.equal(windows.tokens[row][windows.mask[row]], tokens[row, :length])
        used = windows.is_used[row]
        assert used.sum() == count_windows(length, window, "time_major")
        assert used[: used.sum()].all()  # a prefix: nothing stands between the sound's windows


@examples
@given(length=st.integers(1, 200), window=st.integers(1, 20))
def test_reference_windows_are_those_of_unfold(length, window):
    tokens, mask = _batch([length])
    windows = cut_windows(tokens, mask, window, "reference")
    if length < window:  # unfold fails
        assert windows.mask.sum() == length
        return
    theirs = F.unfold(tokens.transpose(1, 2)[:, :, None], (1, window), stride=(1, window))
    theirs = theirs.view(1, 3, window, -1).permute(0, 3, 2, 1)
    assert torch.equal(windows.tokens, theirs)
    assert windows.mask.all()


@examples
@given(lengths=st.lists(st.integers(1, 17), min_size=1, max_size=5))
def test_masked_mean_is_the_mean_of_what_is_there(lengths):
    tokens, mask = _batch(lengths)
    filled = tokens.masked_fill(~mask[..., None], 99.0)
    expected = torch.stack([tokens[row, :length].mean(0) for row, length in enumerate(lengths)])
    torch.testing.assert_close(masked_mean(filled * mask[..., None], mask), expected)


@pytest.mark.parametrize("mode", ["masked", "reference"])
@pytest.mark.parametrize("samples", [2400, 5000, 160_000, 161_919, 161_920, 200_000, 323_840])
def test_the_number_of_tokens_is_that_of_the_encoder(mode, samples):
    config = CEDConfig(embed_dim=16, depth=1, num_heads=1, mode=mode)
    with torch.no_grad():
        tokens = CED(config).eval()(torch.zeros(1, samples)).tokens
    assert encoder_tokens(samples, config) == tokens.shape[1]


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected tokens \(batch, tokens, dim\)"):
        cut_windows(torch.zeros(2, 5, 3), torch.ones(2, 4, dtype=torch.bool), 2, "time_major")
