"""What a source is, and that each kind loads by its real names; weights are synthetic."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from audio_common.config import CEDConfig
from audio_common.mel import mel_filterbank
from ml_clap.config.model import ModelConfig
from ml_clap.data.languages import SONAR_LANGUAGES
from ml_clap.models.loading import check_model, kind_of, load_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.published import MLCLAP_FILES, SONAR_TOKENIZER
from ml_clap.models.sonar import to_fairseq2_layout
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.models.text_source import read_text_source
from safetensors.torch import load_file

Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def clap(write_clap: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clap(tmp_path_factory.mktemp("clap"))


def test_a_clap_loads_and_its_licence_is_logged(clap: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ml_clap"):
        model = load_model(clap, device="cpu")
    assert model.kind == "CLAP of transformers"
    assert f"{clap} (CLAP of transformers): licence of the weights: unknown" in caplog.text


def test_a_folder_is_known_by_the_authors_file_names(tmp_path: Path) -> None:
    patches = {"audio_encoder.model.patch_embed.proj.weight": torch.zeros(2, 1, 64, 4)}
    (tmp_path / "glap").mkdir()
    torch.save({"model": patches}, tmp_path / "glap" / "glap_checkpoint.pt")
    assert kind_of(tmp_path / "glap") == "glap"
    (tmp_path / "both").mkdir()
    for name in ("pretrain.pt", "clotho_finetune_le_mixture.pt"):
        torch.save({"temperature": torch.zeros(1)}, tmp_path / "both" / name)
    assert kind_of(tmp_path / "both" / "pretrain.pt") == "ml-clap"
    with pytest.raises(ValueError, match=r"holds several models \(pretrain.pt, clotho_finetune"):
        check_model(tmp_path / "both")


def test_a_name_of_the_authors_that_is_missing_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"zenodo\.org/records/15493136/files/glap_checkpoint\.pt"):
        load_model(tmp_path / "glap_checkpoint.pt", device="cpu")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is not a model folder of ml-clap"),
        ({"config.json": '{"model_type": "bert"}'}, "'bert' of transformers, which has no space for sounds"),
        ({"config.json": '{"format": "ml-clap", "format_version": 99}'}, "update ml-clap"),
    ],
)
def test_what_is_no_model_is_refused_before_its_weights(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        check_model(tmp_path)


def test_the_mode_is_of_ml_clap_alone(clap: Path) -> None:
    with pytest.raises(ValueError, match="mode is of ML-CLAP alone"):
        load_model(clap, device="cpu", mode="reference")


def test_a_repository_of_the_hub_is_told_by_its_small_files(
    clap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def fetch(source: str, patterns: Any) -> Path:
        asked.append(tuple(patterns))
        return clap

    monkeypatch.setattr("ml_clap.models.text_source.fetch", fetch)
    assert load_model("laion/clap-htsat-unfused@main", device="cpu").kind == "CLAP of transformers"
    assert asked[0] == ("config.json", "modules.json")
    assert "preprocessor_config.json" in asked[1]


# The authors' files, synthetic, under their real names and keys


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sonar")
    # Heads of 64, as every published model has: no tensor tells their number.
    return create_small_text_encoder(
        folder,
        ["A dog barks.", "Un chien aboie."],
        vocab_size=60,
        dim=64,
        layers=1,
        heads=1,
        languages=SONAR_LANGUAGES,
    )


@pytest.fixture(scope="module")
def model(text_folder: Path) -> MLCLAP:
    torch.manual_seed(0)
    config = ModelConfig(
        audio=CEDConfig(embed_dim=64, depth=1, num_heads=1),
        text_encoder=str(text_folder),
        text_normalization="reference",
        embed_dim=32,
        temperature_parameter="raw",
    )
    return MLCLAP(config).eval()


def published_state(model: MLCLAP) -> dict[str, torch.Tensor]:
    """Return a model's weights as the authors write them."""
    audio = model.audio_encoder.state_dict()
    for name in [name for name in audio if ".attn.q." in name]:
        parts = [audio.pop(name.replace(".q.", f".{letter}.")) for letter in "qkv"]
        audio[name.replace(".q.", ".qkv.")] = torch.cat(parts)
    audio = {name.replace("init_bn.", "init_bn.1."): each for name, each in audio.items()} | {
        "front_end.0.spectrogram.window": torch.hann_window(512),
        "front_end.0.mel_scale.fb": mel_filterbank(),
    }
    text = to_fairseq2_layout(model.text_encoder.export_state())
    return (
        {f"audio_encoder.model.{name}": each for name, each in audio.items()}
        | {f"text_encoder.model.{name}": each for name, each in text.items()}
        | {
            name: each
            for name, each in model.state_dict().items()
            if name.startswith(("audio_proj.", "text_proj."))
        }
        | {"temperature": model.raw_temperature.detach()}
    )


@pytest.mark.parametrize("name", MLCLAP_FILES)
def test_each_checkpoint_of_the_authors_loads_by_its_folder(
    model: MLCLAP, text_folder: Path, tmp_path: Path, name: str
) -> None:
    torch.save(published_state(model), tmp_path / name)
    shutil.copy(text_folder / "sentencepiece.bpe.model", tmp_path / SONAR_TOKENIZER)
    loaded = load_model(tmp_path, device="cpu")
    assert loaded.kind == "ML-CLAP, masked"
    waveform = torch.sin(torch.arange(20_000) / 9)[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.embed_audio(waveform), model.embed_audio(waveform))
        texts = ["A dog barks.", "Un chien aboie."]
        languages = ["eng_Latn", "fra_Latn"]
        torch.testing.assert_close(loaded.embed_text(texts, languages), model.embed_text(texts, languages))
    assert loaded.licence.endswith("text CC-BY-NC-4.0 (SONAR's text encoder)")


@pytest.mark.parametrize("by", ["folder", "file", "address"])
def test_sonars_own_file_loads(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    state = load_file(text_folder / "model.safetensors")
    torch.save({"model": to_fairseq2_layout(state), "fs2": True}, tmp_path / "sonar_text_encoder.pt")
    shutil.copy(text_folder / "sentencepiece.bpe.model", tmp_path / SONAR_TOKENIZER)
    monkeypatch.setattr(
        "ml_clap.models.text_source.download", lambda url, folder=None: tmp_path / url.rsplit("/", 1)[-1]
    )
    source = {
        "folder": tmp_path,
        "file": tmp_path / "sonar_text_encoder.pt",
        "address": "https://dl.fbaipublicfiles.com/SONAR/sonar_text_encoder.pt",
    }[by]
    found = read_text_source(source, max_tokens=64)
    assert found.state is not None
    assert found.config.d_model == 64
    for name, tensor in state.items():
        torch.testing.assert_close(found.state[name], tensor)


def test_the_licence_is_that_of_the_parts(model: MLCLAP) -> None:
    assert model.licence == (
        f"audio unknown (begun from random or unnamed weights); text unknown ({model.config.text_encoder})"
    )
