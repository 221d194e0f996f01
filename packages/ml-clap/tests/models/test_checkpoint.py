import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_common.ced import CED
from audio_common.config import CEDConfig
from hub_kit import page_faults
from ml_clap.config.model import ModelConfig
from ml_clap.data.languages import SONAR_LANGUAGES
from ml_clap.models.checkpoint import check_fit, convert_published, published_config, read_published
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.sonar import m2m100_config, sonar_config, to_fairseq2_layout
from ml_clap.models.text_encoder import TransformersTextEncoder, create_small_text_encoder
from ml_clap.models.tokenizer import SonarTokenizer
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent.parent / "golden"
needs_sonar = pytest.mark.skipif(
    importlib.util.find_spec("sonar") is None,
    reason="needs the extra `sonar`",
)
TEXTS = ["A dog barks twice.", "Un chien aboie.", "犬が吠える。"]
TEXT_LANGUAGES = ["eng_Latn", "fra_Latn", "jpn_Jpan"]


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SONAR as wide as the golden text head expects, with all languages."""
    made = tmp_path_factory.mktemp("text")
    return create_small_text_encoder(
        made, TEXTS, vocab_size=80, dim=96, layers=2, heads=6, languages=SONAR_LANGUAGES
    )


@pytest.fixture
def model(text_folder: Path) -> MLCLAP:
    audio = CEDConfig(embed_dim=48, depth=2, num_heads=3, num_classes=10)
    config = ModelConfig(audio=audio, text_encoder=str(text_folder), embed_dim=64, text_prefix="query: ")
    return MLCLAP(config).eval()


def embed(model: MLCLAP) -> Tensor:
    waveforms = torch.sin(torch.arange(32_000) / 7).view(2, 16_000)
    with torch.inference_mode():
        return torch.cat([model.embed_audio(waveforms), model.embed_text(TEXTS, TEXT_LANGUAGES)])


# The authors' checkpoints


@pytest.fixture(scope="module")
def published(text_folder: Path) -> dict[str, Tensor]:
    """A small checkpoint under the authors' names: the golden weights and a SONAR."""
    with np.load(GOLDEN / "model_weights.npz") as stored:
        weights = {name: torch.from_numpy(stored[name]) for name in stored.files}
    text = to_fairseq2_layout(load_file(text_folder / "model.safetensors"))
    return weights | {f"text_encoder.model.{name}": each for name, each in text.items()}


def load_small(path: Path, **options: Any) -> MLCLAP:
    return MLCLAP.from_saved(read_published(path, head_width=16, **options)).eval()


@pytest.mark.parametrize("nested", [False, True])
def test_a_published_checkpoint_gives_the_references_embeddings(
    published: dict[str, Tensor], text_folder: Path, tmp_path: Path, nested: bool
) -> None:
    path = tmp_path / "pretrain.pt"
    torch.save({"model": published} if nested else published, path)
    model = load_small(path, mode="reference", text_tokenizer=text_folder)
    with np.load(GOLDEN / "model_clips.npz") as stored, torch.inference_mode():
        found = model.embed_audio(torch.from_numpy(stored["pcm.5s"])[None] / 32768)
        expected = torch.from_numpy(stored["5s.audio_embed"])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    assert model.temperature.item() == pytest.approx(0.07)
    assert model.config.audio.mode == "reference"
    assert (model.config.text_normalization, model.config.temperature_parameter) == ("reference", "raw")


@needs_sonar
def test_the_published_text_tower_gives_what_the_authors_encoder_gives(
    published: dict[str, Tensor], text_folder: Path, tmp_path: Path
) -> None:
    from ml_clap.models.sonar import SonarTextEncoder

    torch.save(published, tmp_path / "pretrain.pt")
    model = load_small(tmp_path / "pretrain.pt", text_tokenizer=text_folder)
    theirs = SonarTextEncoder(model.text_encoder.config, model.text_encoder.tokenizer).eval()  # type: ignore[arg-type]
    prefix = "text_encoder.model."
    text = {name.removeprefix(prefix): each for name, each in published.items() if name.startswith(prefix)}
    theirs.encoder.load_state_dict(text, strict=True)
    tokens = model.tokenize(TEXTS, TEXT_LANGUAGES)
    with torch.inference_mode():
        torch.testing.assert_close(model.text_encoder(*tokens), theirs(*tokens), atol=1e-5, rtol=0)


def test_masked_is_the_default_mode_of_a_published_checkpoint(
    published: dict[str, Tensor], text_folder: Path, tmp_path: Path
) -> None:
    torch.save(published, tmp_path / "pretrain.pt")
    (tmp_path / "sentencepiece.source.256000.model").write_bytes(
        (text_folder / "sentencepiece.bpe.model").read_bytes()
    )
    model = load_small(tmp_path / "pretrain.pt")  # finds the tokenizer beside the checkpoint
    assert model.config.audio.mode == "masked"
    assert model.text_encoder.tokenizer.fingerprint() == (
        SonarTokenizer(text_folder / "sentencepiece.bpe.model").fingerprint()
    )


def test_a_published_checkpoint_without_its_tokenizer_says_what_to_give(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(published, tmp_path / "pretrain.pt")
    with pytest.raises(
        ValueError, match=r"pretrain\.pt.*text_tokenizer.*sentencepiece\.source\.256000\.model"
    ):
        MLCLAP.from_pretrained(tmp_path / "pretrain.pt")
    with pytest.raises(ValueError, match="no file or folder"):
        MLCLAP.from_pretrained(tmp_path / "pretrain.pt", text_tokenizer=tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "name",
    [
        "audio_proj.2.bias",
        "text_encoder.model.encoder.layers.1.ffn.inner_proj.bias",
        "audio_encoder.model.blocks.1.mlp.fc1.weight",
    ],
)
def test_every_published_name_is_accounted_for(
    published: dict[str, Tensor], text_folder: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "pretrain.pt"
    last = ".".join(name.split(".")[-2:]).replace("inner_proj", "fc1")
    torch.save({key: each for key, each in published.items() if key != name}, path)
    with pytest.raises(ValueError, match=f"missing: .*{re.escape(last)}"):
        load_small(path, text_tokenizer=text_folder)
    torch.save(published | {"audio_proj.9.bias": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"unexpected: audio_proj\.9\.bias"):
        load_small(path, text_tokenizer=text_folder)
    torch.save(published | {name: torch.zeros(3, 3)}, path)
    with pytest.raises(ValueError, match=rf"{re.escape(last)}: expected .*, got \(3, 3\)"):
        load_small(path, text_tokenizer=text_folder)


def test_another_pt_file_is_refused(text_folder: Path, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"not a checkpoint of ML-CLAP.*layer\.weight"):
        MLCLAP.from_pretrained(tmp_path / "other.pt", text_tokenizer=text_folder)


class _NoTokenizer:
    """Stands where a model without memory needs no tokenizer."""

    max_tokens = 128


def test_the_full_size_names_and_shapes_are_exactly_the_models(shared: Path) -> None:
    listed = json.loads((shared / "golden" / "mlclap" / "keys.json").read_text())
    with np.load(GOLDEN / "model_weights.npz") as stored:  # values matter in the front end's tables only
        tables = {name: torch.from_numpy(stored[name]) for name in stored.files if ".front_end." in name}
    keys = [*listed["without_text_encoder"], *listed["text_encoder"]["keys"]]
    full = {name: tables.get(name, torch.empty(shape, device="meta")) for name, shape, _ in keys}

    state = convert_published(full)
    config = published_config(state)
    text = {
        name.removeprefix("text_encoder."): each
        for name, each in state.items()
        if name.startswith("text_encoder.")
    }
    with torch.device("meta"):
        encoder = TransformersTextEncoder(sonar_config(text), _NoTokenizer())  # type: ignore[arg-type]
        model = MLCLAP(config, audio_encoder=CED(config.audio), text_encoder=encoder)
    check_fit(model.export_state(), state)
    assert config.audio == CEDConfig()
    assert sum(each.numel() for each in encoder.parameters()) == listed["text_encoder"]["parameters"]
    rest = sum(each.numel() for each in model.parameters()) - listed["text_encoder"]["parameters"]
    assert rest == listed["parameters_without_text_encoder"]


# Model folders


def test_a_saved_model_loads_bit_for_bit_and_without_its_sources(
    model: MLCLAP, text_folder: Path, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "model")
    other = MLCLAP.from_pretrained(tmp_path / "model")
    assert torch.equal(embed(other), embed(model))
    assert other.fingerprint() == model.fingerprint()
    assert not other.training
    assert other.config == replace(model.config, text_encoder=text_folder.name)  # no path of this machine
    other.save_pretrained(tmp_path / "again")
    names = ("model.safetensors", "config.json", "text_encoder/sentencepiece.bpe.model")
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_loading_a_model_draws_no_random_numbers_and_keeps_its_buffers(model: MLCLAP, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    before = torch.get_rng_state()
    other = MLCLAP.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    theirs, ours = dict(other.named_buffers()), dict(model.named_buffers())
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert [name for name, each in other.named_parameters() if each.is_meta] == []


def test_a_model_can_be_saved_over_the_folder_it_was_loaded_from(model: MLCLAP, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    other = MLCLAP.from_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    assert MLCLAP.from_pretrained(tmp_path).fingerprint() == other.fingerprint() == model.fingerprint()


def test_a_model_with_another_text_encoder_is_complete_in_its_folder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks", "chien"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    audio = CEDConfig(embed_dim=16, depth=1, num_heads=2, num_classes=2)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(tmp_path / "bert"), embed_dim=8)).eval()
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "bert").rename(tmp_path / "away")
    other = MLCLAP.from_pretrained(tmp_path / "model")
    assert torch.equal(embed(other), embed(model))
    assert other.fingerprint() == model.fingerprint()


def test_a_model_of_the_sonar_backend_loads_without_the_extra(
    model: MLCLAP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model.config = replace(model.config, text_backend="sonar")
    model.save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "fairseq2", None)
    with caplog.at_level("INFO", logger="ml_clap"):
        other = MLCLAP.from_pretrained(tmp_path)
    assert "the extra `sonar`, is not installed" in caplog.text
    assert other.config.text_backend == "transformers"
    assert torch.equal(embed(other), embed(model))


@needs_sonar
def test_a_model_of_the_sonar_backend_loads_in_it(model: MLCLAP, tmp_path: Path) -> None:
    expected = embed(model)
    model.config = replace(model.config, text_backend="sonar")
    model.save_pretrained(tmp_path)
    before = torch.get_rng_state()
    other = MLCLAP.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(other.text_encoder).__name__ == "SonarTextEncoder"
    torch.testing.assert_close(embed(other), expected, atol=1e-5, rtol=0)


def test_a_mode_can_be_chosen_on_loading(model: MLCLAP, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    other = MLCLAP.from_pretrained(tmp_path, mode="reference")
    assert other.audio_encoder.config.mode == "reference"
    assert other.config.text_normalization == "reference"
    assert MLCLAP.from_pretrained(tmp_path, mode="masked").config.text_normalization == "standard"


def test_frozen_encoders_with_a_source_can_be_left_out(
    model: MLCLAP, text_folder: Path, tmp_path: Path
) -> None:
    model.audio_encoder.save_pretrained(tmp_path / "ced")
    config = replace(model.config, audio_weights=str(tmp_path / "ced"), freeze_audio=True, freeze_text=True)
    frozen = MLCLAP(config).eval()
    frozen.save_pretrained(tmp_path / "small", save_frozen=False)
    stored = load_file(tmp_path / "small" / "model.safetensors")
    assert {name.split(".")[0] for name in stored} == {"audio_proj", "text_proj", "log_temperature"}
    other = MLCLAP.from_pretrained(tmp_path / "small")
    assert torch.equal(embed(other), embed(frozen))
    assert other.fingerprint() == frozen.fingerprint()


def test_an_encoder_that_was_trained_is_never_left_out(model: MLCLAP, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, save_frozen=False)
    assert torch.equal(embed(MLCLAP.from_pretrained(tmp_path)), embed(model))


def test_raw_temperature_and_labels_survive_saving(text_folder: Path, tmp_path: Path) -> None:
    audio = CEDConfig(embed_dim=16, depth=1, num_heads=2, num_classes=2, labels=("dog", "chien"))
    config = ModelConfig(
        audio=audio, text_encoder=str(text_folder), embed_dim=8, temperature_parameter="raw", temperature=0.3
    )
    MLCLAP(config).save_pretrained(tmp_path)
    other = MLCLAP.from_pretrained(tmp_path)
    assert other.temperature.item() == pytest.approx(0.3)
    assert other.config.audio == audio


def test_folders_and_names_that_are_no_model_are_refused(model: MLCLAP, tmp_path: Path) -> None:
    for source in (tmp_path / "nothing", "nothing", tmp_path / "a" / "b"):
        with pytest.raises(ValueError, match="does not exist: expected a folder of"):
            MLCLAP.from_pretrained(source)
    with pytest.raises(ValueError, match="not a model folder of ml-clap"):
        MLCLAP.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(description | {"format_version": 2}))
    with pytest.raises(ValueError, match="update ml-clap"):
        MLCLAP.from_pretrained(tmp_path)


def test_a_damaged_folder_names_what_is_missing(model: MLCLAP, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["text_proj.0.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: text_proj\.0\.bias"):
        MLCLAP.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        MLCLAP.from_pretrained(tmp_path)


def test_a_model_that_nobody_trained_here_has_a_card_and_keeps_it(model: MLCLAP, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "one")
    assert page_faults(tmp_path / "one") == []
    card = tmp_path / "one" / "README.md"
    card.write_text(card.read_text().replace("# Sounds and texts", "# My sounds and texts"))
    MLCLAP.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    assert (tmp_path / "two" / "README.md").read_text() == card.read_text()


def test_small_sizes_of_sonar_are_told_from_the_weights() -> None:
    config = m2m100_config(vocab_size=50, dim=32, layers=3, heads=2, ffn_dim=40)
    state = TransformersTextEncoder(config, _NoTokenizer()).export_state()  # type: ignore[arg-type]
    found = sonar_config(state, head_width=16)
    assert found.to_dict() == config.to_dict()
