"""Silence and fragments are listed and not indexed; an index of the older format is read and goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from audio_common.reader import AudioError
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.index import index
from ml_clap.search.index_report import IndexReport
from ml_clap.search.queries import Query, embed_queries
from ml_clap.search.store import AudioIndexError
from ml_clap.search.updating import update_index

RATE = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MLCLAP:
    folder = tmp_path_factory.mktemp("model")
    encoder = create_small_text_encoder(folder / "text", ["a dog"], vocab_size=40, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24))
    model.save_pretrained(folder / "saved")
    return model.eval()


def write(path: Path, *parts: tuple[float, float]) -> Path:
    """A sound of (seconds, loudness) parts."""
    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [loudness * generator.uniform(-1, 1, round(seconds * RATE)) for seconds, loudness in parts]
    soundfile.write(path, np.concatenate(samples), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    write(folder / "dog.wav", (1.0, 0.3))
    write(folder / "faint.wav", (1.0, 0.001))  # -60 dB: quiet, and a sound
    write(folder / "dither.wav", (1.0, 0.0001))
    write(folder / "click.wav", (0.09, 0.5))
    write(folder / "gap.wav", (10.0, 0.3), (20.0, 0.0), (10.0, 0.3))
    return folder


def run(model: MLCLAP, archive: Path, **options: object) -> IndexReport:
    return update_index(model, archive, archive.parent / "index", model_name="m", **options)  # type: ignore[arg-type]


def test_silence_and_fragments_are_listed_and_not_indexed(model: MLCLAP, archive: Path) -> None:
    report = run(model, archive)
    assert (report.num_clips, report.num_windows, report.problems) == (3, 4, [])
    listed = {Path(one.file).name: (one.reason, one.partly) for one in report.left_out}
    assert listed == {
        "click.wav": ("lasts 0.090 s: a fragment under 0.1 s is not indexed", False),
        "dither.wav": ("holds no sound (no sample above -72 dB)", False),
        "gap.wav": ("2 of 4 windows hold no sound, the first at 10.0 s", True),
    }
    lines = (archive.parent / "index" / "left_out.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [one.reason for one in report.left_out]
    again = run(model, archive)
    assert (again.num_encoded, again.left_out) == (0, report.left_out)


def test_silence_finds_nothing(model: MLCLAP, archive: Path) -> None:
    silent = Query(audio=archive / "dither.wav")
    with pytest.raises(AudioError, match=r"dither.wav holds no sound: there is nothing to compare with"):
        embed_queries(model, [silent])
    bad: dict[int, str] = {}
    vectors = embed_queries(model, [Query(audio=archive / "faint.wav"), silent], bad=bad)
    assert list(bad) == [1]
    assert vectors[0].any()
    assert not vectors[1].any()


def test_silence_is_not_decoded_again_and_leaves_with_its_file(
    model: MLCLAP, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(model, archive)
    with monkeypatch.context() as patch:
        patch.setattr("audio_common.audio.load_audio", None)
        patch.setattr("audio_common.audio.stream_audio", None)
        assert run(model, archive).num_windows == 4
    (archive / "click.wav").unlink()
    (archive / "dither.wav").unlink()
    report = run(model, archive)  # the clips after them have other numbers now
    assert [Path(one.file).name for one in report.left_out] == ["gap.wav"]
    assert (report.num_encoded, report.num_windows) == (0, 4)


def test_both_are_indexed_if_asked_for_at_any_run(model: MLCLAP, archive: Path) -> None:
    run(model, archive)
    report = run(model, archive, index_silence=True)
    assert (report.num_clips, report.num_windows, report.left_out) == (5, 8, [])
    assert report.num_encoded == 4
    assert run(model, archive).num_windows == 8


def test_an_archive_of_silence_says_so(model: MLCLAP, tmp_path: Path) -> None:
    write(tmp_path / "archive" / "a.wav", (1.0, 0.0))
    with pytest.raises(AudioIndexError, match=r"nothing of .*/a\.wav holds no sound"):
        run(model, tmp_path / "archive")


def test_the_command_prints_how_many(
    model: MLCLAP, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "model"
    model.save_pretrained(saved)
    settings = {"source": archive, "out": tmp_path / "index", "model": str(saved), "device": "cpu"}
    index(IndexConfig(**settings, json=tmp_path / "report.json"))  # type: ignore[arg-type]
    assert "without sound: 3 files, or parts of them, not indexed (--index_silence does)" in (
        capsys.readouterr().out
    )
    assert len(json.loads((tmp_path / "report.json").read_text())["left_out"]) == 3


def test_an_index_of_format_1_is_searched_and_goes_on(model: MLCLAP, archive: Path) -> None:
    run(model, archive, index_silence=True)
    folder = archive.parent / "index"
    settings = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(settings | {"format": 1}))
    (folder / "silent-000000.npy").unlink()
    entries = folder / "entries-000000.jsonl"
    lines = [json.loads(line) for line in entries.read_text().splitlines()]
    old = [{key: value for key, value in line.items() if key != "metadata"} for line in lines]
    entries.write_text("".join(json.dumps(line) + "\n" for line in old))
    before = AudioIndex.open(folder).search(model, text="a dog")
    assert len(before) == 5
    write(archive / "new.wav", (1.0, 0.2))
    report = run(model, archive, index_silence=True)
    assert (report.num_encoded, report.num_windows) == (1, 9)
    assert json.loads((folder / "index.json").read_text())["format"] == 2
    (folder / "index.json").write_text(json.dumps(settings | {"format": 3}))
    with pytest.raises(AudioIndexError, match="this version reads format 2, got 3"):
        AudioIndex.open(folder)
