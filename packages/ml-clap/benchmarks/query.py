"""What a query costs: from the start of the process to the answer, and when all is loaded.

    python packages/ml-clap/benchmarks/query.py runs/index --queries queries.txt \\
        --towers runs/small runs/small-onnx --json query.json

The first row is the index's own model loaded in full, by torch, where nothing is known of it, the second the
same model where `index`, or a search before, has left its note (`ml_clap.search.known_texts`); `--no_model`
leaves both out, for the first takes long. The others are text towers (`distill`, `project`, `export`) after
their first search. `--windows 2000000 --engine auto` fills the index up with random vectors,
each a clip of its own, and searches that by faiss: what a query costs in a large archive. All are measured
in one run, in turns, so that a busy machine slows all alike; what is told is processor time (user and system)
with one thread, which a busy machine changes little, and the ratio to the first row. A cold query is a whole
`ml-clap search`, a warm one the embedding of one text and the search of the index.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from ml_clap.config.search import SearchConfig
from ml_clap.models.encoding import encode_texts
from ml_clap.models.loading import load_model
from ml_clap.models.tower import open_tower
from ml_clap.models.tower_folder import find_tower
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.known_texts import note_model, open_known
from ml_clap.search.queries import Query, read_queries
from ml_clap.search.store import Entry, IndexWriter
from ml_clap.search.vectors import BLOCK_ROWS
from search import Embeddings

Encode = Callable[[str, str], np.ndarray]
TORCH, MODEL = "model by torch", "model"
"""The index's own model, without a note and with one."""


@dataclass(frozen=True)
class Row:
    """One way to answer; milliseconds of processor time, medians."""

    name: str
    cold: float
    cold_wall: float
    """The same queries by the clock: what else runs on the machine is in it."""
    warm: float
    warm_p90: float
    """Nine of ten warm queries take less."""
    num_cold: int
    num_warm: int


def fill_up(index: AudioIndex, folder: Path, windows: int) -> AudioIndex:
    """A copy of an index with random vectors behind its own, up to a number of windows."""
    settings = dataclasses.replace(index.settings, generation=0)
    writer = IndexWriter.create(folder, settings)
    writer.add_entries(index.entries)
    writer.add_windows(index.spans.tolist(), np.asarray(index.vectors))
    embeddings = Embeddings(settings.dim, min(64, settings.dim))
    while (done := len(writer.entries)) < windows:
        many = min(BLOCK_ROWS, windows - done)
        numbers = writer.add_entries(
            Entry(f"clip-{n}", f"folder/clip-{n}.wav", 1, 1, f"{n:064x}", 10.0)
            for n in range(done, done + many)
        )
        writer.add_windows([(number, 0.0, 10.0) for number in numbers], embeddings.draw(many))
    writer.close()
    return AudioIndex.open(folder)


def cold_query(index: Path, query: Query, tower: str, engine: str) -> tuple[float, float]:
    """Processor and clock seconds of one command."""
    words = ["search", str(index), str(query.text), "--lang", query.language, "--quiet", "--engine", engine]
    words += [] if tower in (TORCH, MODEL) else ["--text_tower", tower]
    notes = [*index.glob("texts-*.json")] if tower == TORCH else []
    for note in notes:
        note.rename(note.with_suffix(".kept"))
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "ml_clap", *words], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    for note in notes:
        note.with_suffix(".kept").rename(note)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, wall


def make_encoder(index: AudioIndex, tower: str) -> Encode:
    """What embeds one text."""
    if tower == TORCH:
        model = load_model(index.settings.model, device="cpu")
        note_model(index.folder, index.settings.model, model, index.settings.fingerprint)
        return lambda text, language: encode_texts(model, [text], language).numpy()
    source = index.settings.model if tower == MODEL else tower
    known = open_known(
        index.folder, find_tower(source) if tower != MODEL else source, index.settings.fingerprint
    )
    opened = known or open_tower(source)
    return lambda text, language: opened.encode([text], language)


def measure(arguments: argparse.Namespace, index: AudioIndex) -> list[Row]:
    """Every way in turns, query by query."""
    torch.set_num_threads(1)
    names = [*([] if arguments.no_model else [TORCH, MODEL]), *arguments.towers]
    index.engine(arguments.engine)  # built at its first use
    for name in arguments.towers:
        cold_query(
            index.folder, Query(text="rain"), name, arguments.engine
        )  # leaves its note, if it is in torch
    queries = read_queries(SearchConfig(index=arguments.index, queries=arguments.queries))
    encoders = {name: make_encoder(index, name) for name in names}
    warm: dict[str, list[float]] = {name: [] for name in names}
    for number in range(arguments.warm + 3):
        query = queries[number % len(queries)]
        for name in random.Random(number).sample(names, len(names)):
            began = time.process_time()
            index.nearest(encoders[name](str(query.text), query.language), 10, engine=arguments.engine)
            warm[name].append(time.process_time() - began)
    cold: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(arguments.cold):
        for name in names:  # the first one of the model leaves the note of the second
            query = queries[number % len(queries)]
            cold[name].append(cold_query(index.folder, query, name, arguments.engine))
    return [
        Row(
            name,
            1000 * statistics.median(spent for spent, _ in cold[name]),
            1000 * statistics.median(wall for _, wall in cold[name]),
            1000 * statistics.median(warm[name][3:]),  # the first ones still fill caches
            1000 * float(np.quantile(warm[name][3:], 0.9)),
            arguments.cold,
            arguments.warm,
        )
        for name in names
    ]


def print_rows(rows: list[Row]) -> None:
    """A table in Markdown; ratios are to the first row."""
    print(
        "| texts by | cold ms | x | by the clock | warm ms | x | 90 % below |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    for row in rows:
        print(
            f"| {Path(row.name).name} | {row.cold:,.0f} | {rows[0].cold / row.cold:.1f} "
            f"| {row.cold_wall:,.0f} | {row.warm:.2f} | {rows[0].warm / row.warm:.1f} | {row.warm_p90:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="as for `ml-clap search --queries`")
    parser.add_argument("--towers", nargs="*", default=[], help="folders of text towers")
    parser.add_argument("--no_model", action="store_true", help="measure the towers alone")
    parser.add_argument("--engine", default="numpy", help="as for `ml-clap search`")
    parser.add_argument(
        "--windows", type=int, help="fill the index up to so many windows with random vectors"
    )
    parser.add_argument("--cold", type=int, default=5, help="commands of each")
    parser.add_argument("--warm", type=int, default=100, help="warm queries of each")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    index = AudioIndex.open(arguments.index)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.windows:
            index = fill_up(index, Path(folder), arguments.windows)
        else:  # a copy, for what a search leaves there
            index = AudioIndex.open(shutil.copytree(arguments.index, Path(folder) / arguments.index.name))
        rows = measure(arguments, index)
        print(f"{index.num_windows:,} windows, {index.engine(arguments.engine).description}\n")
    print_rows(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
