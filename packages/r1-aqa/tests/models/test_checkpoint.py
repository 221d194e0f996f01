"""Saved adapters are put back whole, on whichever line of transformers they were trained."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.checkpoint import PREFIX, load_adapters
from r1_aqa.models.lora import is_adapted, lora_config
from r1_aqa.models.run_folder import find_model, say_sound_changes, sound_changes
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG = ModelConfig(freeze_projector=False, lora=LoRAConfig(rank=2))
PARTS = ("language_model", "multi_modal_projector")


@pytest.fixture
def adapters(tiny_audio_llm: AudioLLM, tmp_path: Path) -> Path:
    """Adapters and a projector that change what the tiny model says."""
    torch.manual_seed(0)
    adapted = get_peft_model(tiny_audio_llm.model, lora_config(tiny_audio_llm, CONFIG))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            parameter.data.normal_(std=0.1)
    adapted.save_pretrained(tmp_path / "adapters")
    torch.save(
        logits(AudioLLM(adapted.eval(), tiny_audio_llm.processor, tiny_audio_llm.family)),
        tmp_path / "wanted.pt",
    )
    return tmp_path / "adapters"


def logits(llm: AudioLLM) -> Tensor:
    sound = torch.sin(torch.arange(32_000) / 9).numpy()
    with torch.no_grad():
        return llm.model(**llm.encode([llm.format_chat("What is heard?")], [sound])).logits


def on_the_other_line(path: str) -> str:
    """A path as transformers 4 has it, if it is of 5, and the other way round."""
    if path.startswith("model."):
        return path.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
    return "model." + path.replace("language_model.model.", "language_model.", 1)


def move_to_the_other_line(folder: Path) -> None:
    file, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = {PREFIX + on_the_other_line(k.removeprefix(PREFIX)): t for k, t in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads(settings.read_text())
    layers = {key.removeprefix(PREFIX).partition(".lora_")[0] for key in tensors if ".lora_" in key}
    settings.write_text(json.dumps(config | {"target_modules": sorted(layers)}))


@pytest.mark.parametrize("other", [False, True], ids=["this-line", "other-line"])
def test_adapters_speak_as_they_were_trained(adapters: Path, other: bool) -> None:
    wanted = torch.load(adapters.parent / "wanted.pt", weights_only=True)
    if other:
        move_to_the_other_line(adapters)
    llm = load_audio_llm(adapters, ModelConfig(dtype="float32"))
    assert is_adapted(llm)
    assert torch.equal(logits(llm), wanted)
    with llm.model.disable_adapter():  # type: ignore[operator]
        assert (logits(llm) - wanted).abs().max() > 0.01


@pytest.mark.parametrize("lost", ["lora_A", "multi_modal_projector"])
def test_adapters_that_lack_a_tensor_are_refused(adapters: Path, lost: str) -> None:
    file = adapters / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(key for key in tensors if lost in key))
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"does not fit its adapter_config.json: 1 tensors are missing, 0 have no place"
    ):
        load_audio_llm(adapters, ModelConfig(dtype="float32"))


def test_adapters_of_another_model_are_refused(adapters: Path) -> None:
    with pytest.raises(ValueError, match=r"adapts .*language_model.* a layer that Linear does not have"):
        load_adapters(torch.nn.Linear(2, 2), str(adapters))


def test_a_run_stands_for_its_best_model_or_else_its_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="r1_aqa")
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").touch()
    (tmp_path / "config.json").touch()  # the settings of the training
    with pytest.raises(FileNotFoundError, match="is a run without a model"):
        find_model(tmp_path)
    for name, file in (("last", "adapter_config.json"), ("best", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
        assert find_model(tmp_path) == str(tmp_path / name)
        assert f"is a training run: using {tmp_path / name}" in caplog.text
    assert find_model(tmp_path / "last") == str(tmp_path / "last")
    assert find_model("mispeech/r1-aqa") == "mispeech/r1-aqa"


def test_a_run_is_loaded(tiny_model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "last")
    assert not is_adapted(load_audio_llm(tmp_path, ModelConfig(dtype="float32")))


def test_another_reading_of_sound_than_in_training_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").write_text("{}")
    trained = {"max_seconds": 30.0, "too_long": "truncate", "channel": "first"}
    (tmp_path / "config.json").write_text(json.dumps({"sound": trained}))
    say_sound_changes(tmp_path / "best", trained | {"channel": "mean"})
    assert caplog.messages == [
        f"{tmp_path / 'best'} heard otherwise: sound.channel: first in training, mean now"
    ]
    assert sound_changes(tmp_path / "best", trained) == []
    assert sound_changes("mispeech/r1-aqa", trained) == []
