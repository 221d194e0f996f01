"""The quickstart goes the whole way, on data that keeps training and test apart."""

from pathlib import Path

import pytest
from ml_clap.config.quickstart import QuickstartConfig
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.manifest import read_manifest
from ml_clap.quickstart import EVENTS, QUERIES, QuickstartResult, _draw, chance, make_scenes, quickstart


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def result(out: Path) -> QuickstartResult:
    return quickstart(QuickstartConfig(out=out, clips=100, steps=8))


def test_it_trains_evaluates_in_eight_languages_and_answers(result: QuickstartResult, out: Path) -> None:
    assert result.training.step == 8
    assert tuple(result.report.languages) == LANGUAGES
    assert result.report.num_clips == 10
    assert {language: len(hits) for language, hits in result.hits.items()} == dict.fromkeys(QUERIES, 3)
    assert {"data", "model", "index", "retrieval.png", "page.html"} <= {path.name for path in out.iterdir()}
    assert (out / "page.html").read_text(encoding="utf-8").count("<audio") == 3 * len(QUERIES)


def test_it_prints_chance_beside_the_numbers(
    result: QuickstartResult, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chance(result.report, 1) == 10.0
    quickstart(QuickstartConfig(out=out, clips=100, steps=8))  # all is there: the same numbers at once
    assert "Chance: R@1 10.0 %, R@10 100.0 %" in capsys.readouterr().out


def test_training_and_test_share_no_sentence_and_no_sound(result: QuickstartResult, out: Path) -> None:
    clips = read_manifest(out / "data" / "manifest.jsonl")
    sentences: dict[str, set[str]] = {"train": set(), "test": set()}
    sounds: dict[str, set[bytes]] = {"train": set(), "test": set()}
    for clip in clips:
        if clip.split in sentences:
            sentences[clip.split] |= {text for texts in clip.captions.values() for text in texts}
            sounds[clip.split].add(clip.audio.read_bytes())
    assert len(sounds["train"]) == 100
    assert len(sounds["test"]) == 10
    assert not sentences["train"] & sentences["test"]
    assert not sounds["train"] & sounds["test"]


def test_every_scene_to_search_has_two_events() -> None:
    """Training may have simpler ones; a test of them would be easier."""
    assert all(
        len(scene.events) == EVENTS == 2
        for split in ("test", "validation")
        for _, scene in _draw(0, split, 9)
    )
    assert {len(scene.events) for _, scene in _draw(0, "train", 9)} == {1, 2}


def test_the_same_seed_synthesises_the_same_scenes(tmp_path: Path) -> None:
    one, other, different = (
        make_scenes(tmp_path / name, clips=10, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes() != different.read_bytes()
    for path in sorted((one.parent / "audio").iterdir()):
        assert path.read_bytes() == (other.parent / "audio" / path.name).read_bytes()


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="clips must be at least 100, got 3"):
        QuickstartConfig(clips=3)
