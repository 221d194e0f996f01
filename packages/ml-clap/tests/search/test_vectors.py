"""The append-only .npy file and the exact search over it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.search.vectors import NpyLog, open_rows, search_exact, top_columns, widen


@pytest.mark.parametrize("has_torch", [True, False])
def test_every_finite_float16_is_widened_exactly(has_torch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_torch:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(2, -1)
    wide = np.empty(halves.shape, np.float32)
    widen(halves, wide)
    np.testing.assert_array_equal(wide.view(np.int32), halves.astype(np.float32).view(np.int32))


def test_a_search_of_float16_vectors_does_without_torch() -> None:
    code = (
        "import sys, numpy as np; from ml_clap.search.vectors import search_exact; "
        "search_exact(np.ones((1, 4), np.float32), np.ones((9, 4), np.float16), 3); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_appended_rows_are_a_numpy_file_at_every_moment(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float16)
    log = NpyLog.create(tmp_path / "v.npy", rows.dtype, (4,))
    assert open_rows(tmp_path / "v.npy").shape == (0, 4)
    for first in range(0, 30, 7):
        log.append(rows[first : first + 7])
        np.testing.assert_array_equal(np.load(tmp_path / "v.npy", mmap_mode="r"), rows[: first + 7])
    log.close()


def test_wrong_width_is_refused(tmp_path: Path) -> None:
    log = NpyLog.create(tmp_path / "v.npy", np.dtype(np.float32), (4,))
    with pytest.raises(ValueError, match=r"expected rows of shape .*4.*got \(2, 5\)"):
        log.append(np.zeros((2, 5), np.float32))


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 300))
def test_rows_survive_a_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "v.npy"
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    log = NpyLog.create(path, rows.dtype, (2,))
    log.append(rows)
    log.close()
    header = path.stat().st_size - rows.nbytes
    with path.open("r+b") as file:
        file.truncate(max(header, path.stat().st_size - cut))
    log = NpyLog(path)
    whole = max(0, rows.nbytes - cut) // 8
    assert log.rows == whole
    log.append(rows[:1])
    np.testing.assert_array_equal(np.load(path), np.concatenate([rows[:whole], rows[:1]]))


def test_bytes_beyond_the_counted_rows_are_dropped(tmp_path: Path) -> None:
    log = NpyLog.create(tmp_path / "v.npy", np.dtype(np.float32), (2,))
    log.append(np.ones((3, 2), np.float32))
    log.close()
    with (tmp_path / "v.npy").open("ab") as file:  # a kill after the rows, before the header counts them
        file.write(b"\x07" * 13)
    log = NpyLog(tmp_path / "v.npy")
    log.append(np.full((1, 2), 2, np.float32))
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy")[:, 0], [1, 1, 1, 2])


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 60),
    queries=st.integers(1, 4),
    k=st.integers(1, 70),
    block=st.integers(1, 70),
    seed=st.integers(0, 10**6),
)
def test_search_equals_a_sort_of_all_scores(rows: int, queries: int, k: int, block: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers: exact products in any order of summing, and many equal scores.
    vectors = generator.integers(-2, 3, (rows, 5)).astype(np.float16)
    wanted = generator.integers(-2, 3, (queries, 5)).astype(np.float32)
    scores, found = search_exact(wanted, vectors, k, block)
    everything = wanted @ vectors.astype(np.float32).T
    order = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found, order)
    np.testing.assert_array_equal(scores, np.take_along_axis(everything, order, 1))


def test_top_columns_of_fewer_columns_than_asked() -> None:
    np.testing.assert_array_equal(top_columns(np.array([[1.0, 3.0, 2.0]]), 5), [[1, 2, 0]])
