"""The approximate faiss index is mapped, follows its vectors, and says how good it is."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ml_clap.doctor.index import index_findings
from ml_clap.lock import sole_writer
from ml_clap.search import approximate, building, engines
from ml_clap.search.approximate import ApproximateEngine, rank_exactly, read_state
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.building import hash_rows, open_approximate
from ml_clap.search.engine import Selection, recall_without_self
from ml_clap.search.engines import NumpyEngine
from ml_clap.search.segments import Kind, choose_lists
from ml_clap.search.store import Entry, IndexSettings, IndexWriter
from ml_clap.search.vectors import match_hashes, search_exact

faiss = pytest.importorskip("faiss")
KINDS: tuple[Kind, ...] = ("ivf", "hnsw")


def clustered(rows: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(40, dim))
    vectors: np.ndarray = centres[generator.integers(0, 40, rows)] + 0.5 * generator.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall(engine: ApproximateEngine, queries: np.ndarray, among: np.ndarray | None = None) -> float:
    selection = None if among is None else Selection(among, "")
    _, exact = search_exact(queries, engine.vectors, 10, among=among)
    _, found = engine.search(queries, 10, selection)
    return recall_without_self(found, exact, np.full(len(queries), -1))


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small indexes be searched approximately, in several segments."""
    monkeypatch.setattr(engines, "FLAT_ROWS", 500)
    monkeypatch.setattr(approximate, "FLAT_ROWS", 500)
    monkeypatch.setattr(building, "SEGMENT_BYTES", 40 * 1500)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_hits_have_exact_scores_and_the_recall_is_measured(tmp_path: Path, kind: Kind, dtype: str) -> None:
    vectors, queries = clustered(4000).astype(dtype), clustered(50, seed=1)
    engine = open_approximate(vectors, tmp_path / "faiss", "v-0", kind)
    scores, rows = engine.search(queries, 10)
    np.testing.assert_allclose(
        scores, np.einsum("qd,qkd->qk", queries, vectors[rows].astype(np.float32)), atol=1e-6
    )
    assert (np.diff(scores, axis=1) <= 0).all()
    assert recall(engine, queries) > 0.97
    assert engine.state.recall_at_10 >= 0.99
    assert f"recall@10 {engine.state.recall_at_10:.3f} on 100 stored vectors" in engine.description
    assert engine.description.startswith(
        f"faiss IVF{choose_lists(4000)},SQ8," if kind == "ivf" else "faiss HNSW32,SQ8,"
    )


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_added_to_and_taken_from_without_being_built_anew(tmp_path: Path, kind: Kind) -> None:
    folder, vectors, queries = tmp_path / "faiss", clustered(5000), clustered(40, seed=1)
    first = open_approximate(vectors[:3000], folder, "v-0", kind).state
    grown = open_approximate(vectors, folder, "v-0", kind)
    # What was there stays as it is, file by file, and so do the centres.
    assert grown.state.trained == first.trained
    assert {one.segment for one in first.segments} <= {one.segment for one in grown.state.segments}
    assert sum(one.num_live for one in grown.state.segments) == 5000
    assert recall(grown, queries) > 0.97
    _, newest = grown.search(vectors[4900:], 1)
    assert (newest[:, 0] == np.arange(4900, 5000)).mean() > 0.97
    # Every fifth vector leaves: the rows of the others are others now.
    kept = np.arange(5000) % 5 != 0
    shrunk = open_approximate(vectors[kept], folder, "v-1", kind)
    assert [one.segment for one in shrunk.state.segments] == [one.segment for one in grown.state.segments]
    assert sum(one.num_removed for one in shrunk.state.segments) == 1000
    assert recall(shrunk, queries) > 0.97
    assert shrunk.search(queries, 10)[1].max() < 4000
    # Nothing changed: nothing is written.
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert open_approximate(vectors[kept], folder, "v-1", kind).state == shrunk.state
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    # Both at once; and no file is left that the state does not name.
    mixed = np.concatenate([vectors[kept][500:], clustered(700, seed=2)])
    engine = open_approximate(mixed, folder, "v-2", kind)
    assert sum(one.num_live for one in engine.state.segments) == len(mixed) == engine.state.rows
    assert recall(engine, queries) > 0.97
    assert len(list(folder.iterdir())) == 2 + 3 * len(engine.state.segments)


@pytest.mark.usefixtures("few_rows")
def test_small_additions_are_gathered_and_half_empty_segments_made_again(tmp_path: Path) -> None:
    folder, vectors = tmp_path / "faiss", clustered(4000)
    for rows in range(3000, 4001, 50):
        engine = open_approximate(vectors[:rows], folder, "v-0", "ivf")
    assert len(engine.state.segments) <= 8  # 20 additions
    kept = np.concatenate([vectors[:10], vectors[1200:]])
    engine = open_approximate(kept, folder, "v-1", "ivf")
    assert all(2 * one.num_removed <= one.num_vectors for one in engine.state.segments)
    assert recall(engine, clustered(20, seed=1)) > 0.97


@pytest.mark.parametrize(
    "change", [lambda v: clustered(len(v), seed=7), lambda v: v[:, :16].copy(), lambda v: np.tile(v, (5, 1))]
)
def test_other_vectors_or_many_more_are_learnt_anew(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    vectors = clustered(1500)
    first = open_approximate(vectors, tmp_path / "faiss", "v-0", "ivf")
    other = change(vectors)
    engine = open_approximate(other, tmp_path / "faiss", "v-0", "ivf")
    assert engine.state.trained != first.state.trained
    assert recall(engine, other[:20]) > 0.97


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_comes_before_the_ranking(tmp_path: Path, kind: Kind) -> None:
    vectors, queries = clustered(4000), clustered(30, seed=1)
    engine = open_approximate(vectors, tmp_path / "faiss", "v-0", kind)
    few, many = np.arange(0, 4000, 20), np.flatnonzero(np.arange(4000) % 4 == 0)
    exact, found = (
        NumpyEngine(vectors).search(queries, 10, Selection(few, "")),
        engine.search(queries, 10, Selection(few, "")),
    )
    np.testing.assert_array_equal(found[1], exact[1])
    _, rows = engine.search(queries, 10, Selection(many, ""))
    assert (rows % 4 == 0).all()
    assert recall(engine, queries, many) > 0.97


def test_more_is_asked_for_than_there_is(tmp_path: Path) -> None:
    vectors = clustered(300)
    engine = open_approximate(vectors, tmp_path / "faiss", "v-0", "ivf")
    scores, rows = engine.search(vectors[:2], 1000)
    assert rows.shape == (2, 300)
    assert ((rows >= 0) == np.isfinite(scores)).all()
    assert rows[0, 0] == 0


def test_a_damaged_one_is_built_again(tmp_path: Path) -> None:
    folder, vectors = tmp_path / "faiss", clustered(1000)
    state = open_approximate(vectors, folder, "v-0", "ivf").state
    (folder / state.segments[0].segment).unlink()
    assert recall(open_approximate(vectors, folder, "v-0", "ivf"), vectors[:20]) > 0.97
    state = open_approximate(vectors, folder, "v-0", "ivf").state
    with (folder / state.segments[0].segment).open("r+b") as file:
        file.truncate(20_000)
    assert recall(open_approximate(vectors, folder, "v-0", "ivf"), vectors[:20]) > 0.97
    (folder / "state.json").write_text("{}")
    assert recall(open_approximate(vectors, folder, "v-0", "ivf"), vectors[:20]) > 0.97


@pytest.mark.usefixtures("few_rows")
def test_a_change_that_is_cut_short_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, vectors = tmp_path / "faiss", clustered(4000)
    first = open_approximate(vectors[:2000], folder, "v-0", "ivf").state
    written, write = [], building.write_segment

    def killed(*arguments: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(arguments)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(building, "write_segment", killed)
    with pytest.raises(KeyboardInterrupt):
        open_approximate(vectors, folder, "v-0", "ivf")
    monkeypatch.setattr(building, "write_segment", write)
    assert read_state(folder) == first
    assert open_approximate(vectors[:2000], folder, "v-0", "ivf").state == first
    engine = open_approximate(vectors, folder, "v-0", "ivf")
    assert recall(engine, vectors[3000:3020]) > 0.97
    assert len(list(folder.iterdir())) == 2 + 3 * len(engine.state.segments)


def test_equal_vectors_are_matched_one_by_one() -> None:
    old = np.array([3, 1, 3, 3, 2], np.uint64)
    assert match_hashes(old, np.array([3, 2, 3, 4], np.uint64)).tolist() == [0, -1, 2, -1, 1]
    rows = clustered(5)
    assert len(np.unique(hash_rows(rows))) == 5
    np.testing.assert_array_equal(hash_rows(rows[2:3]), hash_rows(rows)[2:3])


def test_candidates_are_ranked_by_the_vectors_and_equal_ones_by_their_rows() -> None:
    vectors = np.array([[1, 0], [0.5, 0], [1, 0], [0, 1]], np.float16)
    scores, rows = rank_exactly(np.array([[1, 0]], np.float32), np.array([[2, -1, 1, 0]]), vectors, 5)
    assert rows.tolist() == [[0, 2, 1, -1, -1]]
    assert scores[0, :3].tolist() == [1, 1, 0.5]


def make_index(folder: Path, vectors: np.ndarray) -> None:
    folder.mkdir()
    settings = IndexSettings(
        model="m",
        fingerprint="f",
        dim=vectors.shape[1],
        dtype="float32",
        window_seconds=1,
        hop_seconds=1,
        source=str(folder),
        root=str(folder),
        complete=True,
    )
    writer = IndexWriter.create(folder, settings)
    writer.add_entries(
        Entry(str(n), f"{n}.wav", 1, 1, str(n), 1.0, metadata={"take": n % 2}) for n in range(len(vectors))
    )
    writer.add_windows([(n, 0.0, 1.0) for n in range(len(vectors))], vectors)
    writer.close()


@pytest.mark.usefixtures("few_rows")
def test_an_index_keeps_it_and_the_doctor_says_how_good_it_is(tmp_path: Path) -> None:
    folder, vectors = tmp_path / "index", clustered(1200)
    make_index(folder, vectors)
    index = AudioIndex.open(folder)
    engine = index.engine("faiss")
    assert [hits[0].id for hits in index.nearest(vectors[:5], 3, engine="faiss")] == list("01234")
    lines = [finding.line() for finding in index_findings(folder)]
    assert any(line.startswith("ok") and engine.description in line for line in lines)
    writer = IndexWriter(folder)
    writer.replace_entries([(n, one) for n, one in enumerate(writer.entries) if n >= 100])
    writer.close()
    (note,) = [
        one for one in index_findings(folder) if "of 1,200 windows, before the last change" in one.text
    ]
    assert note.command.endswith("--engine faiss")
    changed = AudioIndex.open(folder)
    assert [hits[0].id for hits in changed.nearest(vectors[100:105], 3, engine="faiss")] == [
        str(n) for n in range(100, 105)
    ]
    state = read_state(folder / "faiss-ivf")
    assert state is not None
    assert (state.rows, sum(one.num_removed for one in state.segments)) == (1100, 100)


@pytest.mark.usefixtures("few_rows")
def test_a_search_meanwhile_is_exact_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, vectors = tmp_path / "index", clustered(1000)
    make_index(folder, vectors)
    index = AudioIndex.open(folder)
    with sole_writer(folder / "faiss-ivf", folder=True):
        assert index.engine("auto").description == "numpy, exact"
    assert "until then the search is exact, and slower" in caplog.text
    assert "approximate" in index.engine("auto").description


@pytest.mark.usefixtures("few_rows")
def test_an_archive_that_cannot_be_written_to_is_searched_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, vectors = tmp_path / "index", clustered(1000)
    make_index(folder, vectors)
    (folder / "faiss-ivf").touch()  # no folder can be made there: also where root runs the tests
    engine = AudioIndex.open(folder).engine("faiss")
    assert "could not keep the faiss index" in caplog.text
    assert isinstance(engine, ApproximateEngine)
    assert recall(engine, vectors[:20]) > 0.97


BOUNDED = """
    import sys, threading, time
    from pathlib import Path
    import numpy as np
    from ml_clap.search import building
    from ml_clap.search.vectors import open_rows

    def private():
        for line in open("/proc/self/status"):
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024

    def watch():
        while True:
            peaks.append(private())
            time.sleep(0.005)

    building.SEGMENT_BYTES = 4 * 2**20
    import faiss
    vectors = open_rows(Path(sys.argv[1]))
    before, peaks = private(), []
    threading.Thread(target=watch, daemon=True).start()
    engine = building.open_approximate(vectors, Path(sys.argv[2]), "v-0", "ivf")
    engine.search(np.asarray(vectors[:50]), 10)
    print(max(peaks) - before, len(engine.state.segments), engine.state.recall_at_10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_a_fraction_of_the_vectors(tmp_path: Path) -> None:
    vectors = clustered(100_000, dim=128)  # 51 MB
    np.save(tmp_path / "vectors.npy", vectors)
    words = [
        sys.executable,
        "-c",
        textwrap.dedent(BOUNDED),
        str(tmp_path / "vectors.npy"),
        str(tmp_path / "f"),
    ]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert int(said[0]) < vectors.nbytes / 2  # 16 MB of it the sample of the centres, and its copy
    assert int(said[1]) >= 3
    assert float(said[2]) > 0.98
