"""Text towers: what a student, a projection and an exported tower have in common."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_common.config import CEDConfig
from ml_clap import cli
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.evaluators.evaluate import evaluate
from ml_clap.evaluators.zero_shot import classify
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder, make_small_text_encoder
from ml_clap.models.text_tower import TextTower, make_linear_head
from ml_clap.models.tower import open_tower
from ml_clap.models.tower_folder import (
    TextTowerError,
    TowerSettings,
    check_belongs,
    find_tower,
    read_tower_settings,
)
from ml_clap.models.with_tower import with_text_tower

TEXTS = ["a dog barks", "un chien aboie", "rain on a roof", "la pluie sur un toit"]
CODES = ["eng_Latn", "fra_Latn", "eng_Latn", "fra_Latn"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MLCLAP:
    folder = tmp_path_factory.mktemp("model")
    encoder = create_small_text_encoder(folder / "text", TEXTS, vocab_size=60, dim=16, layers=1, heads=2)
    torch.manual_seed(0)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    return MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).eval()


@pytest.fixture(scope="module")
def student(model: MLCLAP) -> TextTower:
    torch.manual_seed(1)
    encoder = make_small_text_encoder(
        TEXTS, vocab_size=60, dim=8, layers=1, heads=2, languages=["eng_Latn", "fra_Latn"]
    )
    settings = TowerSettings(
        kind="student", model="m", fingerprint=model.fingerprint(), embed_dim=24, scores={"mean": 50.0}
    )
    return TextTower(settings, encoder, make_linear_head(torch.randn(24, 8), torch.randn(24))).eval()


def test_a_models_own_tower_gives_its_vectors(model: MLCLAP) -> None:
    tower = TextTower.of_model(model, "m")
    expected = model.encode_text(TEXTS, CODES).numpy()
    np.testing.assert_allclose(tower.encode(TEXTS, CODES, batch_size=3), expected, atol=1e-6)
    check_belongs(tower.settings, model.fingerprint(), "it")


def test_a_saved_tower_comes_back(student: TextTower, model: MLCLAP, tmp_path: Path) -> None:
    for number, tower in enumerate((student, TextTower.of_model(model, "m"))):
        tower.save_pretrained(tmp_path / str(number))
        again = open_tower(tmp_path / str(number))
        assert again.settings == tower.settings
        np.testing.assert_array_equal(again.encode(TEXTS, CODES), tower.encode(TEXTS, CODES))


def test_a_students_encoder_can_be_the_text_encoder_of_a_new_model(
    student: TextTower, tmp_path: Path
) -> None:
    student.save_pretrained(tmp_path)
    config = ModelConfig(
        audio=CEDConfig(embed_dim=32, depth=1, num_heads=2), text_encoder=str(tmp_path / "text_encoder")
    )
    assert MLCLAP(config).text_encoder.dim == 8


def test_a_tower_of_another_model_is_refused_in_words(student: TextTower) -> None:
    with pytest.raises(
        TextTowerError, match=r"made for the model m .* and the index has the fingerprint 0123"
    ):
        check_belongs(student.settings, "0123", "the index")


def test_what_is_no_tower_is_refused_in_words(student: TextTower, tmp_path: Path) -> None:
    with pytest.raises(TextTowerError, match=r"is no text tower \(no text_tower.json\)"):
        find_tower(tmp_path)
    student.save_pretrained(tmp_path / "best")
    assert find_tower(tmp_path) == tmp_path / "best"
    (tmp_path / "best" / "head.safetensors").unlink()
    with pytest.raises(TextTowerError, match="not saved completely"):
        open_tower(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "x"}, "does not say that it is a text tower"),
        ({"format_version": 9}, "update ml-clap"),
        ({"kind": "other"}, "kind must be one of student, projection, model, got 'other'"),
        ({"embed_dim": "24"}, "embed_dim must be a whole number"),
        ({"fingerprint": None}, "fingerprint must be a text"),
        ({"colour": 1}, "colour is not known"),
        ({"kind": "projection"}, "a projection names its encoder"),
        ({"embed_dim": 25}, "expected a map from 8 to 25 values"),
        ({"text_normalization": "odd"}, "text_normalization must be one of"),
    ],
)
def test_a_damaged_tower_is_refused_in_words(
    student: TextTower, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    student.save_pretrained(tmp_path)
    path = tmp_path / "text_tower.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TextTowerError, match=words):
        open_tower(tmp_path)


def test_settings_are_read_as_they_were_written(student: TextTower, tmp_path: Path) -> None:
    student.save_pretrained(tmp_path)
    assert read_tower_settings(tmp_path) == student.settings


def test_a_model_with_a_tower_hears_by_itself_and_reads_by_the_tower(
    model: MLCLAP, student: TextTower, tmp_path: Path
) -> None:
    student.save_pretrained(tmp_path)
    both = with_text_tower(model, tmp_path)
    waveforms = torch.randn(2, 4000)
    with torch.no_grad():
        torch.testing.assert_close(both.embed_audio(waveforms), model.embed_audio(waveforms))
    np.testing.assert_array_equal(both.embed_text(TEXTS, CODES).numpy(), student.encode(TEXTS, CODES))
    assert both.kind == f"{model.kind}, texts by a student"
    assert both.fingerprint() == model.fingerprint()
    assert with_text_tower(model, None) is model


def test_evaluate_and_classify_read_by_the_tower(
    model: MLCLAP, student: TextTower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import soundfile

    model.save_pretrained(tmp_path / "model")
    student.save_pretrained(tmp_path / "tower")
    clips = []
    for number, text in enumerate(TEXTS[::2]):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.random.default_rng(number).normal(size=8000) * 0.1, 16_000)
        clips.append(Clip(id=str(number), audio=path, captions={"eng_Latn": (text,)}, label=text))
    write_manifest(tmp_path / "clips.jsonl", clips)
    read: list[list[str]] = []
    real = TextTower.encode
    monkeypatch.setattr(
        TextTower, "encode", lambda self, texts, *a: read.append(list(texts)) or real(self, texts, *a)
    )
    base = ["--model", str(tmp_path / "model"), "--text_tower", str(tmp_path / "tower")]
    evaluate(cli.read(["evaluate", str(tmp_path / "clips.jsonl"), *base]))
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({text: {"eng_Latn": [text]} for text in TEXTS[::2]}))
    classify(cli.read(["classify", str(tmp_path / "clips.jsonl"), *base, "--prompts", str(prompts)]))
    assert {text for texts in read for text in texts} == set(TEXTS[::2])
    assert len(read) >= 2
