"""Sounds and captions embedded block by block, without Ray: the evaluation is the one made here."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from ml_clap.cli import read
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.ray import RayConfig
from ml_clap.data.shards.packing import prepare_shards_verb
from ml_clap.evaluators import by_ray
from ml_clap.evaluators.evaluate import evaluate, evaluate_verb
from ml_clap.evaluators.results import RetrievalReport
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

pytest.importorskip("pyarrow", reason="the extra ray is not installed")

RATE = 16_000
WORDS = ("dog", "rain", "car", "bird", "door", "bell")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips with captions in two languages, one of them no sound."""
    folder = tmp_path_factory.mktemp("clips")
    generator = np.random.default_rng(0)
    rows = []
    for number, word in enumerate(WORDS):
        soundfile.write(folder / f"{number}.wav", 0.2 * generator.normal(size=RATE + 1600 * number), RATE)
        captions = {"eng_Latn": [f"a {word}", f"the {word} again", "a sound"], "fra_Latn": [f"un {word}"]}
        rows.append({"id": word, "audio": f"{number}.wav", "captions": captions, "split": "test"})
    (folder / "3.wav").write_bytes(b"no sound")
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = [f"a {word} un sound the again" for word in WORDS]
    encoder = create_small_text_encoder(
        folder / "text", texts, vocab_size=60, dim=16, layers=1, heads=2, languages=("eng_Latn", "fra_Latn")
    )
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(folder / "a")
    return folder / "a"


def settings(data: Path | str, model: Path, **changes: Any) -> EvaluateConfig:
    chosen: dict[str, Any] = {"device": "cpu", "bootstrap": 50, "rewordings": ("keywords",)} | changes
    return EvaluateConfig(data=Path(data), model=str(model), **chosen)


def plain(report: RetrievalReport) -> dict[str, Any]:
    """A report without its time, and files by their names."""
    told = dataclasses.asdict(dataclasses.replace(report, seconds=0.0))
    told["bad_files"] = [Path(file["path"]).name for file in told["bad_files"]]
    told["complaints"] = [Path(file["path"]).name for file in told["complaints"]]
    return told


def test_the_report_is_the_one_made_here(
    manifest: Path,
    model: Path,
    tmp_path: Path,
    blocks_here: Callable[..., list[list[dict[str, Any]]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = evaluate(settings(manifest, model))
    worked = blocks_here(by_ray)
    ray = RayConfig(block_seconds=15.0, parts=str(tmp_path / "parts"))
    there = evaluate(settings(manifest, model, engine="ray", ray=ray))
    assert plain(there) == plain(here)
    assert len(worked) > 3
    assert len(here.bad_files) == 1
    assert here.robustness
    texts = [(row["text"], row["language"]) for rows in worked for row in rows if row["text"] is not None]
    assert ("a sound", "eng_Latn") in texts
    assert len(texts) == len(set(texts)), "each distinct caption is embedded once"
    # What is there is not embedded again.
    again = evaluate(settings(manifest, model, engine="ray", ray=ray))
    assert plain(again) == plain(here)
    assert len(list((tmp_path / "parts").glob("*.parquet"))) == len(worked)


def test_urls_and_shards_are_evaluated_as_their_files(
    manifest: Path, model: Path, tmp_path: Path, blocks_here: Callable[..., list[list[dict[str, Any]]]]
) -> None:
    here = evaluate(settings(manifest, model))
    blocks_here(by_ray)
    out = tmp_path / "report.json"
    url = evaluate(settings(f"file://{manifest}", model, engine="ray", json=out))
    assert plain(url) == plain(here)
    assert out.is_file()
    assert not (tmp_path / "report.json.parts").exists()
    words = ["prepare", "shards", str(manifest), "--out", str(tmp_path / "shards"), "--no_shuffle"]
    prepare_shards_verb(read(words))  # which leaves out what is no sound
    packed = evaluate(settings(tmp_path / "shards", model, engine="ray", json=out))
    assert packed.languages == here.languages


def test_what_cannot_be_fetched_is_a_bad_file(
    manifest: Path, model: Path, tmp_path: Path, blocks_here: Callable[..., list[list[dict[str, Any]]]]
) -> None:
    blocks_here(by_ray)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()[:3]]
    for row in rows:
        row["audio"] = f"file://{manifest.parent}/{row['audio']}"
    rows[1]["audio"] = f"file://{manifest.parent}/gone.wav"
    there = tmp_path / "manifest.jsonl"
    there.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate_verb(settings(there, model, engine="ray", json=tmp_path / "report.json")) == 1
    (bad,) = json.loads((tmp_path / "report.json").read_text())["results"]["bad_files"]
    assert "gone.wav" in bad["reason"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": True}, "reference does not go with --engine ray"),
        ({"moments": (2.0,), "rewordings": ()}, "moments does not go with --engine ray"),
        ({"json": Path("-")}, "ray.parts: say where the workers leave"),
    ],
)
def test_what_does_not_go_with_ray_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings("manifest.jsonl", Path("model"), engine="ray", **changes)
