"""A decoder in 8 bits on a CPU: by name, close to float32, and a caption still depends on its sound alone."""

import copy

import pytest
import torch
from aac_llm.captioning.captioner import Captioner
from aac_llm.models.decoder import DecoderError
from aac_llm.models.inference import load_for_inference, merge_adapters
from aac_llm.models.int8 import Int8Linear, to_int8
from torch import nn
from torch.nn.functional import cosine_similarity
from transformers import GPT2Config, GPT2LMHeadModel


def test_an_8_bit_layer_is_the_layer_but_for_rounding():
    torch.manual_seed(0)
    layer = nn.Linear(96, 40)
    x = torch.randn(3, 7, 96)
    found = Int8Linear(layer)(x)
    assert found.shape == (3, 7, 40)
    assert found.dtype == torch.float32
    assert cosine_similarity(found.flatten(), layer(x).flatten(), 0) > 0.9998
    assert not torch.equal(found, layer(x))
    assert torch.equal(Int8Linear(layer)(torch.zeros(1, 96)), layer.bias[None])


def test_a_token_is_rounded_by_itself_whatever_is_beside_it():
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(64, 32))
    quiet, loud = torch.randn(1, 64), 1000 * torch.randn(5, 64)
    together = layer(torch.cat([quiet, loud]))
    assert torch.equal(together[:1], layer(quiet))


def test_a_caption_in_8_bits_is_the_same_alone_and_in_a_batch(tiny_model_folder, scene_files):
    captioner = Captioner.from_pretrained(tiny_model_folder, device="cpu", quantization="8bit")
    layers = [module for module in captioner.model.decoder.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 2 * 7 + 1  # of two blocks of a Llama, and the head
    assert not any(type(module) is nn.Linear for module in captioner.model.decoder.modules())
    paths = [file.audio for file in scene_files[:4]]
    for beams in (1, 3):
        together = captioner.caption(paths, num_beams=beams, max_new_tokens=8)
        alone = [captioner.caption(path, num_beams=beams, max_new_tokens=8) for path in paths]
        assert [one.caption for one in together] == [one.caption for one in alone]


def test_8_bits_are_taken_only_by_name(tiny_model_folder):
    plain = load_for_inference(tiny_model_folder, device="cpu")
    assert not any(isinstance(module, Int8Linear) for module in plain.decoder.modules())


def test_adapters_are_in_the_8_bits(tiny_model):
    for name, parameter in tiny_model.decoder.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.3)
    ids = torch.arange(3, 40)[None]
    adapted = tiny_model.decoder(input_ids=ids).logits
    with pytest.raises(DecoderError, match="not merged"):
        to_int8(copy.deepcopy(tiny_model.decoder))
    merge_adapters(tiny_model)
    to_int8(tiny_model.decoder)
    assert cosine_similarity(tiny_model.decoder(input_ids=ids).logits.flatten(), adapted.flatten(), 0) > 0.999


def test_what_cannot_be_in_8_bits_is_refused(tiny_model_folder, monkeypatch):
    with pytest.raises(
        ValueError, match="8bit on a CPU is made of float32 weights: leave dtype bfloat16 out"
    ):
        load_for_inference(tiny_model_folder, device="cpu", dtype="bfloat16", quantization="8bit")
    with pytest.raises(DecoderError, match="ReLU has none"):
        to_int8(nn.ReLU())
    monkeypatch.setattr(torch.backends.quantized, "supported_engines", ["none", "qnnpack"])
    with pytest.raises(DecoderError, match="needs PyTorch for x86"):
        load_for_inference(tiny_model_folder, device="cpu", quantization="8bit")


def test_layers_of_another_kind_stay_as_they_are():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=2)).eval()
    assert to_int8(model) == 1  # the head; GPT-2's other layers are `Conv1D`
    assert model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.isfinite().all()
