"""`--dtype int8`: the sound encoder in 8 bits, in the same space as the model that it is made of."""

from pathlib import Path

import pytest
import torch
from audio_common.config import CEDConfig
from audio_common.scenes import random_scene, render
from ml_clap.config.model import ModelConfig
from ml_clap.models import device
from ml_clap.models.dasheng import Dasheng, DashengConfig
from ml_clap.models.device import choose_dtype, encoder_dtype_of
from ml_clap.models.loading import load_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.store import AudioIndexError, read_settings
from ml_clap.search.updating import update_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("int8")
    texts = ["a dog barks", "un chien aboie"]
    encoder = create_small_text_encoder(made / "text", texts, vocab_size=40, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=64, depth=3, num_heads=2)
    torch.manual_seed(0)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=32)).save_pretrained(made / "model")
    return made / "model"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import soundfile

    made = tmp_path_factory.mktemp("archive")
    for seed in range(4):
        soundfile.write(made / f"{seed}.wav", render(random_scene(seed, seconds=3.0)), 16_000)
    return made


def test_sounds_in_int8_lie_beside_those_of_float32_and_texts_are_the_same(folder: Path, archive) -> None:
    model, rounded = load_model(folder, device="cpu"), load_model(folder, device="cpu", dtype="int8")
    assert (encoder_dtype_of(model), encoder_dtype_of(rounded)) == ("float32", "int8")
    paths = sorted(archive.iterdir())
    ours, theirs = rounded.encode_audio(paths), model.encode_audio(paths)
    assert torch.cosine_similarity(ours, theirs).min() > 0.999
    assert not torch.equal(ours, theirs)
    assert torch.equal(rounded.encode_text("a dog barks"), model.encode_text("a dog barks"))
    assert rounded.fingerprint() == model.fingerprint()


def test_an_index_in_int8_is_searched_with_the_model_and_never_mixed(folder: Path, archive, tmp_path) -> None:
    model, rounded = load_model(folder, device="cpu"), load_model(folder, device="cpu", dtype="int8")
    update_index(rounded, archive, tmp_path / "index", model_name=str(folder))
    assert read_settings(tmp_path / "index").encoder_dtype == "int8"
    result = AudioIndex.open(tmp_path / "index").search(model, text="a dog barks", top_k=4)
    update_index(model, archive, tmp_path / "float", model_name=str(folder))
    expected = AudioIndex.open(tmp_path / "float").search(model, text="a dog barks", top_k=4)
    found = {hit.id: hit.score for hit in result}
    assert found == pytest.approx({hit.id: hit.score for hit in expected}, abs=0.02)
    with pytest.raises(
        AudioIndexError, match="made with encoder_dtype int8, and now encoder_dtype is float32"
    ):
        update_index(model, archive, tmp_path / "index", model_name=str(folder))


def test_an_index_of_before_is_one_of_float32(folder: Path, archive, tmp_path) -> None:
    model = load_model(folder, device="cpu")
    update_index(model, archive, tmp_path / "index", model_name=str(folder))
    settings = tmp_path / "index" / "index.json"
    content = settings.read_text(encoding="utf-8")
    assert '"encoder_dtype"' in content
    lines = [line for line in content.splitlines() if '"encoder_dtype"' not in line]
    if len(lines) > 1:
        settings.write_text("\n".join(lines), encoding="utf-8")
    else:
        settings.write_text(content.replace('"encoder_dtype": "float32", ', ""), encoding="utf-8")
    assert read_settings(tmp_path / "index").encoder_dtype == "float32"


def test_dasheng_in_int8_gives_the_same_embeddings() -> None:
    torch.manual_seed(0)
    encoder = Dasheng(DashengConfig(embed_dim=64, depth=2, num_heads=2)).eval()
    sounds = torch.randn(2, 24_000) * 0.1
    with torch.inference_mode():
        before = encoder(sounds, [24_000, 9_000])
        encoder.set_precision("int8")
        after = encoder(sounds, [24_000, 9_000])
    assert torch.cosine_similarity(before, after).min() > 0.999
    assert not torch.equal(before, after)


def test_other_kinds_of_models_have_no_int8(write_clap, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"int8 is for CED and Dasheng, and .* is clap: use float32"):
        load_model(write_clap(tmp_path / "clap"), device="cpu", dtype="int8")


@pytest.mark.parametrize(("faster", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_the_device_multiplies_it_faster(monkeypatch, faster, expected) -> None:
    monkeypatch.setattr(device, "is_bf16_faster", lambda device: faster)
    assert choose_dtype("auto", "cpu") == expected
    assert choose_dtype("int8", "cpu") == choose_dtype("float32", "cpu") == torch.float32
