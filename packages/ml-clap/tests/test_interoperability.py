"""What docs/interoperability.md says of ml-clap, run; and the forms of its labels and tasks."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from audio_common.config import CEDConfig
from audio_common.scenes.scene import random_scene, render
from interoperability_kit import run_blocks
from ml_clap import cli
from ml_clap.config.model import ModelConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.labels import safe_name
from ml_clap.search.updating import update_index

QUICKSTART = Path("runs/quickstart-ml-clap")


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, sounds and an index where the quickstart has them."""
    place = tmp_path_factory.mktemp("here")
    folder, texts = place / QUICKSTART, ["a dog barks", "rain falls"]
    (folder / "data" / "audio").mkdir(parents=True)
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=40, dim=16, layers=1, heads=2)
    torch.manual_seed(0)
    config = ModelConfig(audio=CEDConfig(embed_dim=32, depth=1, num_heads=2), text_encoder=str(encoder))
    MLCLAP(config).save_pretrained(folder / "model" / "best")
    for number in range(3):
        scene = random_scene(number, num_events=1, seconds=2.0)
        soundfile.write(folder / "data" / "audio" / f"test-{number:05d}.wav", render(scene), 16_000)
    model = MLCLAP.from_pretrained(folder / "model")
    update_index(model, folder / "data" / "audio", folder / "index", model_name=str(folder / "model"))
    return place


def test_every_block_of_the_page_runs(
    quickstart: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(quickstart)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    lacking = run_blocks("ml-clap", cli.main)
    hits = json.loads(Path("hits.json").read_text())["queries"][0]["hits"]
    assert len(hits) == 3
    for hit in hits:
        (line,) = Path("labels", f"{Path(hit['file']).name}.txt").read_text().splitlines()
        start, end, label = line.split("\t")
        assert (float(start), float(end)) == (hit["start"], pytest.approx(hit["end"], abs=1e-6))
        assert label.endswith(f"({hit['score']:.3f})")
        assert "rain falls" in label
    tasks = json.loads(Path("tasks.json").read_text())
    assert [task["data"]["audio"] for task in tasks] == [
        f"/data/local-files/?d={hit['file'].lstrip('/')}" for hit in hits
    ]
    for task, hit in zip(tasks, hits, strict=True):
        labels, caption = task["predictions"][0]["result"]
        assert labels["value"] == {"start": hit["start"], "end": hit["end"], "channel": 0, "labels": ["hit"]}
        assert "rain falls" in caption["value"]["text"][0]
        assert labels["id"] == caption["id"]
    if lacking:
        pytest.skip(f"blocks that need {', '.join(sorted(set(lacking)))} were not run: not installed here")


def test_names_of_labels_stay_in_their_folder() -> None:
    assert safe_name("../../etc/passwd") == "_/_/etc/passwd"
    assert len(safe_name("é" * 300).encode()) < 255
