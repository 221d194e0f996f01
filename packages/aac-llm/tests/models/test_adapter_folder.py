"""Adapters of a captioner are folders that plain peft loads, and that are checked when they are read."""

import json
from pathlib import Path

import pytest
import torch
from aac_llm.models.adapter_folder import PREFIX
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.tensors import CheckpointError
from audio_common.ced import CED
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


@pytest.fixture
def folder(tiny_model: CaptionModel, tmp_path: Path) -> Path:
    for parameter in tiny_model.trainable_parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    tiny_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, part: str, **settings: object) -> None:
    path = folder / f"{part}_adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_peft_alone_loads_the_adapters_of_the_decoder(
    tiny_model: CaptionModel, folder: Path, tiny_decoder: Path
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_decoder, dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = base(ids).logits
    adapted = PeftModel.from_pretrained(base, folder / "decoder_adapter").eval()
    with torch.no_grad():
        found, expected = adapted(ids).logits, tiny_model.decoder(ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(found, plain, atol=1e-3)
    assert adapted.peft_config["default"].base_model_name_or_path == str(tiny_decoder)
    assert adapted.peft_config["default"].task_type == "CAUSAL_LM"


def test_peft_alone_loads_the_adapters_of_the_encoder(tiny_model: CaptionModel, folder: Path) -> None:
    encoder = CED(tiny_model.config.encoder).eval()
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    waveforms = torch.randn(1, 20_000) * 0.1
    with torch.no_grad():
        plain = encoder(waveforms).tokens
        found = PeftModel.from_pretrained(encoder, folder / "encoder_adapter").eval()(waveforms).tokens
        torch.testing.assert_close(found, tiny_model.encoder(waveforms).tokens, rtol=0, atol=0)
    assert not torch.allclose(found, plain, atol=1e-4)


def test_adapters_of_the_first_format_are_read(tiny_model: CaptionModel, folder: Path) -> None:
    for part in ("encoder", "decoder"):
        weights = folder / f"{part}_adapter" / "adapter_model.safetensors"
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in load_file(weights).items()}
        for path in (folder / f"{part}_adapter").iterdir():
            path.unlink()
        (folder / f"{part}_adapter").rmdir()
        save_file(tensors, folder / f"{part}_adapter.safetensors")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format_version": 1}))
    loaded = CaptionModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tiny_model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"lora_alpha": 7}, "lora_alpha is 7"),
        ({"r": 3}, "r is 3"),
        ({"use_rslora": True}, "use_rslora is True"),
    ],
)
def test_adapters_of_another_scale_are_refused(folder: Path, settings: dict[str, object], named: str) -> None:
    change(folder, "decoder", **settings)
    with pytest.raises(CheckpointError, match=rf"decoder_adapter/adapter_config\.json .*{named}, expected"):
        CaptionModel.from_pretrained(folder)


def test_an_adapter_config_of_no_sense_is_refused_by_its_file(folder: Path) -> None:
    (folder / "encoder_adapter" / "adapter_config.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"encoder_adapter/adapter_config\.json"):
        CaptionModel.from_pretrained(folder)


def test_adapters_that_are_missing_are_named(folder: Path) -> None:
    (folder / "decoder_adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"decoder_adapter/adapter_model\.safetensors is missing"):
        CaptionModel.from_pretrained(folder)
