"""The model from Python: paths, waveforms and texts, one or many; an index and its search."""

import copy
import subprocess
import sys
from pathlib import Path

import ml_clap
import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import load_audio
from audio_common.config import CEDConfig
from ml_clap import MLCLAP, AudioError, AudioIndex, AudioIndexError, Retriever
from ml_clap.config.model import ModelConfig
from ml_clap.models.text_encoder import create_small_text_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `run/best`, three sounds in `sounds`."""
    folder = tmp_path_factory.mktemp("retriever")
    texts = ["a dog barks", "un chien aboie", "rain on a roof"]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=60, dim=16, layers=1, heads=2)
    config = ModelConfig(
        audio=CEDConfig(embed_dim=32, depth=1, num_heads=2), text_encoder=str(encoder), embed_dim=24
    )
    MLCLAP(config).save_pretrained(folder / "run" / "best")
    (folder / "sounds").mkdir()
    for number in range(3):
        tone = 0.3 * np.sin(np.arange(16_000 * (number + 1)) * (number + 1) / 30)
        soundfile.write(folder / "sounds" / f"{number}.wav", tone, 16_000)
    return folder


@pytest.fixture(scope="module")
def retriever(folder: Path) -> Retriever:
    return Retriever.from_pretrained(folder / "run", device="cpu")


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[Path]:
    return sorted((folder / "sounds").iterdir())


def test_files_and_waveforms_mix_and_keep_their_order(retriever: Retriever, paths: list[Path]) -> None:
    found = retriever.encode_audio(
        [paths[2], load_audio(paths[0]), str(paths[1]), load_audio(paths[2]).numpy()]
    )
    with torch.inference_mode():
        each = [retriever.model.embed_audio(load_audio(path)[None])[0].numpy() for path in paths]
    np.testing.assert_allclose(found, np.stack([each[2], each[0], each[1], each[2]]), atol=1e-5)
    assert found.dtype == np.float32


def test_one_item_needs_no_list(retriever: Retriever, paths: list[Path]) -> None:
    assert retriever.encode_text("a dog barks").shape == (1, 24)
    assert retriever.model.encode_text("a dog barks").shape == (1, 24)
    for audio in (paths[0], str(paths[0]), load_audio(paths[0]), load_audio(paths[0]).numpy()):
        assert retriever.encode_audio(audio).shape == (1, 24)
    assert retriever.similarity("a dog barks", paths[0]).shape == (1, 1)


def test_similarities_are_cosines_of_texts_in_their_languages(
    retriever: Retriever, paths: list[Path]
) -> None:
    found = retriever.similarity(["a dog barks", "un chien aboie"], paths, lang=["en", "fra_Latn"])
    with torch.inference_mode():
        texts = retriever.model.embed_text(["a dog barks", "un chien aboie"], ["eng_Latn", "fra_Latn"])
    np.testing.assert_allclose(found, texts.numpy() @ retriever.encode_audio(paths).T, atol=1e-5)
    with pytest.raises(ValueError, match="unknown language"):
        retriever.encode_text("a dog barks", lang="martian")


def test_an_index_is_made_and_searched(
    retriever: Retriever, folder: Path, paths: list[Path], tmp_path: Path
) -> None:
    report = retriever.index(folder / "sounds", tmp_path / "index")
    assert report.num_clips == 3
    by_text, by_sound = retriever.search(tmp_path / "index", "a dog barks", audio=paths[1], top_k=2)
    assert (by_text.query.text, len(by_text.hits)) == ("a dog barks", 2)
    assert by_sound.hits[0].file == paths[1]
    assert by_sound.hits[0].score == pytest.approx(1.0, abs=1e-5)
    opened = AudioIndex.open(tmp_path / "index")
    assert opened.settings.model == str(folder / "run" / "best")  # found again from any folder
    again = retriever.search(opened, ["a dog barks"], top_k=2)[0].hits
    assert [hit.id for hit in again] == [hit.id for hit in by_text.hits]
    assert retriever.search(opened) == []


def test_what_cannot_be_used_is_an_error_of_the_package(
    retriever: Retriever, folder: Path, paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF, they said")
    with pytest.raises(AudioError, match=r"broken\.wav"):
        retriever.encode_audio([paths[0], tmp_path / "broken.wav"])
    with pytest.raises(AudioIndexError, match="not an index"):
        retriever.search(tmp_path, "a dog barks")
    retriever.index(folder / "sounds", tmp_path / "index")
    other = Retriever(copy.deepcopy(retriever.model))
    with torch.no_grad():
        other.model.audio_proj[0].weight[0, 0] += 1.0
    with pytest.raises(AudioIndexError, match="was made with the model"):
        other.search(tmp_path / "index", "a dog barks")


def test_the_package_names_what_a_user_needs_and_loads_it_late() -> None:
    assert all(getattr(ml_clap, name) is not None for name in ml_clap.__all__)
    assert set(ml_clap.__all__) <= set(dir(ml_clap))
    script = "import sys, ml_clap; sys.exit(bool({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'Captioner'"):
        ml_clap.Captioner  # noqa: B018
