"""Every family of audio LLMs, a tiny model of the real class: its way of merging sound against our path."""

import base64
import copy
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from r1_aqa.config.model import ModelConfig
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm, merge_published
from r1_aqa.models.chat import voxtral_chat
from r1_aqa.models.checkpoint import spelling
from r1_aqa.models.families import FAMILIES, find_family
from r1_aqa.models.log_probs import (
    Prompts,
    completion_log_probs,
    completion_logits,
    entropies,
    score_completions,
    shared_prefix_logits,
)
from r1_aqa.models.lora import adapter_targets, lora_config, prompts_are_frozen
from r1_aqa.models.tiny import train_tokenizer
from safetensors.torch import save_file
from torch import Tensor

WORDS, AUDIO, WIDTH = 96, 90, 32
TEXT = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
WHISPER = {
    "num_mel_bins": 8,
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "max_source_positions": 20,
}


def qwen2_audio() -> transformers.PretrainedConfig:
    return transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **WHISPER},
        text_config={"model_type": "qwen2", **TEXT},
        audio_token_index=AUDIO,
    )


def voxtral() -> transformers.PretrainedConfig:
    encoder = {
        "num_mel_bins": 8,
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_source_positions": 20,
        "head_dim": 8,
    }
    return transformers.VoxtralConfig(
        audio_config=encoder, text_config={"model_type": "llama", **TEXT}, audio_token_id=AUDIO
    )


def audioflamingo3() -> transformers.PretrainedConfig:
    encoder = {
        "num_mel_bins": 8,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_source_positions": 20,
    }
    return transformers.AudioFlamingo3Config(
        audio_config={"model_type": "audioflamingo3_encoder", **encoder},
        text_config={"model_type": "qwen2", **TEXT},
        audio_token_id=AUDIO,
    )


def granite_speech() -> transformers.PretrainedConfig:
    return transformers.GraniteSpeechConfig(
        text_config={"model_type": "granite", "logits_scaling": 3.0, **TEXT},
        encoder_config={
            "input_dim": 8,
            "num_layers": 2,
            "hidden_dim": 16,
            "feedforward_mult": 2,
            "num_heads": 2,
            "dim_head": 8,
            "output_dim": 12,
            "context_size": 8,
            "max_pos_emb": 16,
        },
        projector_config={
            "model_type": "blip_2_qformer",
            "hidden_size": 16,
            "encoder_hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        audio_token_index=AUDIO,
        window_size=4,
        downsample_rate=2,
        has_lora_adapter=False,
    )


def omni_text() -> dict:
    rope = {"mrope_section": [2, 1, 1], "rope_type": "default", "type": "default"}
    return {**TEXT, "rope_scaling": rope, "rope_theta": 10_000.0}


def omni_vision(**more: int) -> dict:
    return {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        **more,
    }


def omni_audio() -> dict:
    return {**WHISPER, "output_dim": WIDTH, "n_window": 10}


OMNI_TOKENS = {"audio_start_token_id": 93, "audio_end_token_id": 94, "vision_start_token_id": 89}


def qwen2_5_omni_thinker() -> transformers.PretrainedConfig:
    return transformers.Qwen2_5OmniThinkerConfig(
        audio_config=omni_audio(),
        vision_config=omni_vision(embed_dim=16, out_hidden_size=WIDTH),
        text_config=omni_text(),
        audio_token_index=AUDIO,
        image_token_index=91,
        video_token_index=92,
        **OMNI_TOKENS,
    )


def qwen3_omni_moe_thinker() -> transformers.PretrainedConfig:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 8}
    return transformers.Qwen3OmniMoeThinkerConfig(
        audio_config={**omni_audio(), "n_window": 50, "downsample_hidden_size": 4, "n_window_infer": 800},
        vision_config=omni_vision(deepstack_visual_indexes=[0]),
        text_config={**omni_text(), **experts},
        audio_token_id=AUDIO,
        image_token_id=91,
        video_token_id=92,
        **OMNI_TOKENS,
    )


def musicflamingo() -> transformers.PretrainedConfig:
    flamingo = audioflamingo3()
    return transformers.MusicFlamingoConfig(
        audio_config=flamingo.audio_config.to_dict(),
        text_config=flamingo.text_config.to_dict(),
        audio_token_id=AUDIO,
        audio_bos_token_id=93,
        audio_eos_token_id=94,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    )


def phi4_multimodal() -> transformers.PretrainedConfig:
    return transformers.Phi4MultimodalConfig(
        **TEXT,
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 16,
            "depthwise_separable_out_channel": 16,
            "nemo_conv_channels": 16,
            "input_size": 8,
            "audio_token_id": AUDIO,
            "time_reduction": 8,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "crop_size": 28,
            "image_token_id": 91,
        },
    )


GEMMA = {
    **TEXT,
    "head_dim": 8,
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": WORDS,
    "sliding_window": 64,
    "num_kv_shared_layers": 2,
}


def gemma4() -> transformers.PretrainedConfig:
    return transformers.Gemma4Config(
        text_config={"model_type": "gemma4_text", **GEMMA, "global_head_dim": 8},
        audio_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "subsampling_conv_channels": (16, 4),
            "output_proj_dims": 16,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
        },
        audio_token_id=AUDIO,
        image_token_id=91,
        video_token_id=92,
        boi_token_id=93,
        eoi_token_id=94,
        boa_token_id=89,
        eoa_token_index=88,
    )


def gemma3n() -> transformers.PretrainedConfig:
    return transformers.Gemma3nConfig(
        text_config={
            "model_type": "gemma3n_text",
            **GEMMA,
            "laurel_rank": 4,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.0] * 4,
        },
        audio_config={
            "hidden_size": 16,
            "conf_num_hidden_layers": 1,
            "conf_num_attention_heads": 2,
            "input_feat_size": 16,
            "sscp_conv_channel_size": (4, 4),
            "vocab_size": 8,
            "vocab_offset": 88,
        },
        vision_config={"vocab_size": 4, "vocab_offset": 84, "hidden_size": 16},
        audio_token_id=AUDIO,
        image_token_id=85,
        audio_soft_tokens_per_image=10,
    )


def features(family: str, tokens: int) -> dict[str, Tensor]:
    """Two sounds that become `tokens` audio tokens each, as the family's processor names them."""
    generator = torch.Generator().manual_seed(1)
    if family == "granite_speech":
        frames = tokens * 2
        mask = torch.ones(2, tokens, dtype=torch.bool)
        return {"input_features": torch.randn(2, frames, 8, generator=generator), "input_features_mask": mask}
    if family == "phi4_multimodal":
        mel = torch.randn(2, 40, 8, generator=generator)
        return {"audio_input_features": mel, "audio_embed_sizes": torch.tensor([tokens, tokens])}
    if family.startswith("gemma"):
        mel = torch.randn(2, 40, 16, generator=generator)
        return {"input_features": mel, "input_features_mask": torch.ones(2, 40, dtype=torch.bool)}
    mel = torch.randn(2, 8, 40, generator=generator)
    ones = torch.ones(2, 40, dtype=torch.long)
    masks = {"input_features_mask": ones}
    names = {"voxtral": {}, "audioflamingo3": masks, "musicflamingo": masks}
    return {"input_features": mel} | names.get(family, {"feature_attention_mask": ones})


TOKENS = {"granite_speech": 8, "voxtral": 5, "qwen3_omni_moe_thinker": 5, "phi4_multimodal": 5}
"""Audio tokens of 40 frames; 10 in the other families."""


@contextmanager
def without_eyes() -> Iterator[None]:
    """Make models without what sees, which for Gemma 3n needs another library."""
    own = transformers.AutoModel.from_config

    def make(config: transformers.PretrainedConfig, *args: object, **kwargs: object) -> torch.nn.Module:
        return torch.nn.Identity() if config.model_type == "gemma3n_vision" else own(config, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.AutoModel, "from_config", make)
        yield


@pytest.fixture(
    params=[
        name
        for name, family in FAMILIES.items()
        if hasattr(transformers, family.model_class)
        and family.oldest <= int(transformers.__version__.partition(".")[0])
    ]
)
def tiny(request: pytest.FixtureRequest) -> tuple[str, AudioLLM, dict[str, Tensor]]:
    name = request.param
    family, config = FAMILIES[name], globals()[name]()
    torch.manual_seed(0)
    with without_eyes():
        model = getattr(transformers, family.model_class)(config).eval().float()
    count = TOKENS.get(name, 10)
    texts = [[5, 6, 7, *[AUDIO] * count, 8, 9], [0, 11, 12, *[AUDIO] * count, 13, 14]]
    ids = torch.tensor(texts)
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long(), **features(name, count)}
    return name, AudioLLM(model, None, family), inputs


@torch.no_grad()
def test_embedded_prompts_give_the_logits_of_features(tiny: tuple[str, AudioLLM, dict[str, Tensor]]) -> None:
    _, llm, inputs = tiny
    expected = llm.model(**inputs).logits
    embeddings = llm.embed_prompts(inputs)
    with llm.taking_embeddings():
        found = llm.model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    valid = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[valid], expected[valid], rtol=0, atol=1e-5)


@torch.no_grad()
def test_completions_are_scored_as_by_the_model_itself(tiny: tuple[str, AudioLLM, dict[str, Tensor]]) -> None:
    _, llm, inputs = tiny
    rows = torch.tensor([0, 0, 1, 1])
    ids = torch.tensor([[20, 21, 1], [22, 1, 0], [23, 24, 25], [26, 1, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 0]])
    naive = {key: value[rows] for key, value in inputs.items()}
    naive["input_ids"] = torch.cat([naive["input_ids"], ids], 1)
    naive["attention_mask"] = torch.cat([naive["attention_mask"], mask], 1)
    expected = llm.model(**naive).logits[:, -4:-1]
    kept = inputs["attention_mask"].bool()
    embeddings = [row[m] for row, m in zip(llm.embed_prompts(inputs), kept, strict=True)]
    for prompts in (Prompts(inputs=inputs), Prompts(embeddings=embeddings)):
        found = completion_logits(llm, prompts, rows, ids, mask)
        torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5)
        scores = score_completions(llm, prompts, rows, ids, mask, temperature=0.7, with_entropies=True)
        wanted = completion_log_probs(expected, ids, 0.7), entropies(expected, 0.7)
        for score, want in zip(scores, wanted, strict=True):
            torch.testing.assert_close(score[mask.bool()], want[mask.bool()], rtol=0, atol=2e-5)
        if llm.family.plain_positions:
            packed = shared_prefix_logits(llm, prompts, rows, ids, mask)
            torch.testing.assert_close(packed[mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5)


@torch.no_grad()
def test_rollouts_continue_as_the_model_itself_does(tiny: tuple[str, AudioLLM, dict[str, Tensor]]) -> None:
    _, llm, inputs = tiny
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": 1, "pad_token_id": 0}
    settings["suppress_tokens"] = [AUDIO]  # as in training: it would be taken for a place of the sound
    length = inputs["input_ids"].shape[1]
    expected = llm.model.generate(**inputs, **settings)[:, length:]
    embeddings, mask = llm.embed_prompts(inputs), inputs["attention_mask"]
    assert llm.generate(embeddings, mask, **settings).tolist() == expected.tolist()
    shared = llm.generate(embeddings, mask, num_rollouts=2, **settings)
    assert shared.tolist() == expected.repeat_interleave(2, 0).tolist()


def test_adapters_reach_the_language_model_alone(tiny: tuple[str, AudioLLM, dict[str, Tensor]]) -> None:
    from peft import get_peft_model

    _, llm, inputs = tiny
    config = ModelConfig()
    llm.model.requires_grad_(False)
    wrapped = get_peft_model(llm.model, lora_config(llm, config))
    adapted = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert adapted
    outside = (*llm.family.encoder, "visual", *llm.family.projector)
    assert not [name for name in adapted if any(f".{part}." in name for part in outside)]
    llm.model = wrapped
    assert prompts_are_frozen(llm)
    # Gemma's embeddings for each layer stand behind.
    assert llm.embed_prompts(inputs).shape[-1] == WIDTH + (16 if llm.family.embed else 0)
    assert llm.head().weight.shape == (WORDS, WIDTH)


def test_layers_of_one_model_have_spellings_of_their_own(
    tiny: tuple[str, AudioLLM, dict[str, Tensor]],
) -> None:
    layers = [
        name for name, module in tiny[1].model.named_modules() if list(module.parameters(recurse=False))
    ]
    assert len({spelling(name) for name in layers}) == len(layers)


def test_layers_that_are_not_there_are_named(tiny: tuple[str, AudioLLM, dict[str, Tensor]]) -> None:
    _, llm, _ = tiny
    with pytest.raises(ValueError, match=r"no layer named query_key_value"):
        adapter_targets(llm, ("query_key_value",))


def test_the_part_of_a_whole_omni_model_that_hears_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    thinker = transformers.Qwen2_5OmniThinkerForConditionalGeneration(qwen2_5_omni_thinker())
    thinker.save_pretrained(tmp_path / "thinker")
    whole = {"model_type": "qwen2_5_omni", "thinker_config": json.loads(thinker.config.to_json_string())}
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(whole))
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "thinker" / "model.safetensors")
    keys = {key if key.startswith("thinker.") else f"thinker.{key}": value for key, value in saved.items()}
    save_file(keys | {"talker.head": torch.ones(2)}, folder / "model.safetensors", metadata={"format": "pt"})
    family = find_family(str(folder))
    assert family is FAMILIES["qwen2_5_omni_thinker"]
    loaded = getattr(transformers, family.model_class).from_pretrained(folder)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), thinker.parameters(), strict=True))


def test_a_family_of_ones_own_is_read_from_a_file(tmp_path: Path, tiny_model_folder: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "of_ones_own"}))
    with pytest.raises(ValueError, match=r"--family FILE\.py:NAME describes others"):
        load_audio_llm(folder)
    own = tmp_path / "own.py"
    own.write_text(
        "from r1_aqa.models.families import Family\n"
        "from transformers import Qwen2AudioForConditionalGeneration as Model\n"
        "FAMILY = Family(Model, ('language_model',), ('audio_tower',), ('multi_modal_projector',))\n"
    )
    family = find_family(str(folder), f"{own}:FAMILY")
    assert (family.class_name, family.encoder) == ("Qwen2AudioForConditionalGeneration", ("audio_tower",))
    (folder / "config.json").write_text(json.dumps(config))
    ours = load_audio_llm(folder, ModelConfig(family=f"{own}:FAMILY")).model.parameters()
    theirs = load_audio_llm(folder).model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for name, message in (("Model", "expected a Family"), ("NONE", "nothing named 'NONE'")):
        with pytest.raises(ValueError, match=message):
            find_family(str(folder), f"{own}:{name}")


def test_adapters_that_were_published_with_a_model_are_merged(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = transformers.Phi4MultimodalForCausalLM(phi4_multimodal()).eval()
    own = LoraConfig(r=2, target_modules=r"model\.layers\.\d+.*(qkv_proj|o_proj)", init_lora_weights=False)
    get_peft_model(copy.deepcopy(model), own).save_pretrained(tmp_path / "speech-lora")
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    merged = merge_published(model, tmp_path, FAMILIES["phi4_multimodal"])
    assert not hasattr(merged, "peft_config")
    assert not torch.allclose(merged(ids).logits, before)
    assert merge_published(merged, tmp_path / "none", FAMILIES["phi4_multimodal"]) is merged


def test_granite_is_asked_in_plain_text_and_hears() -> None:
    texts = ["What is it? <|audio|>", "USER: ASSISTANT:"]
    tokenizer = train_tokenizer(texts, 300)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|audio|>"]})
    template = "{% for m in messages %}USER: {{ m['content'] }}\n ASSISTANT:{% endfor %}"
    processor = transformers.GraniteSpeechProcessor(
        transformers.GraniteSpeechFeatureExtractor(), tokenizer, chat_template=template
    )
    llm = AudioLLM(torch.nn.Identity(), processor, FAMILIES["granite_speech"])
    chat = llm.format_chat("What is it?")
    assert chat == "USER: <|audio|>What is it?\n ASSISTANT:"
    sounds = [np.random.default_rng(i).normal(0, 0.1, 16_000 * (1 + i)).astype(np.float32) for i in range(2)]
    encoded = llm.encode([chat, chat], sounds)
    audio = encoded["input_ids"] == tokenizer.convert_tokens_to_ids("<|audio|>")
    assert (audio.sum(1) == encoded["input_features_mask"].sum(1)).all()
    assert audio.sum(1)[0] < audio.sum(1)[1]


def test_a_sound_for_voxtral_loses_nothing() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32)
    decoded, rate = soundfile.read(
        io.BytesIO(base64.b64decode(voxtral_chat("What?", sound)[0]["content"][0]["base64"])), dtype="float32"
    )
    assert rate == 16_000
    np.testing.assert_array_equal(decoded, sound)
