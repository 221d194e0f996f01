"""ONNX: the exported towers give the model's vectors to 1e-4, whatever the batch and the length."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_common.config import CEDConfig
from hub_kit import page_faults
from ml_clap import cli
from ml_clap.config.distill import ExportConfig
from ml_clap.config.model import ModelConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder, make_small_text_encoder
from ml_clap.models.text_tower import TextTower, make_linear_head
from ml_clap.models.tower import open_tower
from ml_clap.models.tower_folder import TextTowerError, TowerSettings

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")

from ml_clap.models.onnx_export import export, export_verb  # noqa: E402

TEXTS = ["a dog barks", "un chien aboie", "rain", "la pluie sur un toit " * 12]
CODES = ["eng_Latn", "fra_Latn", "eng_Latn", "fra_Latn"]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `model`, a student in `student`, both exported."""
    folder = tmp_path_factory.mktemp("onnx")
    encoder = create_small_text_encoder(folder / "text", TEXTS, vocab_size=60, dim=16, layers=1, heads=2)
    torch.manual_seed(0)
    audio = CEDConfig(embed_dim=32, depth=2, num_heads=2)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24))
    model.save_pretrained(folder / "model")
    small = make_small_text_encoder(
        TEXTS, vocab_size=60, dim=8, layers=2, heads=2, languages=["eng_Latn", "fra_Latn"]
    )
    settings = TowerSettings(kind="student", model="m", fingerprint=model.fingerprint(), embed_dim=24)
    TextTower(settings, small, make_linear_head(torch.randn(24, 8), torch.randn(24))).save_pretrained(
        folder / "student"
    )
    export_verb(ExportConfig(model=str(folder / "model"), out=folder / "model-onnx"))
    export(ExportConfig(model=str(folder / "student"), out=folder / "student-onnx"))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> MLCLAP:
    return MLCLAP.from_pretrained(folder / "model")


def test_the_text_tower_is_the_models(folder: Path, model: MLCLAP) -> None:
    tower = open_tower(folder / "model-onnx")
    assert type(tower).__name__ == "OnnxTower"
    expected = model.encode_text(TEXTS, CODES).numpy()
    np.testing.assert_allclose(tower.encode(TEXTS, CODES), expected, atol=TOLERANCE)
    for number, (text, code) in enumerate(zip(TEXTS, CODES, strict=True)):
        np.testing.assert_allclose(tower.encode([text], code)[0], expected[number], atol=TOLERANCE)


def test_the_students_too(folder: Path) -> None:
    torch_tower, onnx_tower = open_tower(folder / "student"), open_tower(folder / "student-onnx")
    np.testing.assert_allclose(
        onnx_tower.encode(TEXTS, CODES, batch_size=3), torch_tower.encode(TEXTS, CODES), atol=TOLERANCE
    )
    assert onnx_tower.settings.fingerprint == torch_tower.settings.fingerprint
    assert onnx_tower.find_cut(["dog " * 500])[0].num_dropped == torch_tower.find_cut(["dog " * 500])[0][1]
    for name in ("student", "student-onnx", "model-onnx"):
        assert page_faults(folder / name) == []


@pytest.mark.parametrize("clips", [1, 3])
def test_the_audio_tower_is_the_models(folder: Path, model: MLCLAP, clips: int) -> None:
    session = onnxruntime.InferenceSession(str(folder / "model-onnx" / "audio.onnx"))
    notes = json.loads((folder / "model-onnx" / "audio_tower.json").read_text())
    generator = torch.Generator().manual_seed(clips)
    for samples in (notes["min_samples"], 2401, 16_000, 80_123, notes["max_samples"]):
        waveforms = 0.1 * torch.randn(clips, samples, generator=generator)
        waveforms[0] *= 1e-3  # its floor is its own, however loud the others are
        with torch.no_grad():
            expected = model.embed_audio(waveforms).numpy()
        (vectors,) = session.run(None, {"waveforms": waveforms.numpy()})
        np.testing.assert_allclose(vectors, expected, atol=TOLERANCE)
    assert notes["fingerprint"] == model.fingerprint()


@pytest.mark.parametrize("kind", ["silence", "tone", "click"])
def test_the_front_end_keeps_120_decibels(folder: Path, model: MLCLAP, kind: str) -> None:
    session = onnxruntime.InferenceSession(str(folder / "model-onnx" / "audio.onnx"))
    waveforms = torch.zeros(1, 16_000)
    if kind == "tone":
        waveforms += torch.sin(torch.arange(16_000) * (2 * torch.pi * 440 / 16_000))
    elif kind == "click":
        waveforms[0, 8_000] = 1.0
    with torch.no_grad():
        expected = model.embed_audio(waveforms).numpy()
    (vectors,) = session.run(None, {"waveforms": waveforms.numpy()})
    np.testing.assert_allclose(vectors, expected, atol=1e-3 if kind == "tone" else TOLERANCE)


def test_a_query_needs_no_torch(folder: Path) -> None:
    import subprocess

    program = (
        "import sys; from ml_clap.models.tower import open_tower; "
        f"print(open_tower({str(folder / 'student-onnx')!r}).encode(['a dog barks']).shape); "
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch is there'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("(1, 24)", 0), done.stderr


@pytest.mark.parametrize("engine", ["numpy", "faiss"])
def test_the_command_answers_by_it_without_torch(folder: Path, tmp_path: Path, engine: str) -> None:
    import subprocess

    from ml_clap.models.tower_folder import read_tower_settings
    from ml_clap.search.store import Entry, IndexSettings, IndexWriter

    pytest.importorskip("faiss")
    tower = read_tower_settings(folder / "student-onnx")
    settings = IndexSettings(
        model="nowhere",
        fingerprint=tower.fingerprint,
        dim=tower.embed_dim,
        dtype="float16",
        window_seconds=1,
        hop_seconds=1,
        source="/r",
        root="/r",
    )
    writer = IndexWriter.create(tmp_path, settings)
    writer.add_entries([Entry(str(n), f"{n}.wav", 1, 1, "", 1.0) for n in range(50)])
    vectors = np.random.default_rng(0).normal(size=(50, tower.embed_dim))
    vectors[7] = open_tower(folder / "student-onnx").encode(["a dog barks"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    writer.add_windows([(n, 0.0, 1.0) for n in range(50)], vectors)
    writer.close()
    words = ["search", str(tmp_path), "a dog barks", "--text_tower", str(folder / "student-onnx")]
    program = (
        "import sys; from ml_clap.search import engines; engines.FLAT_ROWS = 20\n"
        "from ml_clap.cli import main\n"
        f"try: main({[*words, '--engine', engine, '--top_k', '1']!r})\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch is there'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "7.wav" in done.stdout
    assert ("approximate" in done.stdout) == (engine == "faiss")


def test_what_cannot_be_exported_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    for source, parts, words in (
        ("student-onnx", ("text",), "is exported already"),
        ("student", ("audio",), "it has no audio"),
    ):
        with pytest.raises(ValueError, match=words):
            export(ExportConfig(model=str(folder / source), out=tmp_path, parts=parts))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="parts: name text"):
        ExportConfig(model="m", out=tmp_path, parts=())


def test_a_damaged_export_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder / "student-onnx", tmp_path / "t")
    (tmp_path / "t" / "text.onnx").write_bytes(b"no graph")
    with pytest.raises(TextTowerError, match=r"text\.onnx cannot be used"):
        open_tower(tmp_path / "t")
    shutil.rmtree(tmp_path / "t" / "text_encoder")
    with pytest.raises(TextTowerError, match="holds no tokenizer"):
        open_tower(tmp_path / "t")


def test_the_command_reads_its_settings() -> None:
    assert cli.read(["export", "m", "--out", "o", "--parts", "text"]).parts == ("text",)
