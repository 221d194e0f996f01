"""The estimate counts what is there, and grows with what needs memory."""

from dataclasses import replace
from pathlib import Path

import pytest
from r1_aqa.config.model import ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig, SFTTrainConfig
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.lora import prepare_full
from r1_aqa.trainers.memory import estimate_memory

CONFIG = GRPOTrainConfig(
    out=Path("unused"),
    init_from="unused",
    data=DataConfig(train=(Path("unused"),)),
    model=ModelConfig(dtype="float32", strategy="full"),
)


def test_a_full_training_holds_weights_gradients_moments_and_a_reference(tiny_audio_llm: AudioLLM) -> None:
    prepare_full(tiny_audio_llm, replace(CONFIG.model, freeze_encoder=False, freeze_projector=False))
    size = sum(p.numel() for p in tiny_audio_llm.model.parameters())
    found = estimate_memory(tiny_audio_llm, CONFIG)
    assert (found.weights, found.gradients, found.optimizer, found.reference) == (
        4 * size,
        4 * size,
        8 * size,
        4 * size,
    )
    assert found.total >= 20 * size


def test_no_reference_is_held_without_a_kl_term(tiny_audio_llm: AudioLLM) -> None:
    assert estimate_memory(tiny_audio_llm, replace(CONFIG, beta=0.0)).reference == 0


@pytest.mark.parametrize(
    "more",
    [{"batch_size": 2}, {"max_new_tokens": 512}, {"share": False}, {"num_rollouts": 16}],
    ids=lambda more: next(iter(more)),
)
def test_more_work_needs_more_memory(tiny_audio_llm: AudioLLM, more: dict) -> None:
    assert (
        estimate_memory(tiny_audio_llm, replace(CONFIG, **more)).activations
        > estimate_memory(tiny_audio_llm, CONFIG).activations
    )


def test_checkpointing_and_bf16_need_less(tiny_audio_llm: AudioLLM) -> None:
    plain = estimate_memory(tiny_audio_llm, CONFIG).activations
    assert estimate_memory(tiny_audio_llm, replace(CONFIG, gradient_checkpointing=True)).activations < plain
    assert estimate_memory(tiny_audio_llm, replace(CONFIG, precision="bf16")).activations < plain


def test_fine_tuning_samples_nothing(tiny_audio_llm: AudioLLM) -> None:
    config = SFTTrainConfig(out=CONFIG.out, init_from="unused", data=CONFIG.data)
    found = estimate_memory(tiny_audio_llm, config)
    assert found.rollouts == 0
    assert str(found).startswith("about 0.")
