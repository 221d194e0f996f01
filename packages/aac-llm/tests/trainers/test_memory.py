from dataclasses import replace

import pytest
from aac_llm.config.model import ModelConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.trainers.memory import count_bytes, estimate_memory


def test_weights_gradients_and_moments_are_counted(tiny_model: CaptionModel) -> None:
    estimate = estimate_memory(tiny_model, batch_size=2, seconds=10.0)
    trained = sum(parameter.numel() for parameter in tiny_model.parameters() if parameter.requires_grad)
    assert estimate.gradients == 4 * trained
    assert estimate.optimizer == 8 * trained
    assert estimate.weights == sum(parameter.numel() * 4 for parameter in tiny_model.parameters())
    assert "GB" in str(estimate)


def test_checkpointing_half_precision_and_short_sound_need_less(tiny_model: CaptionModel) -> None:
    full = estimate_memory(tiny_model, batch_size=8, seconds=30.0).activations
    half = estimate_memory(tiny_model, batch_size=8, seconds=30.0, half_precision=True).activations
    saved = estimate_memory(tiny_model, batch_size=8, seconds=30.0, gradient_checkpointing=True).activations
    short = estimate_memory(tiny_model, batch_size=8, seconds=5.0).activations
    assert full > half > 0
    assert full > short > saved


def test_full_training_needs_gradients_of_everything(tiny_config: ModelConfig) -> None:
    everything = replace(tiny_config, decoder_strategy="full", encoder_strategy="full")
    estimate = estimate_memory(CaptionModel.from_config(everything), batch_size=1, seconds=1.0)
    assert estimate.gradients == pytest.approx(estimate.weights, rel=0.01)


def test_bytes_follow_the_number_format(tiny_config: ModelConfig) -> None:
    wide = CaptionModel.from_config(tiny_config)
    narrow = CaptionModel.from_config(replace(tiny_config, decoder_dtype="bfloat16"))
    assert count_bytes(narrow.decoder) < 0.6 * count_bytes(wide.decoder)
