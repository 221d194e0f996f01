"""faiss gives NumPy's answers; its approximate form says how good it is and follows the vectors."""

from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from ml_clap.checks import check_index, check_search
from ml_clap.config.index import IndexConfig
from ml_clap.config.search import SearchConfig
from ml_clap.search import engines
from ml_clap.search.engine import recall_without_self
from ml_clap.search.engines import FaissEngine, NumpyEngine, make_engine

faiss = pytest.importorskip("faiss")


def clustered(rows: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(40, dim))
    noise = 0.3 * generator.normal(size=(rows, dim))
    vectors: np.ndarray = np.take(centres, generator.integers(0, 40, rows), axis=0) + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_faiss_flat_equals_numpy(dtype: str) -> None:
    vectors = clustered(2000).astype(dtype)
    queries = clustered(7, seed=1)
    scores, rows = NumpyEngine(vectors).search(queries, 20)
    faiss_scores, faiss_rows = FaissEngine.flat(vectors).search(queries, 20)
    np.testing.assert_allclose(faiss_scores, scores, atol=1e-6)
    np.testing.assert_array_equal(faiss_rows, rows)


def test_auto_takes_numpy_below_the_size_where_faiss_pays(tmp_path: Path) -> None:
    assert isinstance(make_engine("auto", clustered(100), tmp_path, "v"), NumpyEngine)


def test_approximate_index_finds_almost_all_and_says_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "FLAT_ROWS", 1000)
    vectors, queries = clustered(4000), clustered(50, seed=1)
    engine = make_engine("auto", vectors, tmp_path, "v")
    assert "approximate: recall@10 0.9" in engine.description or "recall@10 1.0" in engine.description
    _, exact = NumpyEngine(vectors).search(queries, 10)
    _, found = engine.search(queries, 10)
    assert recall_without_self(found, exact, np.full(50, -1)) > 0.95


def test_recall_leaves_the_query_itself_out() -> None:
    found, exact = np.array([[5, 1, 9]]), np.array([[5, 1, 2]])
    assert recall_without_self(found, exact, np.array([5])) == 0.5


def test_faiss_asked_for_but_not_installed_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"ml-clap\[faiss\]"):
        make_engine("faiss", clustered(10), tmp_path, "v")


def test_every_engine_is_checked_before_the_work(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "index.json").touch()
    (tmp_path / "a.wav").touch()
    for engine in get_args(get_type_hints(IndexConfig)["engine"]):
        check_index(IndexConfig(source=tmp_path, out=tmp_path / "index", engine=engine))
    for engine in get_args(get_type_hints(SearchConfig)["engine"]):
        check_search(SearchConfig(index=tmp_path / "index", query=("a",), engine=engine))
