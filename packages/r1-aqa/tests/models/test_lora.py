"""The settings choose which parts are trained."""

import pytest
from peft import get_peft_model
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.lora import is_adapted, lora_config, prepare_adapters, prepare_full, prompts_are_frozen

ENCODER, PROJECTOR = "audio_tower", "multi_modal_projector"


def trained(llm: AudioLLM) -> set[str]:
    return {name for name, p in llm.model.named_parameters() if p.requires_grad}


def parts(names: set[str]) -> set[str]:
    return {
        next((part for part in (ENCODER, PROJECTOR) if f"{part}." in name), "language model")
        for name in names
    }


@pytest.mark.parametrize("encoder", [True, False], ids=["frozen-encoder", "encoder"])
@pytest.mark.parametrize("projector", [True, False], ids=["frozen-projector", "projector"])
def test_full_training_leaves_out_what_is_frozen(
    tiny_audio_llm: AudioLLM, encoder: bool, projector: bool
) -> None:
    config = ModelConfig(strategy="full", freeze_encoder=encoder, freeze_projector=projector)
    prepare_full(tiny_audio_llm, config)
    wanted = {"language model"} | (set() if encoder else {ENCODER}) | (set() if projector else {PROJECTOR})
    assert parts(trained(tiny_audio_llm)) == wanted
    assert not prompts_are_frozen(tiny_audio_llm)  # the embedding of text is trained, too


def test_adapters_with_a_projector_that_is_trained_whole(tiny_audio_llm: AudioLLM) -> None:
    config = ModelConfig(freeze_projector=False, lora=LoRAConfig(rank=4))
    tiny_audio_llm.model.requires_grad_(False)
    tiny_audio_llm.model = get_peft_model(tiny_audio_llm.model, lora_config(tiny_audio_llm, config))
    names = trained(tiny_audio_llm)
    assert parts(names) == {"language model", PROJECTOR}
    assert all("lora_" in name or PROJECTOR in name for name in names)
    assert not prompts_are_frozen(tiny_audio_llm)
    assert is_adapted(tiny_audio_llm)


def test_loaded_adapters_are_trained_on_and_nothing_else(tiny_audio_llm: AudioLLM) -> None:
    wrapped = get_peft_model(tiny_audio_llm.model, lora_config(tiny_audio_llm, ModelConfig()))
    tiny_audio_llm.model = wrapped
    wrapped.requires_grad_(True)
    prepare_adapters(tiny_audio_llm)
    assert all("lora_" in name for name in trained(tiny_audio_llm))
    assert prompts_are_frozen(tiny_audio_llm)
