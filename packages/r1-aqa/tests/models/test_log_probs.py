"""Log-probabilities of completions are those of the plain way, however prompts are shared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.chat import pad_left
from r1_aqa.models.log_probs import (
    Prompts,
    completion_log_probs,
    completion_logits,
    entropies,
)
from torch import Tensor

ROWS = torch.tensor([0, 0, 1, 1, 1])


@pytest.fixture
def inputs(tiny_audio_llm: AudioLLM) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, size).astype(np.float32) for size in (20_000, 50_000)]
    texts = [tiny_audio_llm.format_chat(text) for text in ("What is it?", "Which of these is heard first?")]
    return tiny_audio_llm.encode(texts, sounds)


@pytest.fixture
def completions() -> tuple[Tensor, Tensor]:
    ids = torch.randint(10, 300, (len(ROWS), 7), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([7, 3, 5, 1, 6])
    return ids, (torch.arange(7) < lengths[:, None]).long()


def naive_log_probs(llm: AudioLLM, inputs: dict[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    """The plain way: every rollout with its own copy of the features, logits of everything."""
    repeated = {name: value[ROWS] for name, value in inputs.items()}
    repeated["input_ids"] = torch.cat([repeated["input_ids"], ids], 1)
    repeated["attention_mask"] = torch.cat([repeated["attention_mask"], mask], 1)
    logits = llm.model(**repeated).logits[:, -ids.shape[1] - 1 : -1]
    return torch.log_softmax(logits, -1).gather(-1, ids[..., None])[..., 0]


@pytest.mark.parametrize("given", ["inputs", "embeddings"])
def test_shared_encoding_equals_the_naive_path(
    tiny_audio_llm: AudioLLM,
    inputs: dict[str, Tensor],
    completions: tuple[Tensor, Tensor],
    given: str,
) -> None:
    ids, mask = completions
    prompts = Prompts(inputs=inputs)
    if given == "embeddings":
        embedded = tiny_audio_llm.embed_prompts(inputs).detach()
        sounding = inputs["attention_mask"].bool()
        prompts = Prompts(embeddings=[row[keep] for row, keep in zip(embedded, sounding, strict=True)])
    logits = completion_logits(tiny_audio_llm, prompts, ROWS, ids, mask)
    found, expected = completion_log_probs(logits, ids), naive_log_probs(tiny_audio_llm, inputs, ids, mask)
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=2e-5)


def test_gradients_equal_those_of_the_naive_path(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor], completions: tuple[Tensor, Tensor]
) -> None:
    ids, mask = completions
    model = tiny_audio_llm.model
    gradients = []
    for way in ("naive", "shared"):
        model.zero_grad()
        if way == "naive":
            values = naive_log_probs(tiny_audio_llm, inputs, ids, mask)
        else:
            logits = completion_logits(tiny_audio_llm, Prompts(inputs=inputs), ROWS, ids, mask)
            values = completion_log_probs(logits, ids)
        (values * mask).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any("audio_tower" in name for name in gradients[0])
    for name, expected in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name], expected, rtol=1e-3, atol=2e-4, msg=lambda m, n=name: n + m
        )


def test_the_encoder_hears_each_clip_once(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor], completions: tuple[Tensor, Tensor]
) -> None:
    clips = []
    encoder = next(m for name, m in tiny_audio_llm.model.named_modules() if name.endswith("audio_tower"))
    encoder.register_forward_hook(lambda _m, args, _out: clips.append(len(args[0])))
    completion_logits(tiny_audio_llm, Prompts(inputs=inputs), ROWS, *completions)
    assert clips == [2]


def test_the_head_sees_completions_alone(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor], completions: tuple[Tensor, Tensor]
) -> None:
    logits = completion_logits(tiny_audio_llm, Prompts(inputs=inputs), ROWS, *completions)
    assert logits.shape[:2] == (5, 7)
    again = tiny_audio_llm.model(**inputs).logits
    assert again.shape[1] == inputs["input_ids"].shape[1]  # the hooks are gone


def test_adapters_are_reached_and_can_be_switched_off(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor], completions: tuple[Tensor, Tensor]
) -> None:
    ids, mask = completions
    llm = tiny_audio_llm
    plain = completion_logits(llm, Prompts(inputs=inputs), ROWS, ids, mask)
    wrapped = get_peft_model(
        llm.model, LoraConfig(r=4, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False)
    )
    adapted = completion_logits(replace(llm, model=wrapped), Prompts(inputs=inputs), ROWS, ids, mask)
    with wrapped.disable_adapter():
        switched_off = completion_logits(replace(llm, model=wrapped), Prompts(inputs=inputs), ROWS, ids, mask)
    assert (adapted - plain).abs().max() > 1e-3
    torch.testing.assert_close(switched_off, plain)


def test_temperature_divides_the_logits() -> None:
    logits = torch.randn(2, 3, 11)
    ids = torch.randint(11, (2, 3))
    expected = torch.log_softmax(logits / 0.7, -1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(completion_log_probs(logits, ids, 0.7), expected)
    probabilities = torch.softmax(logits, -1)
    torch.testing.assert_close(entropies(logits), -(probabilities * probabilities.log()).sum(-1))


def test_shorter_prompts_are_padded_on_the_left() -> None:
    padded, mask = pad_left([torch.ones(1, 2), torch.ones(3, 2)])
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert padded[0, :, 0].tolist() == [0, 0, 1]


def test_prompts_are_given_in_one_form() -> None:
    with pytest.raises(ValueError, match="either as inputs or as embeddings"):
        Prompts()
