"""Saving and loading captioners."""

import torch
from aac_llm.models.captioner_model import CaptionModel


def test_a_saved_model_gives_the_same_logits_bit_for_bit(tiny_model, tmp_path):
    _disturb(tiny_model)
    tiny_model.save_pretrained(tmp_path)
    waveforms = torch.randn(2, 30_000) * 0.1
    labels = tiny_model.tokenize_captions(["a dog barks", "rain"])
    loaded = CaptionModel.from_pretrained(tmp_path)
    expected = tiny_model(waveforms, [30_000, 9000], labels).logits
    torch.testing.assert_close(loaded(waveforms, [30_000, 9000], labels).logits, expected, rtol=0, atol=0)


def _disturb(model):
    for parameter in model.trainable_parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
