"""Bulk jobs in a real Ray of two workers: one is killed, and the driver; the result is the same.

What needs no Ray for being tested, block by block in this process, is in search/test_index_parts.py,
evaluators/test_by_ray.py and translate/test_by_ray.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("ray", reason="the extra ray is not installed")

from audio_common.config import CEDConfig
from ml_clap.bulk.run import joined
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.ray import RayConfig
from ml_clap.evaluators import by_ray as evaluation
from ml_clap.evaluators.by_ray import EmbeddingWorker
from ml_clap.evaluators.evaluate import evaluate
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search import by_ray as indexing
from ml_clap.search.index import index
from ml_clap.search.index_block import IndexWorker
from ml_clap.search.store import IndexWriter, open_rows, vectors_path

pytestmark = pytest.mark.slow
RATE = 16_000
RAY = RayConfig(num_workers=2, block_seconds=3.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray of two workers; gives its address."""
    with joined(RAY) as ray:
        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve sounds of 0.5 to 4 s, with captions in two languages; one is no sound."""
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(12):
        samples = 0.2 * generator.normal(size=round(RATE * (0.5 + 3.5 * (number % 4) / 3)))
        soundfile.write(folder / f"{number}.wav", samples, RATE)
        captions = {"eng_Latn": [f"a dog {number}"], "fra_Latn": [f"un chien {number}"]}
        rows.append({"id": f"{number}", "audio": f"{number}.wav", "captions": captions})
    (folder / "7.wav").write_bytes(b"no sound")
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    encoder = create_small_text_encoder(
        folder / "text",
        ["a dog un chien 0 1 2 3 4 5 6 7 8 9"],
        vocab_size=60,
        dim=16,
        layers=1,
        heads=2,
        languages=("eng_Latn", "fra_Latn"),
    )
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(folder / "a")
    return folder / "a"


def die_once(folder: Path, rows: Sequence[dict[str, Any]], name: str) -> None:
    """Kill this process where it is about to write the part with a sound, and only the first time."""
    flag = folder / "killed"
    if any(str(row.get("name")).endswith(name) for row in rows) and not flag.exists():
        flag.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)


class DyingIndexWorker(IndexWorker):
    """An `IndexWorker` that is killed once, in the middle of the job."""

    def work(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        made = super().work(rows)
        die_once(Path(self.settings.index.root), rows, "/5.wav")
        return made


class DyingEmbeddingWorker(EmbeddingWorker):
    """An `EmbeddingWorker` that is killed once, in the middle of the job."""

    def work(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        made = super().work(rows)
        die_once(Path(self.settings.model).parent, rows, "/5.wav")
        return made


def content(out: Path) -> tuple[list[Any], dict[tuple[str, float, float], np.ndarray]]:
    writer = IndexWriter(out)
    vectors = open_rows(vectors_path(out, writer.settings.generation))
    spans = writer.windows().tolist()
    writer.close()
    found = {(writer.entries[n].id, start, end): v for (n, start, end), v in zip(spans, vectors, strict=True)}
    assert len(found) == len(spans), "a window is there twice"
    return writer.entries, found


def assert_same_index(one: Path, other: Path) -> None:
    (entries, left), (others, right) = content(one), content(other)
    assert entries == others
    assert left.keys() == right.keys()
    for window, vector in left.items():
        np.testing.assert_allclose(vector, right[window], atol=1e-5)
    for name in ("bad_files.jsonl", "left_out.jsonl"):
        assert sorted((one / name).read_text().splitlines()) == sorted(
            (other / name).read_text().splitlines()
        )


def index_config(manifest: Path, out: Path, model: Path, **changes: Any) -> IndexConfig:
    chosen: dict[str, Any] = {"window_seconds": 2.0, "device": "cpu"} | changes
    return IndexConfig(source=manifest, out=out, model=str(model), **chosen)


def evaluate_config(manifest: Path, model: Path, **changes: Any) -> EvaluateConfig:
    return EvaluateConfig(data=manifest, model=str(model), device="cpu", bootstrap=20, **changes)


@pytest.fixture(scope="module")
def here(manifest: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index that one process makes."""
    out = tmp_path_factory.mktemp("here") / "index"
    index(index_config(manifest, out, model))
    return out


def test_an_index_survives_a_killed_worker(
    manifest: Path,
    model: Path,
    here: Path,
    tmp_path: Path,
    cluster: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(indexing, "IndexWorker", DyingIndexWorker)
    ray = RayConfig(num_workers=2, block_seconds=3.0, parts=str(tmp_path / "parts"))
    with caplog.at_level("WARNING", logger="ml_clap"):
        report = index(index_config(manifest, tmp_path / "there", model, engine="ray", ray=ray))
    assert int((manifest.parent / "killed").read_text()) != os.getpid()
    assert "was lost with its worker and done again" in caplog.text
    assert_same_index(tmp_path / "there", here)
    assert (report.num_clips, len(report.problems)) == (11, 1)
    # Each part is written once: every clip is in one part.
    import pyarrow.parquet

    parts = list((tmp_path / "parts").rglob("*.parquet"))
    ids = [id for part in parts for id in pyarrow.parquet.read_table(part)["id"].to_pylist()]
    assert sorted(ids, key=int) == [str(number) for number in range(12)]


def test_a_killed_driver_goes_on_from_the_parts(
    manifest: Path, model: Path, here: Path, tmp_path: Path, cluster: str
) -> None:
    words = [
        "index",
        str(manifest),
        "--model",
        str(model),
        "--out",
        str(tmp_path / "there"),
        "--engine",
        "ray",
    ]
    words += ["--window_seconds", "2", "--device", "cpu", "--ray.address", cluster]
    words += ["--ray.num_workers", "1", "--ray.block_seconds", "3"]
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen([sys.executable, "-m", "ml_clap", *words], stdout=log, stderr=log)
    folder, deadline = tmp_path / "there.parts", time.monotonic() + 400
    while not list(folder.rglob("*.parquet")):
        assert driver.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {part.name: part.stat().st_mtime_ns for part in folder.rglob("*.parquet")}
    ray = RayConfig(num_workers=1, block_seconds=3.0)
    report = index(index_config(manifest, tmp_path / "there", model, engine="ray", ray=ray))
    assert before
    assert report.num_clips == 11
    assert_same_index(tmp_path / "there", here)
    assert not folder.exists()


def test_an_evaluation_survives_a_killed_worker(
    manifest: Path, model: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = evaluate(evaluate_config(manifest, model))
    monkeypatch.setattr(evaluation, "EmbeddingWorker", DyingEmbeddingWorker)
    ray = RayConfig(num_workers=1, block_seconds=20.0, parts=str(tmp_path / "parts"))
    report = evaluate(evaluate_config(manifest, model, engine="ray", ray=ray))
    assert (model.parent / "killed").exists()
    assert report.languages == alone.languages
    assert report.average == alone.average
    assert [file.index for file in report.bad_files] == [file.index for file in alone.bad_files] == [7]
