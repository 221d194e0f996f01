"""The model from Python: paths, waveforms and texts, one or many; an index and its search."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def test_one_item_gives_one_vector_and_a_list_as_many_as_it_has(
    retriever: Retriever, paths: list[Path]
) -> None:
    for encode in (retriever.encode_text, retriever.model.encode_text):
        assert encode("a dog barks").shape == (24,)
        assert encode(["a dog barks"]).shape == (1, 24)
        assert encode([]).shape == (0, 24)
    waveform = load_audio(paths[0])
    forms = [paths[0], str(paths[0]), paths[0].read_bytes(), waveform, waveform.numpy()]
    for encode_audio in (retriever.encode_audio, retriever.model.encode_audio):
        rows = [np.asarray(encode_audio(form)) for form in forms]
        assert {row.shape for row in rows} == {(24,)}
        np.testing.assert_allclose(np.stack(rows), np.stack([rows[0]] * 5), atol=1e-5)
        with paths[0].open("rb") as file:
            np.testing.assert_allclose(np.asarray(encode_audio(file)), rows[0], atol=1e-5)
        assert encode_audio([paths[0]]).shape == (1, 24)
        assert encode_audio([]).shape == (0, 24)
    assert retriever.similarity("a dog barks", paths[0]).shape == (1, 1)
    assert retriever.similarity([], paths).shape == (0, 3)


def test_the_rate_and_channels_of_arrays_are_minded(retriever: Retriever, paths: list[Path]) -> None:
    mono = load_audio(paths[1]).numpy()
    twice = np.repeat(mono, 2)
    expected = retriever.encode_audio(mono)
    assert retriever.encode_audio(twice, sample_rate=32_000) @ expected > 0.99
    stereo = np.stack([mono, np.zeros_like(mono)])
    np.testing.assert_allclose(retriever.encode_audio(stereo, channel="first"), expected, atol=1e-5)
    np.testing.assert_allclose(retriever.encode_audio(stereo, channel="loudest"), expected, atol=1e-5)


def test_inference_builds_no_graph_and_leaves_the_mode(retriever: Retriever, paths: list[Path]) -> None:
    model = copy.deepcopy(retriever.model).train()
    for found in (model.encode_text("a dog"), model.encode_audio(paths[0])):
        assert not found.requires_grad
        torch.testing.assert_close(found.norm(), torch.tensor(1.0))
    assert model.training
    torch.testing.assert_close(model.encode_text("a dog"), retriever.model.encode_text("a dog"))


def test_no_language_and_no_hits_are_refused_in_words(
    retriever: Retriever, paths: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="lang must be a language or one for each text, got None"):
        retriever.encode_text("a dog", lang=None)  # type: ignore[arg-type]
    retriever.index(paths[0].parent, tmp_path / "index")
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        retriever.search(tmp_path / "index", "a dog", top_k=0)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (b"a dog", TypeError, "expected a text or a list of texts, got bytes"),
        (None, TypeError, "got NoneType"),
        ({"a dog"}, TypeError, "expected a text or a list of texts, got set"),  # it has no order
        (["a dog", 7], TypeError, r"texts\[1\] must be a text, got int: 7"),
        (["a dog", " "], ValueError, r"texts\[1\] is empty"),
        ("", ValueError, "the text is empty"),
        (["a dog", "\ud800"], ValueError, r"texts\[1\] is not valid Unicode"),
    ],
)
def test_what_is_no_text_is_refused_by_name_and_place(
    retriever: Retriever, texts: Any, error: type[Exception], message: str
) -> None:
    for encode in (retriever.encode_text, retriever.model.encode_text):
        with pytest.raises(error, match=message):
            encode(texts)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.full(1000, np.nan, np.float32), "finite"),
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros((16_000, 2), np.float32), "transpose"),
        (np.zeros((1, 2, 16_000), np.float32), "shape"),
        (["{}"], "JSON"),
        (None, "NoneType"),
        ([[0.1, 0.2]], "of numbers"),
        ("nowhere.wav", "nowhere.wav"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(retriever: Retriever, audio: Any, message: str) -> None:
    for encode in (retriever.encode_audio, retriever.model.encode_audio):
        with pytest.raises(AudioError, match=message):
            encode(audio)


def test_a_text_that_is_cut_is_warned_of_with_the_number_of_tokens(
    retriever: Retriever, caplog: pytest.LogCaptureFixture
) -> None:
    long = "a dog barks " * 100
    first = retriever.model.encode_text(long)
    assert "1 text is cut to the model's 128 tokens: " in caplog.text
    assert "--model.max_text_tokens" in caplog.text
    (cut,) = retriever.model.prepare_text.find_cut([long, "a dog"])
    tokens = retriever.model.text_encoder.tokenizer.count_tokens([long.strip()])[0]
    assert cut.num_dropped == tokens - 128
    place = caplog.text.index("read to its character ") + len("read to its character ")
    end = int(caplog.text[place:].split()[0])
    assert not retriever.model.prepare_text.find_cut([long[:end]])
    assert retriever.model.prepare_text.find_cut([long[: end + 13]])  # one "a dog barks " further
    caplog.clear()
    np.testing.assert_allclose(retriever.encode_text([long, "a dog"])[0], first, atol=1e-5)
    assert f"{cut.num_dropped} dropped" in caplog.text
    caplog.clear()
    retriever.encode_text("a dog")
    assert not caplog.text


def test_sounds_are_classified_by_plain_labels_or_descriptions(
    retriever: Retriever, paths: list[Path]
) -> None:
    found = retriever.classify(paths[0], ["dog", "rain"])
    assert {label for label, _ in found} == {"dog", "rain"}
    assert found[0][1] >= found[1][1]
    described = retriever.classify(paths, {"dog": ["a dog barks"], "rain": ["rain on a roof"]}, top_k=1)
    assert [len(one) for one in described] == [1, 1, 1]
    french = retriever.classify(paths[0], {"dog": {"fr": ["un chien aboie"]}}, lang="fr")
    expected = retriever.similarity("un chien aboie", paths[0], "fr")[0, 0]
    assert french[0][1] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="labels must be a list"):
        retriever.classify(paths[0], "dog")


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


def test_a_text_tower_embeds_the_texts_and_the_model_waits_for_a_sound(
    retriever: Retriever, folder: Path, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_clap.models.text_tower import TextTower
    from ml_clap.search import retriever as module

    assert isinstance(retriever.model, MLCLAP)
    TextTower.of_model(retriever.model, "m").save_pretrained(tmp_path / "tower")
    retriever.index(folder / "sounds", tmp_path / "index")
    loaded: list[Any] = []
    real = module.load_model
    monkeypatch.setattr(module, "load_model", lambda *a, **b: loaded.append(a) or real(*a, **b))
    small = Retriever.from_pretrained(folder / "run", device="cpu", text_tower=tmp_path / "tower")
    texts = ["a dog barks", "un chien aboie"]
    np.testing.assert_allclose(small.encode_text(texts), retriever.encode_text(texts), atol=1e-6)
    hits = small.search(tmp_path / "index", "a dog barks")[0].hits
    assert hits == retriever.search(tmp_path / "index", "a dog barks")[0].hits
    assert small.encode_text([]).shape == (0, 24)
    assert not loaded
    labels = ["dog", "rain"]
    assert [name for name, _ in small.classify(paths[0], labels)] == [
        name for name, _ in retriever.classify(paths[0], labels)
    ]
    assert len(loaded) == 1


def test_a_text_tower_of_another_model_is_refused(folder: Path, retriever: Retriever, tmp_path: Path) -> None:
    from dataclasses import replace

    from ml_clap.models.text_tower import TextTower

    assert isinstance(retriever.model, MLCLAP)
    tower = TextTower.of_model(retriever.model, "m")
    tower.settings = replace(tower.settings, fingerprint="0123")
    small = Retriever(retriever.model, text_tower=tower)
    with pytest.raises(ValueError, match=r"made for the model m \(fingerprint 0123\), and the model has"):
        small.encode_audio(np.zeros(16_000, np.float32))
    retriever.index(folder / "sounds", tmp_path / "index")
    with pytest.raises(ValueError, match=r"made for the model m \(fingerprint 0123\)"):
        small.search(tmp_path / "index", "a dog")
