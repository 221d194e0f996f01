"""The one real end-to-end run: synthesise, train, evaluate, index and search, a few steps of each."""

import math
from pathlib import Path

import pytest
from ml_clap.config import LANGUAGES, QuickstartConfig
from ml_clap.manifest import read_manifest
from ml_clap.quickstart import QUERIES, QuickstartResult, chance, quickstart


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> QuickstartResult:
    return quickstart(QuickstartConfig(out=tmp_path_factory.mktemp("quickstart"), clips=100, steps=6))


@pytest.mark.slow
def test_it_trains_and_evaluates_in_every_language(result: QuickstartResult) -> None:
    assert result.training.step == 6
    assert math.isfinite(result.training.loss)
    assert tuple(result.report.languages) == LANGUAGES
    assert result.report.num_clips == 10
    assert chance(result.report, 1) == 10.0


@pytest.mark.slow
def test_searches_find_test_scenes_with_their_captions(result: QuickstartResult) -> None:
    assert result.hits.keys() == QUERIES.keys()
    for language, hits in result.hits.items():
        assert len(hits) == 3
        assert all(hit.file.name.startswith("test-") and hit.captions[language] for hit in hits)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.slow
def test_it_leaves_a_model_plots_and_an_index(result: QuickstartResult) -> None:
    out = result.training.model.parent.parent
    for name in ("model/curves.png", "retrieval.png", "index/index.json", "model/final/model.safetensors"):
        assert (out / name).stat().st_size > 0, name


@pytest.mark.slow
def test_test_captions_are_sentences_that_were_not_trained_on(result: QuickstartResult) -> None:
    manifest = Path(result.training.model).parent.parent / "data" / "manifest.jsonl"
    read = {
        split: {text for clip in read_manifest(manifest, split=split) for text in clip.captions["eng_Latn"]}
        for split in ("train", "test")
    }
    assert read["train"]
    assert not read["train"] & read["test"]
