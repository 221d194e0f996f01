"""A run of mteb on a small audio-text task, through the model folder as sentence-transformers loads it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from audio_common.config import CEDConfig
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import read_manifest
from ml_clap.models.ml_clap import MLCLAP

mteb = pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def scenes(tiny_recipe: Path) -> list[dict[str, Any]]:
    """Eight clips of the tiny data set: a caption and the samples of each."""
    from audio_common.audio import load_audio

    clips = list(read_manifest(tiny_recipe.parent / "manifest.jsonl"))[:8]
    return [
        {"caption": clip.captions["eng_Latn"][0] + f" {place}", "samples": load_audio(clip.audio).numpy()}
        for place, clip in enumerate(clips)
    ]


@pytest.fixture(scope="module")
def folder(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = yaml.safe_load(tiny_recipe.read_text())["model"]
    torch.manual_seed(0)
    model = MLCLAP(ModelConfig(**{**settings, "audio": CEDConfig(**settings["audio"])})).eval()
    model.save_pretrained(made := tmp_path_factory.mktemp("mteb") / "model")
    return made


def make_task(scenes: list[dict[str, Any]]) -> Any:
    """Return a task of mteb: find the clip of each caption; nothing of it comes from the hub."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class TinyT2ARetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="TinyT2ARetrieval",
            description="Captions of synthetic scenes, and the scenes.",
            reference=None,
            dataset={"path": "local", "revision": "none"},
            type="Any2AnyRetrieval",
            category="t2a",
            modalities=["text", "audio"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="hit_rate_at_5",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, **kwargs: Any) -> None:
            sounds = [{"array": scene["samples"].tolist(), "sampling_rate": 16_000} for scene in scenes]
            names = [str(place) for place in range(len(scenes))]
            texts = [scene["caption"] for scene in scenes]
            self.corpus = DatasetDict({"test": Dataset.from_dict({"id": names, "audio": sounds})})
            self.queries = DatasetDict({"test": Dataset.from_dict({"id": names, "text": texts})})
            self.relevant_docs = {"test": {name: {name: 1} for name in names}}
            self.data_loaded = True

    return TinyT2ARetrieval()


def test_mteb_runs_and_agrees_with_our_own_recall(folder: Path, scenes: list[dict[str, Any]]) -> None:
    from mteb.models import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformerEncoderWrapper(SentenceTransformer(str(folder), device="cpu"))
    # mteb takes a SentenceTransformer for a model of texts alone, unless its record says otherwise.
    told = {"name": "own/ml-clap", "modalities": ["audio", "text"]}
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update=told)
    results = mteb.evaluate(
        model, [make_task(scenes)], encode_kwargs={"batch_size": 4}, cache=None, show_progress_bar=False
    )
    [scores] = results[0].scores["test"]
    ours = MLCLAP.from_pretrained(folder)
    cosines = (
        ours.encode_text([scene["caption"] for scene in scenes])
        @ ours.encode_audio([scene["samples"] for scene in scenes]).T
    )
    ranks = (cosines > cosines.diagonal()[:, None]).sum(dim=1)
    for k in (1, 5):
        assert scores[f"hit_rate_at_{k}"] == pytest.approx(float((ranks < k).float().mean()), abs=1e-5)
