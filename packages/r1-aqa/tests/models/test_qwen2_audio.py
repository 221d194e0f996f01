"""Cutting the silence behind sounds changes nothing but time."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.qwen2_audio import can_be_cut, cut_silence, reading

SECONDS = st.floats(0.05, 4.0)


@given(lengths=st.lists(SECONDS, min_size=1, max_size=3))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_embedded_prompts_are_those_of_padded_sounds(tiny_audio_llm: AudioLLM, lengths: list[float]) -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, int(16_000 * seconds)).astype(np.float32) for seconds in lengths]
    text = tiny_audio_llm.format_chat("What is it?")
    inputs = tiny_audio_llm.encode([text] * len(sounds), sounds)
    short = cut_silence(inputs)
    with torch.no_grad():
        expected = tiny_audio_llm.embed_prompts(inputs)
        with reading(tiny_audio_llm.model, short["input_features"].shape[-1]):
            found = tiny_audio_llm.embed_prompts(short)
    valid = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[valid], expected[valid], rtol=0, atol=1e-5)
    assert short["input_features"].shape[-1] <= 100 * max(lengths) + 16


def test_afterwards_the_encoder_takes_whole_features_again(tiny_audio_llm: AudioLLM) -> None:
    sound = np.zeros(16_000, np.float32)
    inputs = tiny_audio_llm.encode([tiny_audio_llm.format_chat("What is it?")], [sound])
    short = cut_silence(inputs)
    with reading(tiny_audio_llm.model, short["input_features"].shape[-1]):
        tiny_audio_llm.embed_prompts(short)
    tiny_audio_llm.embed_prompts(inputs)
    with pytest.raises(ValueError, match="length"):
        tiny_audio_llm.embed_prompts(short)


def test_positions_that_are_split_are_left_alone(tiny_audio_llm: AudioLLM) -> None:
    assert can_be_cut(tiny_audio_llm.model)
    positions = next(m for n, m in tiny_audio_llm.model.named_modules() if n.endswith("embed_positions"))
    positions.weight = torch.nn.Parameter(torch.empty(0), requires_grad=False)  # as ZeRO-3 leaves it
    assert not can_be_cut(tiny_audio_llm.model)
