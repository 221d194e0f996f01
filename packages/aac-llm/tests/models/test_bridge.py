"""The bridge: Q-Former over windows or the clip, or none."""

import pytest
import torch
from aac_llm.config.model import BridgeConfig
from aac_llm.models.bridge import Bridge


def _bridge(**settings):
    config = BridgeConfig(hidden_size=24, num_heads=4, intermediate_size=48, **settings)
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
