"""Models of sentence-transformers as ours, and ours as theirs; with the real classes, tiny and random."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ml_clap.config.model import ModelConfig
from ml_clap.models.ml_clap import MLCLAP
from torch import Tensor

sentence_transformers = pytest.importorskip("sentence_transformers")

RATE = 48_000
Writer = Callable[..., Path]


def sound(samples: int, hertz: float, rate: int = RATE) -> Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / rate)


# Their models


@pytest.fixture(scope="module")
def folder(write_clap: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("theirs")
    plain = write_clap(made / "clap")
    model = sentence_transformers.SentenceTransformer(str(plain), device="cpu")
    model.save(str(made / "model"))
    return made / "model"


def test_a_model_gives_what_its_encode_gives(folder: Path) -> None:
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    ours = SentenceTransformerTowers.from_pretrained(folder)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    texts, waveform = ["a dog barks", "rain is falling"], sound(50_000, 900)
    vectors = theirs.encode([{"array": waveform.numpy(), "sampling_rate": RATE}], normalize_embeddings=True)
    assert (ours.sample_rate, ours.max_seconds, ours.embed_dim) == (RATE, 2.0, 12)
    torch.testing.assert_close(ours.embed_audio(waveform[None]), torch.from_numpy(vectors), rtol=0, atol=1e-6)
    expected = torch.from_numpy(theirs.encode(texts, normalize_embeddings=True))
    torch.testing.assert_close(ours.embed_text(texts), expected, rtol=0, atol=1e-6)


def test_a_long_sound_is_not_cut_at_random(folder: Path) -> None:
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    ours = SentenceTransformerTowers.from_pretrained(folder)
    long = torch.cat([sound(RATE * 2, 300), sound(RATE * 3, 5_000)])
    batch = torch.stack([long, torch.nn.functional.pad(sound(9_000, 700), (0, len(long) - 9_000))])
    first = ours.embed_audio(batch, torch.tensor([len(long), 9_000]))
    np.random.seed(9)
    torch.testing.assert_close(ours.embed_audio(long[None])[0], first[0], rtol=0, atol=2e-6)
    torch.testing.assert_close(ours.embed_audio(sound(9_000, 700)[None])[0], first[1], rtol=0, atol=2e-6)


def test_a_text_that_is_a_files_name_stays_a_text(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    ours = SentenceTransformerTowers.from_pretrained(folder)
    expected = ours.embed_text(["dog.wav"])
    monkeypatch.chdir(tmp_path)
    Path("dog.wav").write_bytes(b"no sound")
    torch.testing.assert_close(ours.embed_text(["dog.wav"]), expected)


def test_the_fingerprint_tells_models_apart(folder: Path) -> None:
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    first, second = (SentenceTransformerTowers.from_pretrained(folder) for _ in range(2))
    assert first.fingerprint() == second.fingerprint()
    with torch.no_grad():
        next(second.model.parameters()).add_(1.0)
    assert first.fingerprint() != second.fingerprint()


def test_a_text_over_the_models_limit_is_found(folder: Path) -> None:
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    ours = SentenceTransformerTowers.from_pretrained(folder)
    assert ours.find_cut(["a dog " * 200]) == []  # it states none
    ours.model.max_seq_length = 6
    [cut] = ours.find_cut(["a dog", "a dog barks in the distance"])
    assert cut.num_dropped == 2 + 6 - 6
    assert "1 text(s) cut to the model's 6 tokens: 2 dropped" in ours.describe_cut([cut])


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "modeling_own.Evil", "path": "", "name": "0", "idx": 0}], "runs none"),
        ([{"type": "os.system", "path": "", "name": "0", "idx": 0}], "runs none"),
        ({"type": "sentence_transformers.models.Dense"}, "expected a list of modules"),
    ],
)
def test_code_of_a_models_folder_is_not_run(
    folder: Path, tmp_path: Path, modules: object, message: str
) -> None:
    from ml_clap.models.sentence_transformer import SentenceTransformerTowers

    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "modeling_own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=message):
        SentenceTransformerTowers.from_pretrained(tmp_path)


# Our models


@pytest.fixture(scope="module")
def own(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[MLCLAP, Path]:
    settings = yaml.safe_load(tiny_recipe.read_text())["model"]
    from audio_common.config import CEDConfig

    torch.manual_seed(0)
    config = ModelConfig(**{**settings, "audio": CEDConfig(**settings["audio"])})
    model = MLCLAP(config).eval()
    saved = tmp_path_factory.mktemp("own") / "model"
    model.save_pretrained(saved)
    return model, saved


@pytest.mark.filterwarnings("error:.*trust_remote_code.*")
def test_our_folder_loads_and_gives_equal_embeddings(own: tuple[MLCLAP, Path], tmp_path: Path) -> None:
    import soundfile

    model, saved = own
    theirs = sentence_transformers.SentenceTransformer(str(saved), device="cpu")
    texts = ["un chien aboie", "la pluie tombe"]
    expected = model.encode_text(texts, "fra_Latn").numpy()
    np.testing.assert_allclose(theirs.encode(texts, language="fra_Latn"), expected, atol=1e-5)
    assert abs(theirs.encode(texts) - expected).max() > 1e-3, "the language is not heeded"
    clips = [sound(16_000, 440, 16_000).numpy(), sound(30_000, 900, 16_000).numpy()]
    expected = model.encode_audio(clips).numpy()
    np.testing.assert_allclose(theirs.encode(clips), expected, atol=1e-5)
    path = tmp_path / "tone.wav"
    soundfile.write(path, sound(44_100, 440, 44_100).numpy(), 44_100)
    np.testing.assert_allclose(theirs.encode(str(path)), model.encode_audio(path).numpy(), atol=1e-5)
    samples = sound(44_100, 440, 44_100).numpy()
    wrapped = theirs.encode([{"audio": {"array": samples, "sampling_rate": 44_100}}])[0]
    np.testing.assert_allclose(wrapped, model.encode_audio(samples, sample_rate=44_100).numpy(), atol=1e-5)


def test_our_folder_loads_as_a_module_in_every_version(own: tuple[MLCLAP, Path]) -> None:
    """Version 6 refuses the folder's name for want of trust_remote_code; a module is the user's own code."""
    from ml_clap.models.embedding_module import EmbeddingModule

    model, saved = own
    theirs = sentence_transformers.SentenceTransformer(modules=[EmbeddingModule.load(str(saved))])
    expected = model.encode_text(["un chien aboie"], "fra_Latn").numpy()
    np.testing.assert_allclose(theirs.encode(["un chien aboie"], language="fra_Latn"), expected, atol=1e-5)


def test_what_it_saves_is_our_model_again(own: tuple[MLCLAP, Path], tmp_path: Path) -> None:
    model, saved = own
    sentence_transformers.SentenceTransformer(str(saved), device="cpu").save(str(tmp_path / "again"))
    assert MLCLAP.from_pretrained(tmp_path / "again").fingerprint() == model.fingerprint()
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "again"), device="cpu")
    assert again.get_embedding_dimension() == 16
