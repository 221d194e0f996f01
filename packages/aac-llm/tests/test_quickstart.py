"""The quickstart goes the whole way, on data that keeps training and test apart."""

from pathlib import Path

import pytest
from aac_llm.cli import main
from aac_llm.config.quickstart import QuickstartConfig
from aac_llm.data.manifest import read_manifest
from aac_llm.data.predictions import Prediction, read_predictions
from aac_llm.metrics.events import sound_events
from aac_llm.quickstart import METRICS, QuickstartResult, make_scenes, quickstart, shift_captions


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def result(out: Path) -> QuickstartResult:
    return quickstart(QuickstartConfig(out=out, clips=40, steps=4))


def test_it_trains_captions_and_scores_every_test_clip(result: QuickstartResult, out: Path) -> None:
    assert result.evaluation.num_clips == 4
    assert not result.evaluation.unavailable
    assert {"bleu_4", "rouge_l", "cider_d", "event_precision", "event_recall"} <= set(
        result.evaluation.corpus
    )
    assert [prediction.id for prediction in read_predictions(out / "captions.jsonl")] == [
        clip.id for clip in read_manifest(out / "data" / "manifest.jsonl", split="test")
    ]


def test_scenes_have_the_times_of_their_events_and_the_captioner_learns_them(
    result: QuickstartResult, out: Path
) -> None:
    clips = read_manifest(out / "data" / "manifest.jsonl")
    assert {len(clip.timestamps or ()) for clip in clips} == {1, 2}
    for clip in clips:
        for event in clip.timestamps or ():
            assert event.offset <= (clip.duration or 0)
            # In the words of the caption, and of the same sound.
            assert sound_events(event.text) <= sound_events(clip.captions[0])
    assert "timed_loss" in result.training.scores
    assert [clip.reference_timestamps for clip in result.evaluation.clips] == [
        clip.timestamps for clip in clips if clip.split == "test"
    ]


def test_the_page_plays_every_test_clip(result: QuickstartResult, out: Path) -> None:
    page = result.page.read_text(encoding="utf-8")
    assert page.count("<audio") == 4
    for clip in result.evaluation.clips:
        assert f"{clip.id}.wav" in page


def test_it_prints_the_control_beside_the_numbers(
    result: QuickstartResult, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = quickstart(QuickstartConfig(out=out, clips=40, steps=4))  # trained already: goes on from there
    assert [clip.caption for clip in again.evaluation.clips] == [
        clip.caption for clip in result.evaluation.clips
    ]
    printed = capsys.readouterr().out
    mine, other = (
        result.evaluation.corpus["event_recall"],
        result.evaluation.comparison["event_recall"].other,
    )
    assert f"recall {mine:.2f} (chance {other:.2f})" in printed


def test_the_commands_that_it_names_last_work(result: QuickstartResult, out: Path, capfd) -> None:
    quickstart(QuickstartConfig(out=out, clips=40, steps=4))
    shown = [
        line.split()[1:] for line in capfd.readouterr().out.splitlines() if line.startswith("  aac-llm ")
    ]
    assert [words[0] for words in shown] == ["caption", "caption", "caption", "evaluate"]
    assert "--timestamps" in shown[1]
    for words in shown:
        main(words)
    assert "4 clips, 5 references each" in capfd.readouterr().out


def test_the_control_keeps_the_captions_and_changes_their_clips() -> None:
    mine = [Prediction(id=str(n), audio=None, caption=f"caption {n}") for n in range(3)]
    control = shift_captions(mine)
    assert [prediction.id for prediction in control] == ["0", "1", "2"]
    assert [prediction.caption for prediction in control] == ["caption 2", "caption 0", "caption 1"]


def test_training_and_test_share_no_sound_and_one_pattern_is_never_trained_on(tmp_path: Path) -> None:
    clips = read_manifest(make_scenes(tmp_path, clips=60, seed=0))
    splits = {
        split: [clip for clip in clips if clip.split == split] for split in ("train", "validation", "test")
    }
    assert {split: len(members) for split, members in splits.items()} == {
        "train": 60,
        "validation": 6,
        "test": 6,
    }
    sounds = {split: {clip.audio.read_bytes() for clip in members} for split, members in splits.items()}
    assert not sounds["train"] & (sounds["test"] | sounds["validation"])
    assert not sounds["test"] & sounds["validation"]
    assert {len(clip.captions) for clip in splits["train"]} == {4}
    assert {len(clip.captions) for clip in splits["test"]} == {5}


def test_the_same_seed_synthesises_the_same_scenes(tmp_path: Path) -> None:
    one, other, different = (
        make_scenes(tmp_path / name, clips=10, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes() != different.read_bytes()
    for path in sorted((one.parent / "audio").iterdir()):
        assert path.read_bytes() == (other.parent / "audio" / path.name).read_bytes()


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="clips must be at least 40, got 3"):
        QuickstartConfig(clips=3)


def test_its_metrics_need_nothing_that_is_not_in_the_package() -> None:
    assert not set(METRICS) & {"meteor", "spice", "spider", "fer", "spider_fl", "sbert", "fense"}
