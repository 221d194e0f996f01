"""The study's data hold apart what they say, and its intervals know which clips belong together."""

import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).parents[1] / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not beside the tests", allow_module_level=True)
sys.path.insert(0, str(EXAMPLES))

import study_data  # noqa: E402
import study_report  # noqa: E402
from study_data import LABELS, NUM_FOLDS, held_out_pairs, tagged_classes  # noqa: E402


@pytest.fixture(scope="module")
def esc10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the form of ESC-10: six clips of each class and fold, cut from five recordings."""
    folder = tmp_path_factory.mktemp("esc10")
    rng = np.random.default_rng(0)
    rows = []
    for number, (label, fold) in enumerate((label, fold) for label in LABELS for fold in range(1, 5)):
        for clip in range(6):
            name = f"{fold}-{number}{min(clip, 4)}-{'AB'[clip == 5]}.wav"
            soundfile.write(folder / name, rng.normal(0, 0.1, 4_000), 16_000)
            rows.append({"audio": name, "label": label, "fold": fold})
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = {label: {"eng_Latn": [f"A {label} is {word}." for word in "abcd"]} for label in LABELS}
    (folder / "captions.json").write_text(json.dumps(texts))
    return folder


@pytest.fixture(scope="module")
def scenes(esc10: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("fold")
    study_data.write_fold(esc10, folder, 1)
    before = (folder / "manifest.jsonl").stat().st_mtime_ns
    study_data.write_fold(esc10, folder, 1)
    assert (folder / "manifest.jsonl").stat().st_mtime_ns == before
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def of(scenes: list[dict], *splits: str) -> list[dict]:
    return [scene for scene in scenes if scene["split"] in splits]


def test_no_recording_is_in_two_splits(scenes: list[dict]) -> None:
    splits = (("train-a", "train-b"), ("validation",), ("test",))
    heard = [{name for scene in of(scenes, *split) for name in scene["recordings"]} for split in splits]
    assert all(heard)
    assert not any(one & other for one, other in combinations(heard, 2))


def test_the_small_training_set_is_of_its_own_recordings(scenes: list[dict]) -> None:
    alone = [
        {s["recordings"][0] for s in of(scenes, split) if len(s["events"]) == 1}
        for split in ("train-a", "train-b")
    ]
    assert not alone[0] & alone[1]
    assert {name for scene in of(scenes, "train-a") for name in scene["recordings"]} <= alone[0]
    assert {scene["events"][0] for scene in of(scenes, "train-a")} == set(LABELS)


def test_held_out_pairs_are_in_the_test_alone(scenes: list[dict]) -> None:
    pairs = {split: [frozenset(s["events"]) for s in of(scenes, split) if len(s["events"]) == 2] for split in
             ("train-a", "train-b", "validation", "test")}  # fmt: skip
    held_out = held_out_pairs(1)
    assert not held_out & {pair for split in ("train-a", "train-b", "validation") for pair in pairs[split]}
    assert [pair in held_out for pair in pairs["test"]].count(True) == len(pairs["test"]) // 2


def test_the_fourth_wording_is_in_the_test_alone(scenes: list[dict], esc10: Path) -> None:
    assert all(
        len(scene["captions"]) == 4 and " is d" in scene["captions"][3] for scene in of(scenes, "test")
    )
    others = of(scenes, "train-a", "train-b", "validation")
    assert not any(" is d" in text for scene in others for text in scene["captions"])
    assert not any(" is d" in text for text in study_data.random_captions(esc10, 300, seed=0))


def test_each_class_is_unknown_to_some_fold_s_tagger() -> None:
    tagged = [set(tagged_classes(fold)) for fold in range(NUM_FOLDS)]
    assert {len(classes) for classes in tagged} == {7}
    assert set.union(*(set(LABELS) - classes for classes in tagged)) == set(LABELS)


def test_intervals_of_clips_that_share_recordings_are_wider() -> None:
    rng = np.random.default_rng(1)
    effect = rng.normal(0, 1, 20)
    values = np.repeat(effect, 10) + rng.normal(0, 0.1, 200)
    seeds = np.zeros(200)
    apart = study_report.pigeonhole(values, seeds, [(str(n),) for n in range(200)], 0.95)
    together = study_report.pigeonhole(values, seeds, [(str(n // 10),) for n in range(200)], 0.95)
    assert together[1] - together[0] > 2.5 * (apart[1] - apart[0])
    # Of independent clips it is the usual interval.
    half = 1.96 * values.std() / np.sqrt(200)
    np.testing.assert_allclose(apart, [values.mean() - half, values.mean() + half], atol=0.03)


def test_a_clip_of_two_recordings_counts_with_both() -> None:
    values = np.array([1.0, 0.0, 0.0])
    recordings = [("a", "b"), ("a",), ("b",)]
    low, high = study_report.pigeonhole(values, np.zeros(3), recordings, 0.5)
    # Both are drawn once, or one of them twice, when the pair does not count: a mean of 1/3 or of 0.
    assert (low, high) == (0.0, pytest.approx(1 / 3))


def test_seeds_are_drawn_as_well() -> None:
    values = np.repeat([0.0, 1.0], 50)
    recordings = [(str(number),) for number in range(100)]
    low, high = study_report.pigeonhole(values, np.repeat([0, 1], 50), recordings, 0.95)
    assert (low, high) == (0.0, 1.0)


def test_a_difference_of_nothing_has_an_interval_of_nothing() -> None:
    assert study_report.pigeonhole(np.zeros(9), np.arange(9) % 3, [("a",)] * 9, 0.95) == (0.0, 0.0)


def test_a_greater_power_needs_a_greater_difference() -> None:
    assert study_report.detectable(1.0) == pytest.approx(2.80, abs=0.01)  # 1.96 + 0.84
    assert study_report.detectable(0.5, power=0.9) == pytest.approx(1.62, abs=0.01)
