"""Whisper's encoder: equal to transformers', alone or in any batch, and a captioner's encoder like CED."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from aac_llm.config.model import ModelConfig, WhisperConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.encoder import token_seconds
from aac_llm.models.tensors import CheckpointError
from aac_llm.models.whisper import WhisperEncoder, count_tokens
from torch import Tensor

SIZES = {"embed_dim": 48, "depth": 2, "num_heads": 3, "mlp_dim": 96, "num_mels": 80}


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole random Whisper, as transformers saves it."""
    from transformers import WhisperConfig as TheirConfig
    from transformers import WhisperForConditionalGeneration

    config = TheirConfig(
        d_model=48, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=96, decoder_layers=1,
        decoder_attention_heads=3, decoder_ffn_dim=96, vocab_size=64, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("whisper")
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sounds() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator) * 0.1 for size in (24_000, 9_001, 1, 160, 320, 16_003)]


def encode(encoder: WhisperEncoder, waveforms: list[Tensor]) -> list[Tensor]:
    """Return the tokens of each sound, encoded in one batch."""
    lengths = [len(waveform) for waveform in waveforms]
    with torch.no_grad():
        output = encoder(torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True), lengths)
    assert not output.tokens[~output.mask].any()
    return [row[own] for row, own in zip(output.tokens, output.mask, strict=True)]


@pytest.mark.parametrize("seconds", [30.0, 2.5])
def test_tokens_are_those_of_transformers(whisper_folder: Path, seconds: float) -> None:
    from transformers import WhisperFeatureExtractor, WhisperModel

    waveform = torch.randn(round(seconds * 16_000), generator=torch.Generator().manual_seed(2)) * 0.1
    features = WhisperFeatureExtractor()(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        theirs = WhisperModel.from_pretrained(whisper_folder).eval().encoder(features.input_features)
    ours = encode(WhisperEncoder.from_pretrained(whisper_folder), [waveform])[0]
    assert len(ours) == count_tokens(len(waveform)) == round(seconds * 50)
    torch.testing.assert_close(ours, theirs.last_hidden_state[0, : len(ours)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad_seconds", [0.0, 2.0])
def test_a_sound_has_the_same_tokens_alone_and_in_any_batch(
    whisper_folder: Path, sounds: list[Tensor], pad_seconds: float
) -> None:
    encoder = WhisperEncoder.from_pretrained(whisper_folder, pad_seconds=pad_seconds)
    alone = [encode(encoder, [sound])[0] for sound in sounds]
    assert [len(tokens) for tokens in alone] == [75, 29, 1, 1, 1, 51]
    for order in ([0, 1, 2, 3, 4, 5], [5, 2, 0, 3, 1, 4]):
        for place, tokens in zip(order, encode(encoder, [sounds[place] for place in order]), strict=True):
            torch.testing.assert_close(tokens, alone[place], rtol=1e-4, atol=1e-5)


def test_what_stands_behind_a_sound_in_the_batch_is_not_heard(
    whisper_folder: Path, sounds: list[Tensor]
) -> None:
    encoder = WhisperEncoder.from_pretrained(whisper_folder, pad_seconds=0.0)
    batch = torch.stack([sounds[0], sounds[0]])
    batch[1, 9_000:] = 1.0
    with torch.no_grad():
        output = encoder(batch, [9_000, 9_000])
    assert torch.equal(output.tokens[0], output.tokens[1])


def test_what_is_heard_does_not_depend_on_the_number_format(
    whisper_folder: Path, sounds: list[Tensor]
) -> None:
    encoder = WhisperEncoder.from_pretrained(whisper_folder, pad_seconds=0.0)
    before = encoder.log_mel(sounds[0])
    tokens = encode(encoder, [sounds[0]])[0]
    encoder.to(torch.bfloat16)
    assert torch.equal(encoder.log_mel(sounds[0]), before)
    torch.testing.assert_close(encode(encoder, [sounds[0]])[0].float(), tokens, rtol=0.1, atol=0.1)


def test_a_sound_of_more_than_a_window_is_cut_into_windows(whisper_folder: Path) -> None:
    waveform = torch.randn(33 * 16_000, generator=torch.Generator().manual_seed(3)) * 0.1
    encoder = WhisperEncoder.from_pretrained(whisper_folder, pad_seconds=0.0)
    whole, first, rest = encode(encoder, [waveform, waveform[: 30 * 16_000], waveform[30 * 16_000 :]])
    assert len(whole) == count_tokens(len(waveform)) == 1650
    torch.testing.assert_close(whole, torch.cat([first, rest]), rtol=1e-4, atol=1e-5)


def test_what_is_saved_is_what_transformers_reads(whisper_folder: Path, tmp_path: Path) -> None:
    encoder = WhisperEncoder.from_pretrained(whisper_folder, pad_seconds=1.0)
    encoder.save_pretrained(tmp_path)
    again = WhisperEncoder.from_pretrained(tmp_path, pad_seconds=1.0)
    assert again.config == encoder.config
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.state_dict().values(), encoder.state_dict().values(), strict=True)
    )
    from safetensors.torch import load_file

    theirs = {k: v for k, v in load_file(whisper_folder / "model.safetensors").items() if ".encoder." in k}
    ours = load_file(tmp_path / "model.safetensors")
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "expected model_type whisper"),
        ({"max_source_positions": 3000}, "max_source_positions 1500"),
        ({"encoder_layers": 3}, "blocks.2.attn.q.weight"),
        ({"encoder_layers": 10**9}, "encoder_layers"),
        ({"d_model": "48"}, "d_model|not a Whisper"),
        ({"num_mel_bins": 128}, "conv1.weight"),
    ],
)
def test_what_is_no_whisper_is_refused_by_what_is_wrong(
    whisper_folder: Path, tmp_path: Path, change: dict, message: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes((whisper_folder / "model.safetensors").read_bytes())
    settings = json.loads((whisper_folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=message):
        WhisperEncoder.from_pretrained(tmp_path)


def test_a_folder_without_weights_or_config_is_refused(whisper_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        WhisperEncoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((whisper_folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match="no safetensors with an encoder"):
        WhisperEncoder.from_pretrained(tmp_path)


# As a captioner's encoder


@pytest.fixture(scope="module")
def config(tiny_config: ModelConfig, whisper_folder: Path) -> ModelConfig:
    return replace(
        tiny_config,
        encoder_kind="whisper",
        encoder_weights=str(whisper_folder),
        whisper=WhisperConfig(pad_seconds=0.0),
    )


@pytest.mark.parametrize("strategy", ["frozen", "lora", "full"])
def test_a_captioner_with_whisper_learns_what_the_strategy_says_and_is_loaded_as_saved(
    config: ModelConfig, sounds: list[Tensor], strategy: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = CaptionModel.from_config(replace(config, encoder_strategy=strategy)).train()
    assert model.config.whisper == WhisperConfig(**SIZES, pad_seconds=0.0)  # of the weights
    batch = torch.stack([sounds[0], sounds[0].flip(0)])
    model(batch, [24_000, 9_000], model.tokenize_captions(["a dog barks", "rain is falling"])).loss.backward()
    for name, parameter in model.encoder.named_parameters():
        learns = strategy == "full" or (strategy == "lora" and ".lora_" in name)
        assert parameter.requires_grad == learns, name
        assert (parameter.grad is not None) == learns, name
    torch.optim.SGD(model.trainable_parameters(), lr=0.1).step()
    model.eval().save_pretrained(tmp_path / "model")
    again = CaptionModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        ours, theirs = (m.encode_audio(batch, [24_000, 9_000]) for m in (model, again))
    torch.testing.assert_close(theirs.embeddings, ours.embeddings)
    assert ours.counts() == [model.token_budget(1.5), model.token_budget(9_000 / 16_000)]


def test_a_merged_captioner_with_whisper_computes_the_same(
    config: ModelConfig, sounds: list[Tensor], tmp_path: Path
) -> None:
    model = CaptionModel.from_config(config)
    for name, parameter in model.encoder.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_merged(tmp_path)
    merged = CaptionModel.from_pretrained(tmp_path)
    with torch.no_grad():
        ours, theirs = (m.encode_audio(sounds[0][None]).embeddings for m in (model, merged))
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_recomputed_activations_give_the_same_gradients(config: ModelConfig, sounds: list[Tensor]) -> None:
    torch.manual_seed(0)
    model = CaptionModel.from_config(replace(config, encoder_strategy="full"))
    labels = model.tokenize_captions(["a dog barks"])
    found = []
    for enable in (False, True):
        model.zero_grad()
        model.encoder.gradient_checkpointing_enable(enable)
        model(sounds[0][None], labels=labels).loss.backward()
        found.append(model.encoder.blocks[0].attn.q.weight.grad.clone())
    torch.testing.assert_close(*found)


def test_settings_that_do_not_go_with_the_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match=r"whisper\.\* goes with encoder_kind whisper"):
        ModelConfig(whisper=WhisperConfig(depth=2))
    with pytest.raises(ValueError, match=r"whisper\.pad_seconds must be in \[0, 30\], got 31"):
        WhisperConfig(pad_seconds=31)
    with pytest.raises(ValueError, match=r"whisper\.embed_dim must be even and divide by num_heads"):
        WhisperConfig(embed_dim=50)


def test_a_captioner_with_ced_says_nothing_of_whisper(tiny_model_folder: Path) -> None:
    assert (
        not {"whisper", "encoder_kind"} & json.loads((tiny_model_folder / "config.json").read_text()).keys()
    )


def test_windows_begin_where_their_encoder_s_tokens_do(config: ModelConfig, tiny_config: ModelConfig) -> None:
    for settings, rate in ((config, 50), (tiny_config, 25)):
        assert token_seconds(settings) == pytest.approx(1 / rate)
        model = CaptionModel.from_config(settings)
        assert model.markers.window_seconds == pytest.approx(17 / rate)
