"""What is trained of each end, and what a checkpoint of it holds."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.checkpoint import CheckpointError
from aac_llm.models.tiny import create_tiny_decoder
from torch import Tensor

STRATEGIES = ("frozen", "lora", "full")


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, list[int]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 24_000, generator=generator) * 0.1, [24_000, 9_000]


def loss(model: CaptionModel, batch: tuple[Tensor, list[int]]) -> Tensor:
    return model(*batch, model.tokenize_captions(["a dog barks", "rain is falling"])).loss


@pytest.mark.parametrize(("encoder", "decoder"), product(STRATEGIES, STRATEGIES))
def test_gradients_reach_what_the_strategy_says_and_nothing_else(
    tiny_config: ModelConfig, batch: tuple[Tensor, list[int]], encoder: str, decoder: str
) -> None:
    model = CaptionModel.from_config(replace(tiny_config, encoder_strategy=encoder, decoder_strategy=decoder))
    loss(model.train(), batch).backward()
    for part, strategy in (("encoder", encoder), ("decoder", decoder)):
        for name, parameter in getattr(model, part).named_parameters():
            learns = strategy == "full" or (strategy == "lora" and ".lora_" in name)
            assert parameter.requires_grad == learns, name
            assert learns or parameter.grad is None, name
    assert all(p.grad is not None for p in model.bridge.parameters())


@pytest.mark.parametrize(("encoder", "decoder"), [("frozen", "frozen"), ("full", "lora"), ("lora", "full")])
def test_every_strategy_is_saved_and_loaded_whole(
    tiny_config: ModelConfig, batch: tuple[Tensor, list[int]], tmp_path: Path, encoder: str, decoder: str
) -> None:
    model = CaptionModel.from_config(replace(tiny_config, encoder_strategy=encoder, decoder_strategy=decoder))
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(tmp_path / "model")
    again = CaptionModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(loss(model.eval(), batch), loss(again, batch))


def test_merged_model_computes_the_same_without_adapters(
    tiny_model: CaptionModel, batch: tuple[Tensor, list[int]], tmp_path: Path
) -> None:
    with torch.no_grad():
        for parameter in tiny_model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    tiny_model.save_merged(tmp_path / "merged")
    merged = CaptionModel.from_pretrained(tmp_path / "merged")
    assert not any(".lora_" in name for name, _ in merged.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(loss(merged, batch), loss(tiny_model, batch), rtol=0, atol=1e-5)


def test_decoder_of_another_width_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    other = create_tiny_decoder(tmp_path, ["a dog barks"], vocab_size=300, hidden_size=32)
    with pytest.raises(CheckpointError, match=r"width 64.*has 32"):
        CaptionModel.from_pretrained(tiny_model_folder, decoder=str(other))


def test_missing_decoder_is_told_by_name(tiny_model_folder: Path) -> None:
    with pytest.raises(ValueError, match="nowhere/at-all"):
        CaptionModel.from_pretrained(tiny_model_folder, decoder="nowhere/at-all")


@pytest.mark.parametrize("kind", ["window", "clip", "linear"])
def test_every_bridge_learns_one_batch_by_heart(
    tiny_config: ModelConfig, batch: tuple[Tensor, list[int]], kind: str
) -> None:
    bridge = BridgeConfig(kind=kind, num_queries=4, hidden_size=48, num_heads=4, intermediate_size=96)
    config = replace(tiny_config, bridge=bridge, encoder_strategy="full", decoder_strategy="full")
    model = CaptionModel.from_config(config).train()
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=5e-3)
    first = loss(model, batch).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    assert loss(model, batch).item() < 0.2 * first


def test_frozen_weights_in_bfloat16_train_adapters_in_float32(
    tiny_config: ModelConfig, batch: tuple[Tensor, list[int]]
) -> None:
    model = CaptionModel.from_config(replace(tiny_config, decoder_dtype="bfloat16")).train()
    assert {p.dtype for p in model.trainable_parameters()} == {torch.float32}
    frozen = [p for p in model.decoder.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(model, batch)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(p.grad).all() for p in model.trainable_parameters() if p.grad is not None)


def test_gradient_checkpointing_gives_the_same_gradients(
    tiny_config: ModelConfig, batch: tuple[Tensor, list[int]]
) -> None:
    config = replace(tiny_config, lora=replace(tiny_config.lora, dropout=0.0))
    torch.manual_seed(0)
    model = CaptionModel.from_config(config).train()
    model.bridge.eval()  # its dropout draws anew
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        if enabled:
            model.gradient_checkpointing_enable()
        loss(model, batch).backward()
        gradients.append([p.grad.clone() for p in model.trainable_parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-4, atol=1e-6)
