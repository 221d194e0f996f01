"""`ml-clap similarity`: sounds and texts compared with one another."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from ml_clap import MLCLAP, Retriever
from ml_clap.config.model import ModelConfig
from ml_clap.config.similarity import SimilarityConfig
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.similarity import similarity, similarity_verb, tell_apart


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `model`, the sounds `a.wav` and `b.wav`."""
    folder = tmp_path_factory.mktemp("similarity")
    texts = ["a dog barks", "un chien aboie"]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=50, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(
        folder / "model"
    )
    for number, name in enumerate("ab"):
        tone = 0.3 * np.sin(np.arange(16_000) * (number + 1) / 30)
        soundfile.write(folder / f"{name}.wav", tone, 16_000)
    return folder


def config(folder: Path, *inputs: str, **settings: object) -> SimilarityConfig:
    return SimilarityConfig(inputs=inputs, model=str(folder / "model"), device="cpu", **settings)  # type: ignore[arg-type]


def test_sounds_and_texts_are_compared_with_one_another(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, out = [str(folder / "a.wav"), str(folder / "b.wav")], tmp_path / "out.json"
    assert similarity_verb(config(folder, *paths, "un chien aboie", lang="fr", json=out)) == 0
    record = json.loads(out.read_text())
    assert [item["kind"] for item in record["items"]] == ["audio", "audio", "text"]
    retriever = Retriever.from_pretrained(folder / "model", device="cpu")
    rows = np.concatenate([retriever.encode_audio(paths), retriever.encode_text(["un chien aboie"], "fr")])
    np.testing.assert_allclose(record["similarity"], rows @ rows.T, atol=1e-5)
    printed = capsys.readouterr().out
    assert "1.000" in printed
    assert "3 un chien aboie" in printed


def test_a_bad_sound_and_a_cut_text_are_told_in_output_and_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    report = similarity(config(folder, str(folder / "a.wav"), str(bad), "dog " * 300))
    assert len(report.items) == len(report.similarity) == 2
    assert "bad.wav" in report.bad_files[0]
    assert report.notices[0].startswith("1 text is cut to the model's 128 tokens: ")
    assert report.notices[0] in caplog.text
    assert "1 sound skipped:" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"nothing is left to compare: .*bad\.wav"):
        similarity(config(folder, str(bad), "a dog"))


def test_words_are_told_apart(folder: Path) -> None:
    assert tell_apart(str(folder / "a.wav")).kind == "audio"
    assert tell_apart("a dog barks").kind == "text"
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere\.wav"):
        tell_apart("nowhere.wav")
    with pytest.raises(ValueError, match="is a folder: name its sound files"):
        tell_apart(str(folder))
    with pytest.raises(ValueError, match="two or more sound files or texts"):
        config(folder, "a dog")
