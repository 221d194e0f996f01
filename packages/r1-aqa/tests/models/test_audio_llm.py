from pathlib import Path

import numpy as np
import pytest
import torch
from r1_aqa.config.model import ModelConfig
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.families import find_family
from torch import Tensor


@pytest.fixture
def inputs(tiny_audio_llm: AudioLLM) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, size).astype(np.float32) for size in (16_000, 40_000, 64_000)]
    texts = ["What is it?", "Which of these is heard first?", "How many times does it sound?"]
    return tiny_audio_llm.encode([tiny_audio_llm.format_chat(text) for text in texts], sounds)


def test_embedded_prompts_give_the_logits_of_features(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor]
) -> None:
    with torch.no_grad():
        expected = tiny_audio_llm.model(**inputs).logits
        embeddings = tiny_audio_llm.embed_prompts(inputs)
        found = tiny_audio_llm.model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    sound = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[sound], expected[sound], rtol=0, atol=1e-6)


def test_embedded_prompts_generate_what_features_generate(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor]
) -> None:
    length = inputs["input_ids"].shape[1]
    expected = tiny_audio_llm.model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, length:]
    embeddings = tiny_audio_llm.embed_prompts(inputs)
    found = tiny_audio_llm.generate(embeddings, inputs["attention_mask"], max_new_tokens=8, do_sample=False)
    assert found.tolist() == expected.tolist()


def test_rollouts_share_the_reading_of_their_prompt(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor]
) -> None:
    embeddings, mask = tiny_audio_llm.embed_prompts(inputs), inputs["attention_mask"]
    settings = {"max_new_tokens": 8, "do_sample": False}
    alone = tiny_audio_llm.generate(embeddings, mask, **settings)
    shared = tiny_audio_llm.generate(embeddings, mask, num_rollouts=3, **settings)
    assert shared.tolist() == alone.repeat_interleave(3, 0).tolist()


def test_gradients_reach_the_encoder_through_embedded_prompts(
    tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor]
) -> None:
    tiny_audio_llm.embed_prompts(inputs).square().sum().backward()
    encoder = [p for name, p in tiny_audio_llm.model.named_parameters() if "audio_tower" in name]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder)


def test_each_sound_changes_its_own_prompt_alone(tiny_audio_llm: AudioLLM, inputs: dict[str, Tensor]) -> None:
    with torch.no_grad():
        before = tiny_audio_llm.embed_prompts(inputs)
        inputs["input_features"][1].zero_()
        after = tiny_audio_llm.embed_prompts(inputs)
    changed = (before != after).flatten(1).any(1).tolist()
    assert changed == [False, True, False]


def test_a_renamed_folder_is_still_qwen2_audio(tiny_model_folder: Path) -> None:
    assert find_family(str(tiny_model_folder)).model_class == "Qwen2AudioForConditionalGeneration"


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="type 'llama'; r1-aqa knows the audio LLMs qwen2_audio"):
        load_audio_llm(tmp_path)


def test_one_sound_a_text(tiny_audio_llm: AudioLLM) -> None:
    with pytest.raises(ValueError, match="one sound a text, got 0 sounds for 1 texts"):
        tiny_audio_llm.encode(["What?"], [])


def test_weights_load_by_the_names_of_the_published_files(tiny_model_folder: Path, tmp_path: Path) -> None:
    """mispeech/r1-aqa was saved by transformers 4.49, whose names are spelled out here."""
    import shutil

    from safetensors.torch import save_file

    expected = load_audio_llm(tiny_model_folder, ModelConfig(dtype="float32")).model
    folder = tmp_path / "renamed"
    shutil.copytree(tiny_model_folder, folder)
    published = {}
    for name, value in expected.state_dict().items():
        bare = name.removeprefix("model.")
        if bare.startswith("lm_head"):
            bare = f"language_model.{bare}"
        elif bare.startswith("language_model.") and not bare.startswith(
            ("language_model.model.", "language_model.lm_head.")
        ):
            bare = bare.replace("language_model.", "language_model.model.", 1)
        published[bare] = value.clone()
    wanted = {
        "language_model.model.embed_tokens.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "language_model.lm_head.weight",
        "audio_tower.conv1.weight",
        "audio_tower.layers.0.self_attn.q_proj.weight",
        "multi_modal_projector.linear.weight",
    }
    assert wanted <= published.keys()
    save_file(published, folder / "model.safetensors", metadata={"format": "pt"})
    found = load_audio_llm(folder, ModelConfig(dtype="float32")).model.state_dict()
    for name, value in expected.state_dict().items():
        assert torch.equal(found[name], value), name
