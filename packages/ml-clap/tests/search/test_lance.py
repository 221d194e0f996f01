"""The LanceDB copy gives the exact search's hits, follows the index, and filters as the open format does."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_clap.checks import check_export_index, check_search
from ml_clap.config.export_index import ExportIndexConfig
from ml_clap.config.search import SearchConfig
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.engine import recall_without_self
from ml_clap.search.export import export_index, export_index_verb
from ml_clap.search.filters import Filter
from ml_clap.search.lance import STATE_FILE, TABLE, mirror
from ml_clap.search.store import AudioIndexError, Entry, IndexSettings, IndexWriter

lancedb = pytest.importorskip("lancedb")
DIM = 16


def settings(**changes: object) -> IndexSettings:
    plain = {"model": "m", "fingerprint": "f", "dim": DIM, "dtype": "float32", "window_seconds": 1}
    return IndexSettings(**(plain | {"hop_seconds": 1, "source": "/r", "root": "/r"} | changes))  # type: ignore[arg-type]


def vectors_of(rows: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, DIM))
    vectors = centres[generator.integers(0, 20, rows)] + 0.3 * generator.normal(size=(rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def entry(number: int) -> Entry:
    metadata: dict[str, object] = {"take": number % 7, "date": f"2026-01-{number % 28 + 1:02d}"}
    if number % 3 == 0:
        metadata["tags"] = ["wet", "near"] if number % 2 else "wet"
    if number % 5 == 0:
        metadata |= {"is loud": number % 2 == 0}
    label = None if number % 4 == 0 else "dog's" if number % 4 == 1 else "rain"
    name = f"folder{number % 3}/{number} \udce9.wav"
    return Entry(
        str(number), name, 1, 1, f"{number}", number / 10, {"fra_Latn": ["été"]}, label, metadata=metadata
    )


def fill(writer: IndexWriter, numbers: range) -> None:
    first = len(writer.entries)
    writer.add_entries([entry(number) for number in numbers])
    rows = [(first + place, float(part), part + 1.0) for place in range(len(numbers)) for part in (0, 1)]
    writer.add_windows(rows, vectors_of(len(rows), seed=numbers.start))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "index"
    made.mkdir()
    writer = IndexWriter.create(made, settings())
    fill(writer, range(100))
    writer.close()
    return made


QUERIES = vectors_of(5, seed=9)


def test_hits_are_those_of_the_exact_search(folder: Path) -> None:
    index = AudioIndex.open(folder)
    with pytest.raises(ValueError, match="open the LanceDB copy first"):
        index.nearest(QUERIES, 7, engine="lancedb")
    mirror(index)
    ours, theirs = index.nearest(QUERIES, 7), index.nearest(QUERIES, 7, engine="lancedb")
    assert [[hit.id for hit in hits] for hits in ours] == [[hit.id for hit in hits] for hits in theirs]
    np.testing.assert_allclose(
        [[hit.score for hit in hits] for hits in ours],
        [[hit.score for hit in hits] for hits in theirs],
        atol=1e-6,
    )
    assert index.engine("lancedb").description == "lancedb, exact, version 1"
    everything = index.nearest(QUERIES, 1000, all_windows=True, engine="lancedb")
    assert [len(hits) for hits in everything] == [200] * 5


@pytest.mark.parametrize(
    ("where", "folders"),
    [
        (["label=dog's"], []),
        (["label!=dog's", "take<=3"], []),
        (["duration>5.05"], []),
        (["take!=3"], []),
        (["tags=near"], []),
        (["tags!=wet"], []),
        (["date>=2026-01-20", "is loud=true"], []),
        (["is loud!=true"], []),
        (["file=folder1/1 \udce9.wav"], []),
        ([], ["folder2"]),
        (["label=rain"], ["/r/folder0", "folder1"]),
        ([], ["."]),
        (["id=none"], []),
    ],
    ids=str,
)
def test_a_filter_means_the_same_in_sql(folder: Path, where: list[str], folders: list[str]) -> None:
    index, keep = AudioIndex.open(folder), Filter.parse(where, folders)
    mirror(index)
    ours = index.nearest(QUERIES[:1], 200, all_windows=True, keep=keep)[0]
    theirs = index.nearest(QUERIES[:1], 200, all_windows=True, keep=keep, engine="lancedb")[0]
    assert [(hit.id, hit.start) for hit in ours] == [(hit.id, hit.start) for hit in theirs]
    assert len(ours) == 2 * len(keep.select(index.entries, "/r"))


def test_the_copy_follows_the_index_and_keeps_versions(folder: Path) -> None:
    table = mirror(AudioIndex.open(folder)).table
    assert mirror(AudioIndex.open(folder)).state.version == table.version == 1
    writer = IndexWriter(folder)
    fill(writer, range(100, 120))
    writer.close()
    grown = mirror(AudioIndex.open(folder))
    assert (grown.table.count_rows(), grown.state.version) == (240, 2)
    writer = IndexWriter(folder)
    kept = [(number, one) for number, one in enumerate(writer.entries) if number % 2]
    writer.replace_entries(kept)
    writer.close()
    shrunk = mirror(AudioIndex.open(folder))
    assert (shrunk.table.count_rows(), shrunk.state.generation) == (120, 1)
    writer = IndexWriter(folder)
    renamed = [(number, Entry(**{**vars(one), "label": "new"})) for number, one in enumerate(writer.entries)]
    writer.replace_entries(renamed)  # the records alone: the vectors stay
    writer.close()
    index = AudioIndex.open(folder)
    mirror(index)
    (hits,) = index.nearest(QUERIES[:1], 3, engine="lancedb", keep=Filter.parse(["label=new"]))
    assert len(hits) == 3
    opened = lancedb.connect(str(folder / "lance")).open_table(TABLE)
    assert [one["version"] for one in opened.list_versions()] == [1, 2, 3, 4]
    opened.checkout(1)
    assert opened.count_rows() == 200
    assert json.loads((folder / STATE_FILE).read_text())["rows"] == 120


def ids_of(index: AudioIndex) -> list[list[tuple[str, float]]]:
    """Hits of the copy, which must be those of the exact search."""
    mirror(index)
    theirs, ours = (
        index.nearest(QUERIES, 400, all_windows=True, engine=name) for name in ("lancedb", "numpy")
    )  # type: ignore[arg-type]
    assert [[(hit.id, hit.start) for hit in hits] for hits in theirs] == [
        [(hit.id, hit.start) for hit in hits] for hits in ours
    ]
    return [[(hit.id, hit.start) for hit in hits] for hits in theirs]


def test_what_was_taken_out_is_deleted_and_the_rest_stays_where_it_is(folder: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path / 'store'}"
    mirror(AudioIndex.open(folder), place)
    data = tmp_path / "store" / f"{TABLE}.lance" / "data"
    first = {path.name: path.stat().st_mtime_ns for path in data.iterdir()}

    def change(keep: range, changed: int | None = None, new: range | None = None) -> None:
        writer = IndexWriter(folder)
        kept = [(n, one) for n, one in enumerate(writer.entries) if n in keep]
        if changed is not None:
            kept[changed] = (kept[changed][0], Entry(**{**vars(kept[changed][1]), "label": "new"}))
        writer.replace_entries(kept)
        if new is not None:
            fill(writer, new)
        writer.close()

    change(range(20, 100))
    before = ids_of(AudioIndex.open(folder))
    assert len(before[0]) == 160
    # The vectors that stay are in the same files: LanceDB notes beside them which rows are gone.
    assert {path.name: path.stat().st_mtime_ns for path in data.iterdir()} == first
    change(range(80), changed=3, new=range(100, 110))  # one relabelled, ten more
    index = AudioIndex.open(folder)
    assert len(ids_of(index)[0]) == 180
    assert first.items() < {path.name: path.stat().st_mtime_ns for path in data.iterdir()}.items()
    for condition in ("label=new", "label=rain"):
        keep = Filter.parse([condition])
        (ours,) = index.nearest(QUERIES[:1], 400, all_windows=True, keep=keep)
        (theirs,) = index.nearest(QUERIES[:1], 400, all_windows=True, keep=keep, engine="lancedb")
        assert [(hit.id, hit.start, hit.label) for hit in theirs] == [
            (hit.id, hit.start, hit.label) for hit in ours
        ]
    # A clip that comes back is copied again: its rows of before are deleted for good.
    change(range(10, 90))
    ids_of(AudioIndex.open(folder))
    change(range(80), new=range(100, 101))
    assert len(ids_of(AudioIndex.open(folder))[0]) == 162


def test_a_table_that_was_changed_is_made_again_and_a_foreign_one_is_left_alone(
    folder: Path, tmp_path: Path
) -> None:
    mirror(AudioIndex.open(folder)).table.delete("row < 50")
    assert mirror(AudioIndex.open(folder)).table.count_rows() == 200
    place = str(tmp_path / "theirs")
    lancedb.connect(place).create_table(TABLE, [{"a": 1}])
    with pytest.raises(AudioIndexError, match="holds a table windows that is no index"):
        mirror(AudioIndex.open(folder), place)
    other = tmp_path / "other"
    other.mkdir()
    writer = IndexWriter.create(other, settings(fingerprint="another"))
    fill(writer, range(3))
    writer.close()
    with pytest.raises(AudioIndexError, match="the copy of an index of another model"):
        mirror(AudioIndex.open(other), str(folder / "lance"))
    assert mirror(AudioIndex.open(folder)).table.count_rows() == 200


def test_a_place_is_a_folder_or_a_url_and_is_remembered(folder: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'store'}"
    mirror(AudioIndex.open(folder), url)
    assert mirror(AudioIndex.open(folder)).description == "lancedb, exact, version 1"
    assert not (folder / "lance").exists()
    assert (tmp_path / "store" / f"{TABLE}.lance").is_dir()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_above_the_limit_the_recall_is_measured_and_stated(tmp_path: Path, dtype: str) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    writer = IndexWriter.create(folder, settings(dtype=dtype))
    fill(writer, range(600))
    writer.close()
    index = AudioIndex.open(folder)
    engine = mirror(index, flat_rows=1000)
    assert engine.state.num_lists > 0
    assert (
        f"approximate: recall@10 {engine.state.recall_at_10:.3f} on 100 stored vectors" in engine.description
    )
    _, exact = index.engine("numpy").search(QUERIES, 10)
    _, found = engine.search(QUERIES, 10)
    assert recall_without_self(found, exact, np.full(5, -1)) > 0.9
    selection = index.select(Filter.parse(["take=3", "label=rain"]))  # exact, by LanceDB's own filter
    assert selection is not None
    np.testing.assert_array_equal(
        engine.search(QUERIES, 10, selection)[1], index.engine("numpy").search(QUERIES, 10, selection)[1]
    )
    writer = IndexWriter(folder)
    fill(writer, range(600, 640))
    writer.close()
    grown = mirror(AudioIndex.open(folder), flat_rows=1000)
    assert (grown.table.count_rows(), grown.state.num_lists) == (1280, engine.state.num_lists)
    newest = vectors_of(80, seed=600)[:20]
    assert (grown.search(newest, 1)[1][:, 0] >= 1200).mean() > 0.9


def test_an_index_becomes_a_parquet_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet

    out = tmp_path / "windows.parquet"
    config = ExportIndexConfig(index=folder, out=out)
    check_export_index(config)
    export_index_verb(config)
    assert "200 windows, " in capsys.readouterr().out
    table = pyarrow.parquet.read_table(out)
    assert table.num_rows == 200
    assert table.schema.metadata[b"ml_clap.fingerprint"] == b"f"
    row = table.slice(6, 1).to_pylist()[0]
    index = AudioIndex.open(folder)
    np.testing.assert_array_equal(np.array(row["vector"], np.float32), index.vectors[6])
    assert (row["id"], row["start"], row["end"], row["label"]) == ("3", 0.0, 1.0, "rain")
    assert (row["meta_take"], row["meta_tags"], row["meta_is_loud"]) == (3.0, ["wet", "near"], None)
    assert (json.loads(row["captions"]), row["file"]) == ({"fra_Latn": ["été"]}, r"folder0/3 \udce9.wav")
    assert export_index(index, out) == 200  # again: replaced


def test_what_lacks_is_told_in_words(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="say where the table goes"):
        ExportIndexConfig(index=folder)
    with pytest.raises(ValueError, match="--engine lancedb"):
        SearchConfig(index=folder, query=("a",), lance="s3://x/y")
    with pytest.raises(FileNotFoundError, match="is no index"):
        check_export_index(ExportIndexConfig(index=tmp_path, out=tmp_path / "a.parquet"))
    monkeypatch.setattr("ml_clap.search.lance.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"install ml-clap\[lancedb\]"):
        mirror(AudioIndex.open(folder))
    monkeypatch.setattr("ml_clap.command_line.checks.find_spec", lambda name: None, raising=False)
    with pytest.raises(ImportError):
        check_search(SearchConfig(index=folder, query=("a",), engine="lancedb"))
