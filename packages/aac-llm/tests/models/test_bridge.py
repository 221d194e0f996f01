"""The bridge: windows of encoder tokens; a Q-Former over them or the clip, or none."""

import pytest
import torch
import torch.nn.functional as F
from aac_llm.config.model import BridgeConfig
from aac_llm.models.bridge import Bridge, count_windows, cut_windows, encoder_tokens, masked_mean
from audio_common.ced import CED
from audio_common.config import CEDConfig
from hypothesis import given, settings
from hypothesis import strategies as st

examples = settings(max_examples=40, deadline=None)


def _bridge(**sizes):
    config = BridgeConfig(hidden_size=24, num_heads=4, intermediate_size=48, **sizes)
    return Bridge(config, encoder_dim=16, decoder_width=20).eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["window", "clip", "linear"])
@pytest.mark.parametrize("num_queries", [1, 3])
def test_a_clip_gets_the_same_tokens_beside_longer_ones(kind, num_queries):
    bridge = _bridge(kind=kind, num_queries=num_queries)
    tokens, lengths = torch.randn(3, 60, 16), [60, 20, 1]
    mask = torch.arange(60) < torch.tensor(lengths)[:, None]
    together = bridge(tokens * mask[..., None], mask)
    for row, length in enumerate(lengths):
        alone = bridge(tokens[row : row + 1, :length], mask[row : row + 1, :length])
        assert alone.mask.all()
        assert together.counts()[row] == alone.embeddings.shape[1] == bridge.count_tokens(length)
        torch.testing.assert_close(
            together.embeddings[row][together.mask[row]], alone.embeddings[0], rtol=0, atol=1e-5
        )
        assert not together.embeddings[row][~together.mask[row]].any()


@torch.no_grad()
def test_what_lies_under_the_mask_does_not_matter():
    bridge = _bridge()
    tokens, mask = torch.randn(1, 34, 16), torch.arange(34)[None] < 20
    noisy = torch.where(mask[..., None], tokens, torch.tensor(9.0))
    torch.testing.assert_close(bridge(noisy, mask).embeddings, bridge(tokens, mask).embeddings)


def test_the_qformer_of_the_published_size_has_their_number_of_parameters():
    with torch.device("meta"):
        bridge = Bridge(BridgeConfig(), encoder_dim=768, decoder_width=4096)
    assert sum(p.numel() for p in bridge.qformer.parameters()) == 18_905_088
    assert bridge.query.shape == (1, 1, 768)


@torch.no_grad()
def test_each_window_is_seen_by_itself():
    bridge = _bridge()
    tokens, mask = torch.randn(1, 51, 16), torch.ones(1, 51, dtype=torch.bool)
    changed = tokens.clone()
    changed[:, 17:34] += 1.0
    differs = (bridge(tokens, mask).embeddings != bridge(changed, mask).embeddings).any(-1)
    assert differs.tolist() == [[False, True, False]]


# Windows


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
