"""An approximate index of more vectors than one would hold in memory: time, memory and recall, in one run.

    python packages/ml-clap/benchmarks/past_memory.py --rows 2000000 --dim 256 --json past_memory.json

Builds, searches, adds a hundredth, takes a hundredth out, and searches among half of the vectors. Memory is
what the process has of its own (RssAnon, sampled every 5 ms): mapped files are the system's cache, which it
gives up where memory is short. The vectors are those of `search.py`: random, in clusters, near a subspace of
64 dimensions, on which the recall depends. Times of single queries alternate with NumPy's exact search.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from ml_clap.search.approximate import ApproximateEngine
from ml_clap.search.building import open_approximate
from ml_clap.search.engine import Selection, recall_without_self
from ml_clap.search.engines import NumpyEngine
from ml_clap.search.vectors import NpyLog, open_rows, search_exact
from search import Embeddings


def private_bytes() -> int:
    """Memory of the process's own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise OSError("no RssAnon in /proc/self/status: this runs on Linux")


def watched(work: Callable[[], Any]) -> tuple[Any, float, int]:
    """What some work gives, its seconds, and the most memory that it took beyond what there was."""
    before, peak, is_over = private_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.005):
            peak = max(peak, private_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.perf_counter()
    try:
        done = work()
    finally:
        seconds = time.perf_counter() - began
        is_over.set()
        thread.join()
    return done, seconds, max(0, peak - before)


def recall_of(engine: ApproximateEngine, queries: np.ndarray, selection: Selection | None = None) -> float:
    """Share of the exact ten best of vectors that are not stored."""
    among = None if selection is None else selection.rows
    _, exact = search_exact(queries, engine.vectors, 10, among=among)
    _, found = engine.search(queries, 10, selection)
    return recall_without_self(found, exact, np.full(len(queries), -1))


def times(engine: ApproximateEngine, vectors: np.ndarray, queries: np.ndarray) -> tuple[float, float]:
    """Median milliseconds of a query, ours and NumPy's, in turns."""
    exact, ours, theirs = NumpyEngine(vectors), [], []
    for number in range(11):
        query = queries[number][None]
        for one, kept in ((engine, ours), (exact, theirs)):
            began = time.perf_counter()
            one.search(query, 10)
            kept.append(1000 * (time.perf_counter() - began))
    return statistics.median(ours[1:]), statistics.median(theirs[1:])


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every step on one set of vectors."""
    rows, dim = arguments.rows, arguments.dim
    embeddings = Embeddings(dim, min(64, dim))
    log = NpyLog.create(folder / "vectors-0.npy", np.dtype(arguments.dtype), (dim,))
    more = rows // 100
    while log.rows < rows + more:
        log.append(embeddings.draw(min(20_000, rows + more - log.rows)))
    log.close()
    queries = embeddings.draw(100)
    vectors = open_rows(folder / "vectors-0.npy")
    place, kind = folder / "faiss", arguments.kind
    faiss.omp_set_num_threads(arguments.threads)

    steps: dict[str, Any] = {}
    engine, seconds, peak = watched(lambda: open_approximate(vectors[:rows], place, "v-0", kind))
    size = sum(path.stat().st_size for path in place.iterdir())
    steps["build"] = {"seconds": seconds, "megabytes": peak / 1e6, "recall_said": engine.state.recall_at_10}
    steps["build"]["recall"] = recall_of(engine, queries)
    del engine
    engine, seconds, peak = watched(lambda: open_approximate(vectors[:rows], place, "v-0", kind))
    steps["open"] = {"seconds": seconds, "megabytes": peak / 1e6}
    _, seconds, peak = watched(lambda: [engine.search(one[None], 10) for one in queries])
    ours, theirs = times(engine, vectors[:rows], queries)
    steps["search"] = {"seconds": ours / 1000, "megabytes": peak / 1e6, "numpy_seconds": theirs / 1000}
    half = Selection(np.flatnonzero(np.arange(rows) % 2), "")
    if len(half.rows) > 200_000:
        _, seconds, peak = watched(lambda: [engine.search(one[None], 10, half) for one in queries])
        steps["search among half"] = {
            "seconds": seconds / len(queries),
            "megabytes": peak / 1e6,
            "recall": recall_of(engine, queries, half),
        }
    del engine
    engine, seconds, peak = watched(lambda: open_approximate(vectors, place, "v-0", kind))
    steps["add 1 %"] = {"seconds": seconds, "megabytes": peak / 1e6, "recall_said": engine.state.recall_at_10}
    steps["add 1 %"]["recall"] = recall_of(engine, queries)
    del engine
    kept = np.arange(len(vectors)) % 100 != 0
    shorter = NpyLog.create(folder / "vectors-1.npy", vectors.dtype, (dim,))
    for first in range(0, len(vectors), 16_384):
        shorter.append(vectors[first : first + 16_384][kept[first : first + 16_384]])
    shorter.close()
    fewer = open_rows(folder / "vectors-1.npy")
    engine, seconds, peak = watched(lambda: open_approximate(fewer, place, "v-1", kind))
    steps["remove 1 %"] = {"seconds": seconds, "megabytes": peak / 1e6}
    steps["remove 1 %"] |= {"recall_said": engine.state.recall_at_10, "recall": recall_of(engine, queries)}
    return {
        "rows": rows,
        "dim": dim,
        "dtype": arguments.dtype,
        "kind": kind,
        "engine": engine.description,
        "effort": engine.state.effort,
        "segments": len(engine.state.segments),
        "vectors_megabytes": rows * dim * vectors.dtype.itemsize / 1e6,
        "index_megabytes": size / 1e6,
        "peak_rss_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "steps": steps,
    }


def print_result(result: dict[str, Any]) -> None:
    """A table in Markdown."""
    whole = result["vectors_megabytes"]
    print(
        f"{result['rows']:,} vectors of {result['dim']} ({result['dtype']}, {whole:,.0f} MB), "
        f"{result['engine']}, {result['index_megabytes']:,.0f} MB in {result['segments']} segments, "
        f"effort {result['effort']}\n"
    )
    print("| step | seconds | own memory MB | of the vectors | recall@10 said | of new queries |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, step in result["steps"].items():
        said, found = (f"{step[key]:.3f}" if key in step else "" for key in ("recall_said", "recall"))
        print(
            f"| {name} | {step['seconds']:.4g} | {step['megabytes']:,.0f} "
            f"| {step['megabytes'] / whole:.2f} | {said} | {found} |"
        )
    step = result["steps"]["search"]
    print(f"\na query: {step['numpy_seconds'] / step['seconds']:.1f} times as fast as NumPy's exact search")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--kind", choices=["ivf", "hnsw"], default="ivf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to write the vectors; default: a temporary folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = run(arguments, Path(folder))
    print_result(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
