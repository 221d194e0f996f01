"""One archive, any model: index, search, classify and evaluate with models of each kind, tiny and random."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ml_clap import Retriever
from ml_clap.cli import main
from ml_clap.models.text_encoder import create_small_text_encoder

Writer = Callable[..., Path]
KINDS = ("clap", "sentence-transformers", "glap")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stereo files at other rates than any model's, one longer than CLAP's window, and a manifest."""
    folder = tmp_path_factory.mktemp("sounds")
    lines = []
    for number, (rate, seconds) in enumerate([(22_050, 1.0), (44_100, 2.7), (16_000, 0.4)]):
        time = np.arange(int(rate * seconds)) / rate
        tone = 0.4 * np.sin(2 * np.pi * 300 * 3**number * time)
        soundfile.write(folder / f"{number}.wav", np.stack([tone, 0.5 * tone], axis=1), rate)
        captions = {"eng_Latn": [f"a dog barks {'again ' * number}"]}
        lines.append(json.dumps({"id": str(number), "audio": f"{number}.wav", "captions": captions}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def models(write_clap: Writer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {"clap": write_clap(folder / "clap"), "glap": write_glap(folder / "glap")}
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(found["clap"]), device="cpu")
    model.save(str(folder / "st"))
    return found | {"sentence-transformers": folder / "st"}


def write_glap(folder: Path) -> Path:
    """Write the golden file's tiny weights, with heads as wide as the published ones."""
    with np.load(Path(__file__).parent.parent / "golden" / "glap.npz") as stored:
        state = {
            name.removeprefix("weight:"): torch.from_numpy(stored[name])
            for name in stored.files
            if name.startswith("weight:")
        }
    folder.mkdir()
    torch.save(
        {"model": {k: v.float() if v.is_floating_point() else v for k, v in state.items()}},
        folder / "glap_checkpoint.pt",
    )
    text = create_small_text_encoder(folder / "text", ["A dog barks.", "Un chien aboie."], vocab_size=60)
    (text / "sentencepiece.bpe.model").rename(folder / "sentencepiece.source.256000.model")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_from_pretrained_works_for_every_kind(models: dict[str, Path], sounds: Path, kind: str) -> None:
    retriever = Retriever.from_pretrained(models[kind], device="cpu")
    path, samples = sounds / "0.wav", soundfile.read(sounds / "0.wav")[0].T
    both = retriever.encode([path, samples, torch.from_numpy(samples), "a dog barks"], sample_rate=22_050)
    assert both.shape == (4, retriever.model.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(both[0], both[1], atol=2e-3)  # the file's 16 bits
    np.testing.assert_array_equal(both[1], both[2])
    np.testing.assert_allclose(
        retriever.encode("a dog barks"), retriever.encode_text("a dog barks"), atol=1e-6
    )
    np.testing.assert_allclose(retriever.encode(str(path)), both[0], atol=1e-5)
    assert retriever.similarity("a dog barks", path).shape == (1, 1)
    assert next(label for label, _ in retriever.classify(path, ["dog", "rain"], top_k=1)) in ("dog", "rain")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        retriever.encode("nowhere.wav")


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_made_and_searched_with_every_kind(
    models: dict[str, Path], sounds: Path, tmp_path: Path, kind: str
) -> None:
    retriever = Retriever.from_pretrained(models[kind], device="cpu")
    report = retriever.index(sounds, tmp_path / "index")
    assert (report.num_clips, report.problems) == (3, [])
    [result] = retriever.search(tmp_path / "index", audio=sounds / "1.wav")
    assert Path(result.hits[0].file).name == "1.wav"
    assert result.hits[0].score == pytest.approx(1.0, abs=1e-4)
    settings = json.loads((tmp_path / "index" / "index.json").read_text())
    assert settings["independence"] == report.independence
    assert report.independence is not None
    assert report.independence < 1e-5


def test_the_commands_take_any_model(
    models: dict[str, Path], sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, index = str(models["clap"]), str(tmp_path / "index")
    assert not main(["index", str(sounds), "--model", model, "--out", index])
    printed = capsys.readouterr()
    assert "a sound alone and beside others: embeddings differ by" in printed.out
    assert "licence of the weights: unknown" in printed.err
    assert not main(["search", index, "a dog barks"])
    assert capsys.readouterr().out.count(".wav") == 3
    assert not main(["evaluate", str(sounds / "manifest.jsonl"), "--model", model, "--num_captions", "1"])
    assert "R@1" in capsys.readouterr().out
    assert not main(["similarity", "a dog", str(sounds / "0.wav"), "--model", model])


def test_a_model_that_depends_on_its_neighbours_is_warned_of(
    models: dict[str, Path],
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ml_clap.models.clap import CLAP

    honest = CLAP.embed_audio

    def hears_neighbours(
        self: CLAP, waveforms: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        return honest(self, waveforms / waveforms.abs().max(), lengths)

    monkeypatch.setattr(CLAP, "embed_audio", hears_neighbours)
    main(["index", str(sounds), "--model", str(models["clap"]), "--out", str(tmp_path / "index")])
    assert "depend on what is batched with them" in capsys.readouterr().err
