"""Encoding many sounds and texts: the model's own embeddings, each thing once, bad files left out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, load_audio
from audio_common.config import CEDConfig
from audio_common.prefetch import AudioSpan, BadFile
from audio_common.workers import DecodeLimits
from ml_clap.config.model import ModelConfig
from ml_clap.models.encoding import (
    UNHEARD,
    encode_files,
    encode_spans,
    encode_texts,
    encode_waveforms,
    evaluation_mode,
)
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

RATE = 16_000
TEXTS = ["a dog barks", "un chien aboie", "rain on a roof", "la pluie sur un toit", "犬が吠える"]
SECONDS = (0.4, 2.3, 0.05, 1.1, 1.7, 0.9, 1.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoding")
    encoder = create_small_text_encoder(folder / "text", TEXTS, vocab_size=60, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2)
    config = ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)
    MLCLAP(config).save_pretrained(folder / "model")
    return folder


@pytest.fixture
def model(folder: Path) -> MLCLAP:
    return MLCLAP.from_pretrained(folder / "model")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[AudioSpan]:
    folder = tmp_path_factory.mktemp("sounds")
    return [AudioSpan(write_sound(folder / f"{n}.wav", seconds, n)) for n, seconds in enumerate(SECONDS)]


def write_sound(path: Path, seconds: float, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    tone = generator.uniform(0.02, 0.5) * np.sin(2 * np.pi * generator.uniform(100, 4000) * times)
    soundfile.write(path, tone + 0.01 * generator.normal(size=len(times)), RATE)
    return path


def alone(model: MLCLAP, spans: Sequence[AudioSpan]) -> torch.Tensor:
    with torch.inference_mode():
        waveforms = [load_audio(each.path, offset=each.offset, duration=each.duration) for each in spans]
        return torch.cat([model.embed_audio(waveform[None]) for waveform in waveforms])


@pytest.mark.parametrize("seconds_per_batch", [0.01, 3.0, 160.0])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_and_threads_do_not_change_embeddings(
    model: MLCLAP, sounds: list[AudioSpan], seconds_per_batch: float, num_workers: int
) -> None:
    given_indices: list[int] = []
    found = torch.empty(len(sounds), 24)
    for indices, rows in encode_spans(
        model, sounds, seconds_per_batch=seconds_per_batch, num_workers=num_workers
    ):
        given_indices += indices
        found[indices] = rows
    assert sorted(given_indices) == list(range(len(sounds)))
    torch.testing.assert_close(found, alone(model, sounds), rtol=0, atol=1e-5)


def test_parts_of_a_file_are_those_parts(model: MLCLAP, sounds: list[AudioSpan]) -> None:
    path = sounds[1].path
    parts = [AudioSpan(path, 0.5, 1.0), AudioSpan(path, 1.5), AudioSpan(path, 0.0, 0.3)]
    found, bad = encode_files(model, parts)
    assert not bad
    torch.testing.assert_close(found, alone(model, parts), rtol=0, atol=1e-5)


def bad_sounds(folder: Path) -> list[Path]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "words.mp3").write_text("no sound at all")
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    return [folder / "empty.wav", folder / "words.mp3", folder / "nan.wav", folder / "missing.flac"]


def test_bad_files_are_reported_and_the_others_encoded(
    model: MLCLAP, sounds: list[AudioSpan], tmp_path: Path
) -> None:
    bad_paths = bad_sounds(tmp_path)
    spans = [AudioSpan(bad_paths[0]), *sounds[:3], *map(AudioSpan, bad_paths[1:]), *sounds[3:]]
    found, bad = encode_files(model, spans, seconds_per_batch=3.0)
    assert [(each.index, each.path) for each in bad] == list(zip([0, 4, 5, 6], bad_paths, strict=True))
    assert all(each.path.name in each.reason for each in bad)
    good = [index for index in range(len(spans)) if index not in {0, 4, 5, 6}]
    torch.testing.assert_close(found[good], alone(model, sounds), rtol=0, atol=1e-5)
    assert found[[0, 4, 5, 6]].isnan().all()


def test_without_a_list_a_bad_file_is_an_error(
    model: MLCLAP, sounds: list[AudioSpan], tmp_path: Path
) -> None:
    for path in bad_sounds(tmp_path):
        with pytest.raises(AudioError, match=path.name):
            list(encode_spans(model, [*sounds, AudioSpan(path)]))
        with pytest.raises(AudioError, match=path.name):
            list(encode_spans(model, [AudioSpan(path)]))


def test_an_embedding_that_is_not_finite_is_a_bad_file(
    model: MLCLAP, sounds: list[AudioSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = model.embed_audio

    def spoil_longest(waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        vectors = encode(waveforms, lengths).clone()
        vectors[lengths.argmax()] = torch.nan
        return vectors

    monkeypatch.setattr(model, "embed_audio", spoil_longest)
    bad: list[BadFile] = []
    indices = [index for batch, _ in encode_spans(model, sounds, bad_files=bad) for index in batch]
    assert sorted(indices) == [0, 2, 3, 4, 5, 6]
    assert [(each.index, "not finite" in each.reason) for each in bad] == [(1, True)]


def test_progress_counts_every_sound(model: MLCLAP, sounds: list[AudioSpan], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    spans = [*map(AudioSpan, bad_sounds(tmp_path)), *sounds]
    encode_files(model, spans, seconds_per_batch=2.0, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (len(spans), len(spans))


def test_given_batches_are_what_the_model_gets(folder: Path, sounds: list[AudioSpan]) -> None:
    """In the reference mode a clip's neighbours matter, and of two embeddings the first one counts."""
    reference = MLCLAP.from_pretrained(folder / "model", mode="reference")
    spans = [sounds[0], sounds[1], sounds[3]]
    found, _ = encode_files(reference, spans, batches=[[0, 1], [1, 2]])
    expected = []
    for batch, kept in (([0, 1], [0, 1]), ([1, 2], [1])):
        waveforms = [load_audio(spans[index].path) for index in batch]
        rows = torch.zeros(2, max(map(len, waveforms)))
        for row, waveform in zip(rows, waveforms, strict=True):
            row[: len(waveform)] = waveform
        with torch.inference_mode():
            expected.append(reference.embed_audio(rows)[kept])
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-6)
    other, _ = encode_files(reference, spans, batches=[[0], [1], [2]])
    assert (other[0] - found[0]).abs().max() > 1e-4


def test_what_the_reference_mode_does_not_hear_is_told(folder: Path, tmp_path: Path) -> None:
    """A batch whose longest sound fills its last piece of 1,012 frames loses that piece."""
    reference = MLCLAP.from_pretrained(folder / "model", mode="reference")
    seconds = (2 * 1012 * 160 - 160) / RATE
    spans = [AudioSpan(write_sound(tmp_path / f"{n}.wav", s, n)) for n, s in enumerate((seconds, 3.0, 0.1))]
    complaints: list[BadFile] = []
    found, bad = encode_files(reference, spans, batches=[[0, 1], [2]], complaints=complaints)
    assert [(each.index, each.reason.endswith(UNHEARD)) for each in complaints] == [(0, True)]
    assert [(each.index, "too short" in each.reason) for each in bad] == [(2, True)]
    assert found[:2].isfinite().all()
    masked = MLCLAP.from_pretrained(folder / "model")
    assert encode_files(masked, spans, complaints=complaints)[1] == []
    assert len(complaints) == 1


def test_decoding_in_processes_changes_no_embedding(model: MLCLAP, sounds: list[AudioSpan]) -> None:
    found, bad = encode_files(model, sounds, decode_limits=DecodeLimits())
    assert not bad
    torch.testing.assert_close(found, encode_files(model, sounds)[0], rtol=0, atol=0)


def test_a_sound_that_takes_too_much_memory_is_one_bad_file(
    model: MLCLAP, sounds: list[AudioSpan], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "hours.flac", np.zeros(2 * 3600 * RATE, np.int16), RATE)
    spans = [*sounds[:2], AudioSpan(tmp_path / "hours.flac")]
    found, bad = encode_files(model, spans, decode_limits=DecodeLimits(megabytes=64))
    assert [each.index for each in bad] == [2]
    assert "64 MB" in bad[0].reason
    assert found[:2].isfinite().all()


def test_waveforms_in_memory_are_encoded_as_files_are(model: MLCLAP, sounds: list[AudioSpan]) -> None:
    waveforms = [load_audio(span.path) for span in sounds]
    found = encode_waveforms(model, waveforms, seconds_per_batch=3.0)
    torch.testing.assert_close(found, alone(model, sounds), rtol=0, atol=1e-5)
    assert encode_waveforms(model, []).shape == (0, 24)


def test_texts_are_encoded_once_each_and_in_order(model: MLCLAP, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXTS[0], TEXTS[4], TEXTS[0], TEXTS[2], TEXTS[0]]
    languages = ["eng_Latn", "jpn_Jpan", "eng_Latn", "eng_Latn", "fra_Latn"]
    seen: list[tuple[str, str]] = []
    encode = model.embed_text

    def record(batch: Sequence[str], tongues: Sequence[str]) -> torch.Tensor:
        seen.extend(zip(batch, tongues, strict=True))
        return encode(batch, tongues)

    with torch.inference_mode():
        expected = torch.cat([encode([text], code) for text, code in zip(texts, languages, strict=True)])
    monkeypatch.setattr(model, "embed_text", record)
    found = encode_texts(model, texts, languages, batch_size=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert sorted(seen) == sorted(set(zip(texts, languages, strict=True)))
    torch.testing.assert_close(encode_texts(model, texts[:2], "eng_Latn")[0], found[0], rtol=0, atol=1e-5)
    assert encode_texts(model, [], "eng_Latn").shape == (0, 24)


def test_embeddings_can_be_learnt_from(model: MLCLAP, sounds: list[AudioSpan]) -> None:
    """They are ordinary tensors: those of inference mode would refuse to be saved for a backward pass."""
    weight = torch.ones(24, requires_grad=True)
    for found in (encode_files(model, sounds[:2])[0], encode_texts(model, TEXTS[:2], "eng_Latn")):
        (found * weight).sum().backward()
    for _, found in encode_spans(model, sounds[:1]):
        (found * weight).sum().backward()


def test_a_model_in_training_mode_is_refused(model: MLCLAP, sounds: list[AudioSpan]) -> None:
    model.train()
    with pytest.raises(ValueError, match="training mode"):
        encode_files(model, sounds)
    with pytest.raises(ValueError, match="training mode"):
        encode_texts(model, TEXTS, "eng_Latn")
    with evaluation_mode(model):
        encode_texts(model, TEXTS, "eng_Latn")
    assert model.training


@pytest.mark.parametrize(("option", "value"), [("seconds_per_batch", 0.0), ("num_workers", 0)])
def test_impossible_settings_are_refused(
    model: MLCLAP, sounds: list[AudioSpan], option: str, value: float
) -> None:
    with pytest.raises(ValueError, match=option):
        list(encode_spans(model, sounds, **{option: value}))  # type: ignore[arg-type]
