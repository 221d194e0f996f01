"""Latency of a search by the number of vectors, NumPy, faiss and LanceDB, in one run.

    python packages/ml-clap/benchmarks/search.py --rows 10000 100000 --dim 1024 --json search.json

Vectors are random, in 2,000 clusters, near a subspace of `--latent_dim` dimensions: an assumption, on which
NumPy's and faiss-flat's times do not depend, but faiss-ivf's time and recall do. With all dimensions filled
by noise (`--latent_dim 1024`) neighbours are nearly equidistant and no approximate search does well.

Queries are further such vectors: encoding a text comes on top, see docs/search.md. The vectors lie in a .npy
file as in an index and are memory-mapped; one unmeasured search brings them into memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.building import open_approximate
from ml_clap.search.engine import Engine, recall_without_self
from ml_clap.search.engines import FaissEngine, NumpyEngine
from ml_clap.search.lance import mirror
from ml_clap.search.store import Entry, IndexSettings, IndexWriter
from ml_clap.search.vectors import BLOCK_ROWS, NpyLog, open_rows

CENTRES = 2000


@dataclass(frozen=True)
class Row:
    """One measurement."""

    rows: int
    dim: int
    dtype: str
    engine: str
    build_seconds: float
    milliseconds: float
    """One query at a time, fastest of the repeats: what it takes when nothing else runs."""
    median_milliseconds: float
    batch_milliseconds: float
    """Per query, a hundred of them together, fastest of three."""
    recall_at_10: float
    """Against NumPy's exact answer over the same stored vectors."""


class Embeddings:
    """Random unit vectors in clusters: `spread` is the size of a cluster, 1 that of the whole."""

    def __init__(self, dim: int, latent_dim: int, spread: float = 0.7) -> None:
        self.generator = np.random.default_rng(0)
        self.spread = spread
        self.axes = np.linalg.qr(self._normal(dim, latent_dim))[0].T  # (latent_dim, dim)
        self.centres = self._normal(CENTRES, latent_dim)

    def draw(self, rows: int) -> np.ndarray:
        """(rows, dim) float32."""
        latent_dim, dim = self.axes.shape
        centres = self.centres[self.generator.integers(0, CENTRES, rows)]
        vectors = (centres + self.spread * self._normal(rows, latent_dim)) @ self.axes
        vectors += 0.1 * np.float32(np.sqrt(latent_dim / dim)) * self._normal(rows, dim)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _normal(self, rows: int, columns: int) -> np.ndarray:
        return self.generator.standard_normal((rows, columns), np.float32)


def write_vectors(path: Path, rows: int, dim: int, latent_dim: int, dtype: str) -> np.ndarray:
    """Random vectors in a file, and (100, dim) queries like them."""
    embeddings = Embeddings(dim, latent_dim)
    log = NpyLog.create(path, np.dtype(dtype), (dim,))
    while log.rows < rows:
        log.append(embeddings.draw(min(20_000, rows - log.rows)))
    log.close()
    return embeddings.draw(100)


def measure(engine: Engine, queries: np.ndarray, repeats: int) -> tuple[list[float], float, np.ndarray]:
    """Seconds of each repeat of one query, seconds per query of all together, rows found for those."""
    engine.search(queries[:1], 10)
    times = []
    for number in range(repeats):
        began = time.perf_counter()
        engine.search(queries[number % len(queries)][None], 10)
        times.append(time.perf_counter() - began)
    batches = []
    for _ in range(3):
        began = time.perf_counter()
        _, rows = engine.search(queries, 10)
        batches.append((time.perf_counter() - began) / len(queries))
    return times, min(batches), rows


def run(rows: int, arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """Every engine on one set of vectors."""
    dim, dtype = arguments.dim, arguments.dtype
    queries = write_vectors(folder / "vectors.npy", rows, dim, arguments.latent_dim, dtype)
    vectors = open_rows(folder / "vectors.npy")
    makers: dict[str, Callable[[], Engine]] = {
        "numpy": lambda: NumpyEngine(vectors),
        "faiss-flat": lambda: FaissEngine.flat(vectors),
        "faiss-ivf": lambda: open_approximate(vectors, folder / "faiss-ivf", "vectors.npy", "ivf"),
        "faiss-hnsw": lambda: open_approximate(vectors, folder / "faiss-hnsw", "vectors.npy", "hnsw"),
    }
    makers |= {
        "lancedb-flat": lambda: copy_to_lance(folder, vectors, flat_rows=rows),
        "lancedb-ivf": lambda: copy_to_lance(folder, vectors, flat_rows=0),
    }
    exact: np.ndarray | None = None
    measured = []
    for name in arguments.engines:
        began = time.perf_counter()
        engine = makers[name]()
        built = time.perf_counter() - began
        single, batch, found = measure(engine, queries, arguments.repeats)
        exact = found if exact is None else exact
        recall = recall_without_self(found, exact, np.full(len(queries), -1))
        measured.append(
            Row(
                rows,
                dim,
                dtype,
                name,
                built,
                1000 * min(single),
                1000 * statistics.median(single),
                1000 * batch,
                recall,
            )
        )
        del engine
    return measured


def copy_to_lance(folder: Path, vectors: np.ndarray, *, flat_rows: int) -> Engine:
    """An index of these vectors, a clip each, copied to LanceDB."""
    made = Path(tempfile.mkdtemp(dir=folder))
    settings = IndexSettings(
        model="random",
        fingerprint="random",
        dim=vectors.shape[1],
        dtype=vectors.dtype.name,
        window_seconds=10,
        hop_seconds=10,
        source="/",
        root="/",
    )
    writer = IndexWriter.create(made, settings)
    writer.add_entries(Entry(str(n), f"{n}.wav", 1, 1, str(n), 10.0) for n in range(len(vectors)))
    for first in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[first : first + BLOCK_ROWS]
        writer.add_windows([(first + n, 0.0, 10.0) for n in range(len(block))], block)
    writer.close()
    return mirror(AudioIndex.open(made), flat_rows=flat_rows)


def print_rows(measured: list[Row]) -> None:
    """A table in Markdown; the ratio is to NumPy on the same vectors."""
    print(
        "| vectors | dim | stored as | engine | build s | ms/query | median | of 100 | x numpy | recall@10 |"
    )
    print("|--:|--:|---|---|--:|--:|--:|--:|--:|--:|")
    for row in measured:
        numpy = next(each for each in measured if each.rows == row.rows and each.engine == "numpy")
        print(
            f"| {row.rows:,} | {row.dim} | {row.dtype} | {row.engine} | {row.build_seconds:.1f} "
            f"| {row.milliseconds:.2f} | {row.median_milliseconds:.2f} | {row.batch_milliseconds:.2f} "
            f"| {numpy.milliseconds / row.milliseconds:.1f} | {row.recall_at_10:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--latent_dim", type=int, default=64, help="dimensions that the vectors really fill")
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--engines", nargs="+", default=["numpy", "faiss-flat", "faiss-ivf"])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where to write the vectors; default: a temporary folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.engines[0] != "numpy":
        parser.error("--engines must begin with numpy, which the others are compared with")
    measured = []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measured += run(rows, arguments, Path(folder))
    print_rows(measured)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in measured], indent=2) + "\n")


if __name__ == "__main__":
    main()
