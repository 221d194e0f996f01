"""The encoder in 8 bits: what is rounded and how, close to float32, each clip still by itself."""

import copy

import pytest
import torch
from audio_common.attention import Block, Packed
from audio_common.ced import CED
from audio_common.config import CEDConfig
from audio_common.int8 import Int8Linear, round_rows, to_int8
from audio_common.scenes import random_scene, render
from torch import Tensor, nn

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoders() -> tuple[CED, CED]:
    """The same encoder in float32 and in 8 bits, its statistics those of sound."""
    torch.manual_seed(0)
    model = CED(CEDConfig(embed_dim=96, depth=4, num_heads=3, num_classes=9)).eval()
    model.init_bn.running_mean.fill_(-20.0)
    model.init_bn.running_var.fill_(200.0)
    return model, copy.deepcopy(model).set_precision("int8")


@pytest.fixture(scope="module")
def sounds() -> list[Tensor]:
    return [torch.as_tensor(render(random_scene(seed, seconds=3.0 + seed))) for seed in range(4)]


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.cosine_similarity(a.float(), b.float(), dim=-1).min().item()


def test_a_row_is_rounded_to_127_steps_on_its_own_scale() -> None:
    x = torch.tensor([[1.0, -0.5, 0.004], [100.0, 0.3, -100.0], [0.0, 0.0, 0.0]])
    integers, scales = round_rows(x)
    assert integers.tolist() == [[127, -64, 1], [127, 0, -127], [0, 0, 0]]
    assert scales[:2, 0].tolist() == pytest.approx([1 / 127, 100 / 127])
    assert ((integers * scales - x).abs() <= scales / 2 + 1e-6).all()


def test_bfloat16_is_rounded_to_8_bits_as_the_float32_that_it_is() -> None:
    x = torch.randn(50, 64).bfloat16()
    for ours, exact in zip(round_rows(x), round_rows(x.float()), strict=True):
        assert torch.equal(ours, exact)


def test_a_product_of_integers_is_the_product_of_what_they_stand_for() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(32, 48), nn.Linear(32, 16, bias=False)]
    fused = Int8Linear(layers)
    x = torch.randn(2, 9, 32) * torch.logspace(-3, 3, 9)[:, None]
    integers, scales = round_rows(x)
    ours = fused(integers, scales)
    weight = fused.weight.T.double() * fused.scales[:, None].double()
    exact = (integers * scales).double() @ weight.T + fused.bias.double()
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
    theirs = torch.cat([layer(x) for layer in layers], dim=-1)
    assert cosine(ours, theirs) > 0.999


@pytest.mark.parametrize("between", [torch.float32, torch.bfloat16])
def test_a_block_of_8_bits_is_the_block(between: torch.dtype) -> None:
    torch.manual_seed(0)
    block = Block(96, 3, 4.0, 0.0).eval()
    for layer in block.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.1)
    ours = to_int8(nn.ModuleList([block]), between)[0]
    x, layout = torch.randn(30, 96), Packed((14, 14, 2))
    with torch.inference_mode():
        change, expected = ours(x, layout) - x, block(x, layout) - x
    assert change.dtype == torch.float32
    assert cosine(change, expected) > 0.999


@torch.inference_mode()
def test_embeddings_of_sounds_are_those_of_float32_within_a_thousandth(encoders, sounds) -> None:
    model, ours = encoders
    for sound in sounds:
        a, b = ours(sound[None], classify=True), model(sound[None], classify=True)
        assert cosine(a.tokens, b.tokens) > 0.999
        assert cosine(a.pooled, b.pooled) > 0.9995
        assert not torch.equal(a.tokens, b.tokens)  # it did compute in 8 bits
        torch.testing.assert_close(a.probabilities, b.probabilities, rtol=0, atol=5e-3)


@torch.inference_mode()
def test_a_clip_in_8_bits_depends_on_itself_alone(encoders, sounds) -> None:
    ours = encoders[1]
    lengths = [len(sound) for sound in sounds]
    together = ours(nn.utils.rnn.pad_sequence(sounds, batch_first=True), lengths)
    for row, sound in enumerate(sounds):
        alone = ours(sound[None])
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=2e-3, atol=2e-3)


@torch.inference_mode()
def test_a_clip_that_is_not_a_number_spoils_only_itself_in_8_bits(encoders, sounds) -> None:
    clips = torch.stack([sound[:32_000] for sound in sounds[:2]])
    clips[0, 100] = float("nan")
    output = encoders[1](clips)
    assert output.pooled[0].isnan().all()
    assert cosine(output.pooled[1], encoders[1](clips[1:]).pooled[0]) > 0.9999


@torch.inference_mode()
def test_groups_are_small_in_8_bits(encoders, monkeypatch) -> None:
    """Larger ones have the system give and take memory for each product: 1.3 times the time of CED-tiny."""
    ours, groups = encoders[1], []
    plain = ours._encode_group

    def watched(tokens: Tensor, sizes: list[int]) -> Tensor:
        groups.append(len(tokens))
        return plain(tokens, sizes)

    monkeypatch.setattr(ours, "_encode_group", watched)
    ours(torch.zeros(4, 16_000))
    ours(torch.zeros(1, 16_000 * 25))
    assert groups == [4 * 28, 252, 252, 124]


def test_int8_weighs_a_quarter(encoders) -> None:
    def size(model: CED) -> int:
        return sum(tensor.nbytes for tensor in model.blocks.state_dict().values())

    model, ours = encoders
    assert size(ours) < 0.3 * size(model)


def test_int8_is_for_inference_of_plain_float32_on_a_cpu(encoders, tmp_path) -> None:
    model, ours = encoders
    with pytest.raises(ValueError, match="for inference: save it before"):
        ours.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot become fp32 again: load it again"):
        ours.set_precision("fp32")
    assert ours.set_precision("int8") is ours
    assert not ours.train().training
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    with pytest.raises(ValueError, match="load the model in float32"):
        copy.deepcopy(model).bfloat16().set_precision("int8")
    adapted = copy.deepcopy(model)
    adapted.blocks[1].attn.q = nn.Sequential(adapted.blocks[1].attn.q)
    with pytest.raises(ValueError, match="merge adapters"):
        adapted.set_precision("int8")
    with pytest.raises(ValueError, match="use bf16 there"):
        copy.deepcopy(model).to("meta").set_precision("int8")


def test_precision_is_one_of_the_names(encoders) -> None:
    with pytest.raises(ValueError, match="one of auto, fp32, bf16, int8, got 'int4'"):
        copy.deepcopy(encoders[0]).set_precision("int4")


def test_from_pretrained_takes_the_precision(encoders, sounds, tmp_path) -> None:
    model, ours = encoders
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        loaded = CED.from_pretrained(tmp_path, precision="int8")(sounds[0][None])
        assert torch.equal(loaded.tokens, ours(sounds[0][None]).tokens)
    assert CED.from_pretrained(tmp_path, precision="bf16").norm.weight.dtype == torch.bfloat16
    assert CED.from_pretrained(tmp_path).norm.weight.dtype == torch.float32


@torch.inference_mode()
def test_attention_by_products_in_bf16_is_torchs(encoders, sounds) -> None:
    half = copy.deepcopy(encoders[0]).bfloat16()
    ours = half(sounds[0][None])
    half.attention = "padded"  # torch's fused attention
    assert cosine(ours.tokens, half(sounds[0][None]).tokens) > 0.999
