"""Clips encoded block by block into parts, without Ray: put together they are the index made here."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.ray import RayConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search import by_ray, index_block
from ml_clap.search.index import index
from ml_clap.search.index_report import IndexReport
from ml_clap.search.store import AudioIndexError, IndexWriter, open_rows, vectors_path

pytest.importorskip("pyarrow", reason="the extra ray is not installed")

RATE = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    encoder = create_small_text_encoder(
        folder / "text", ["a dog barks", "rain on a roof"], vocab_size=60, dim=16, layers=1, heads=2
    )
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(folder / "a")
    return folder / "a"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short and long sounds, silence, a fragment, and what is no sound."""
    folder = tmp_path_factory.mktemp("archive")
    generator = np.random.default_rng(0)
    for number, seconds in enumerate([0.5, 1.0, 2.5, 7.3, 0.8, 0.05, 1.2]):
        samples = 0.3 * generator.normal(size=round(seconds * RATE))
        soundfile.write(folder / f"{number}.wav", samples, RATE)
    soundfile.write(folder / "half-silent.wav", np.r_[np.zeros(4 * RATE), 0.2 * np.ones(2 * RATE)], RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    (folder / "no-sound.wav").write_bytes(b"this is no sound")
    return folder


def settings(source: Path | str, out: Path, model: Path, **changes: Any) -> IndexConfig:
    chosen: dict[str, Any] = {"window_seconds": 2.0, "device": "cpu"} | changes
    return IndexConfig(source=Path(source), out=out, model=str(model), **chosen)


@pytest.fixture
def calls(blocks_here: Callable[..., list[list[dict[str, Any]]]]) -> list[list[dict[str, Any]]]:
    return blocks_here(by_ray)


def ids_of(calls: list[list[dict[str, Any]]]) -> list[str]:
    return [row["id"] for rows in calls for row in rows]


def content(out: Path) -> dict[tuple[str, float, float], np.ndarray]:
    writer = IndexWriter(out)
    vectors = open_rows(vectors_path(out, writer.settings.generation))
    rows = writer.windows().tolist()
    writer.close()
    found = {(writer.entries[n].id, start, end): v for (n, start, end), v in zip(rows, vectors, strict=True)}
    assert len(found) == len(rows), "a window is there twice"
    return found


def assert_same_index(one: Path, other: Path, but: tuple[str, ...] = ()) -> None:
    """Two indexes list the same clips in the same order, with the same windows, silence and vectors."""
    ours, theirs = IndexWriter(one), IndexWriter(other)

    def plain(entry: Any) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(entry).items() if name not in but}

    assert [plain(entry) for entry in ours.entries] == [plain(entry) for entry in theirs.entries]
    assert sorted(ours.silent_windows().tolist()) == sorted(theirs.silent_windows().tolist())
    ours.close(), theirs.close()
    left, right = content(one), content(other)
    assert left.keys() == right.keys()
    for window, vector in left.items():
        np.testing.assert_allclose(vector, right[window], atol=1e-5)
    if but:
        return
    for name in ("bad_files.jsonl", "left_out.jsonl"):
        assert sorted((one / name).read_text().splitlines()) == sorted(
            (other / name).read_text().splitlines()
        )


def figures(report: IndexReport) -> dict[str, Any]:
    names = ("num_clips", "num_windows", "num_encoded", "new", "changed", "moved", "dropped", "independence")
    return {name: getattr(report, name) for name in names} | {"seconds": round(report.audio_seconds, 6)}


def test_blocks_put_together_are_the_index_made_here(
    model: Path, archive: Path, tmp_path: Path, calls: list[list[dict[str, Any]]]
) -> None:
    here = index(settings(archive, tmp_path / "here", model))
    ray = RayConfig(block_seconds=4.0)
    there = index(settings(archive, tmp_path / "there", model, engine="ray", ray=ray))
    assert len(calls) > 2
    assert sorted(ids_of(calls)) == sorted(path.name for path in archive.iterdir())
    assert_same_index(tmp_path / "here", tmp_path / "there")
    assert figures(there) == figures(here)
    assert len(here.problems) == 1
    assert not (tmp_path / "there.parts").exists(), "the parts are in the index now"


def test_the_command_without_ray_goes_on_from_an_index_by_ray(
    model: Path, archive: Path, tmp_path: Path, calls: list[list[dict[str, Any]]]
) -> None:
    index(settings(archive, tmp_path / "index", model, engine="ray"))
    assert index(settings(archive, tmp_path / "index", model)).num_encoded == 0
    again = index(settings(archive, tmp_path / "index", model, engine="ray"))
    assert again.num_encoded == 0
    assert ids_of(calls[1:]) == ["no-sound.wav"], "what could not be read is tried again, and nothing else"


def test_a_stopped_job_goes_on_from_its_parts(
    model: Path, archive: Path, tmp_path: Path, blocks_here: Callable[..., list[list[dict[str, Any]]]]
) -> None:
    index(settings(archive, tmp_path / "here", model))
    config = settings(archive, tmp_path / "there", model, engine="ray", ray=RayConfig(block_seconds=4.0))
    first = blocks_here(by_ray, stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        index(config)
    second = blocks_here(by_ray)
    index(config)
    assert len(first) == 2
    assert set(ids_of(first)) & set(ids_of(second)) <= {"no-sound.wav"}
    assert_same_index(tmp_path / "here", tmp_path / "there")


def test_a_merge_that_was_killed_takes_the_rest_from_the_parts(
    model: Path,
    archive: Path,
    tmp_path: Path,
    calls: list[list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index(settings(archive, tmp_path / "here", model))
    config = settings(archive, tmp_path / "there", model, engine="ray", ray=RayConfig(block_seconds=4.0))
    written: list[int] = []

    def add(self: IndexWriter, spans: Any, vectors: np.ndarray, add: Any = IndexWriter.add_windows) -> None:
        if "there" in str(self.folder) and len(written) == 2:
            raise KeyboardInterrupt
        if "there" in str(self.folder):
            written.append(len(spans))
        add(self, spans, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(IndexWriter, "add_windows", add)
        with pytest.raises(KeyboardInterrupt):
            index(config)
    encoded = len(calls)
    assert 0 < len(content(tmp_path / "there")) < len(content(tmp_path / "here"))
    index(config)
    assert set(ids_of(calls[encoded:])) <= {"no-sound.wav"}
    assert_same_index(tmp_path / "here", tmp_path / "there")


def test_named_parts_stay_and_serve_the_next_index(
    model: Path, archive: Path, tmp_path: Path, calls: list[list[dict[str, Any]]]
) -> None:
    import pyarrow.parquet

    ray = RayConfig(block_seconds=4.0, parts=f"file://{tmp_path / 'parts'}")
    index(settings(archive, tmp_path / "one", model, engine="ray", ray=ray))
    files = sorted((tmp_path / "parts").rglob("*.parquet"))
    assert files
    table = pyarrow.parquet.read_table(files[0])
    assert {"id", "sha256", "duration", "starts", "ends", "vectors"} <= set(table.column_names)
    assert str(table.schema.field("vectors").type) == "list<element: list<element: float>>"
    encoded = len(calls)
    index(settings(archive, tmp_path / "two", model, engine="ray", ray=ray))
    assert set(ids_of(calls[encoded:])) <= {"no-sound.wav"}
    assert_same_index(tmp_path / "one", tmp_path / "two")


def test_shards_and_urls_give_the_index_of_their_files(
    model: Path, archive: Path, tmp_path: Path, calls: list[list[dict[str, Any]]]
) -> None:
    from ml_clap.cli import read
    from ml_clap.data.shards.packing import prepare_shards_verb

    names = ["0.wav", "2.wav", "3.wav"]
    rows = [{"id": name, "audio": f"{archive}/{name}", "captions": {"fra": ["un bruit"]}} for name in names]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    index(settings(manifest, tmp_path / "here", model))
    but = ("file", "size", "mtime_ns", "sha256", "metadata")
    for name in names:  # a manifest beside its sounds
        (tmp_path / name).write_bytes((archive / name).read_bytes())
    relative = [row | {"audio": str(row["id"])} for row in rows]
    (tmp_path / "urls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in relative))
    url = f"file://{tmp_path}/urls.jsonl"
    index(settings(url, tmp_path / "url", model, engine="ray"))
    assert_same_index(tmp_path / "here", tmp_path / "url", but=but)
    entry = IndexWriter(tmp_path / "url").entries[0]
    assert entry.file == f"file://{tmp_path}/0.wav"
    assert entry.sha256 == IndexWriter(tmp_path / "here").entries[0].sha256
    prepare_shards_verb(
        read(["prepare", "shards", str(manifest), "--out", str(tmp_path / "shards"), "--no_shuffle"])
    )
    index(settings(tmp_path / "shards", tmp_path / "packed", model, engine="ray"))
    assert_same_index(tmp_path / "here", tmp_path / "packed", but=(*but, "licence"))
    encoded = len(calls)
    assert index(settings(url, tmp_path / "url", model, engine="ray")).num_encoded == 0
    assert index(settings(tmp_path / "shards", tmp_path / "packed", model, engine="ray")).num_encoded == 0
    assert calls[encoded:] == []


def test_what_cannot_be_fetched_costs_itself_alone(
    model: Path, archive: Path, tmp_path: Path, calls: list[list[dict[str, Any]]]
) -> None:
    rows = [
        {"id": name, "audio": f"file://{archive}/{name}", "captions": ["x"]} for name in ("0.wav", "gone.wav")
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = index(settings(manifest, tmp_path / "index", model, engine="ray"))
    assert report.num_clips == 1
    (problem,) = report.problems
    assert "gone.wav" in problem.file
    assert problem.file.startswith("file://")


def test_without_ray_what_is_not_here_is_refused(model: Path, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioIndexError, match="is behind a URL or in a shard: index it with --engine ray"):
        index(settings(f"file://{archive}", tmp_path / "index", model))


def test_a_folder_of_sounds_is_none_of_shards_for_a_tar_in_it(tmp_path: Path) -> None:
    from ml_clap.search.remote_scan import means_shards

    (tmp_path / "backup.tar").write_bytes(b"")
    assert means_shards(tmp_path)
    (tmp_path / "day").mkdir()
    soundfile.write(tmp_path / "day" / "a.wav", np.zeros(100), RATE)
    assert not means_shards(tmp_path)


def test_a_worker_with_another_model_is_an_error(model: Path, archive: Path, tmp_path: Path) -> None:
    index(settings(archive, tmp_path / "here", model))
    other = dataclasses.replace(IndexWriter(tmp_path / "here").settings, fingerprint="another")
    with pytest.raises(ValueError, match="is another model on this machine"):
        index_block.IndexWorker(index_block.BlockSettings(index=other))
