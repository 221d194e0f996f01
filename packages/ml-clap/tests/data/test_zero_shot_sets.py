"""WavCaps, ESC-50, UrbanSound8K and FSD50K, in folders of exactly the published layout."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from ml_clap import cli
from ml_clap.config.prepare import (
    PrepareESC50Config,
    PrepareFSD50KConfig,
    PrepareUrbanSound8KConfig,
    PrepareWavCapsConfig,
)
from ml_clap.data.manifest import ManifestError, read_manifest
from ml_clap.data.prompts import read_prompts
from ml_clap.data.readers.classes import read_esc50, read_fsd50k, read_urbansound8k
from ml_clap.data.readers.wavcaps import read_wavcaps

OUT = Path("unused.jsonl")


def sound(path: Path, value: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, [value] * 8000, 16_000)
    return path


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


# ------------------------------------------------------------------------------------------------- WavCaps

PARTS = {
    "AudioSet_SL/as_final.json": [
        {"id": "YaaaaaaaaaaA.wav", "caption": "A dog.", "audio": "wav", "duration": 10.0},
        {"id": "YtestsetofAC.wav", "caption": "A test clip.", "duration": 10.0},
    ],
    "BBC_Sound_Effects/bbc_final.json": [{"id": "NHU05093027", "caption": "Waves.", "duration": 1.0}],
    "FreeSound/fsd_final.json": [
        {"id": "111", "caption": "Rain falls.", "file_name": "rain.wav", "duration": 0.5},
        {"id": "222", "caption": "A test clip.", "duration": 0.5},
        {"id": "333", "caption": "A clip of ESC-50.", "duration": 0.5},
        {"id": "444"},
        {"id": "555", "caption": "Not fetched."},
    ],
    "SoundBible/sb_final.json": [{"id": "7", "caption": "A bell.", "duration": 0.5}],
}


@pytest.fixture
def wavcaps(tmp_path: Path) -> Path:
    """The published tree of JSON files, and a few of the sounds, unpacked beside it."""
    for name, entries in PARTS.items():
        path = tmp_path / "json_files" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": entries}))
    lists = tmp_path / "json_files" / "blacklist"
    lists.mkdir()
    of_captions = {"AudioSet": ["YtestsetofAC.wav"], "FreeSound": ["222"]}
    (lists / "blacklist_exclude_test_ac.json").write_text(json.dumps(of_captions))
    of_classes = {"AudioSet": [], "FreeSound": ["333.flac"]}
    (lists / "blacklist_exclude_ub8k_esc50_vggsound.json").write_text(json.dumps(of_classes))
    for number, name in enumerate(("YaaaaaaaaaaA", "YtestsetofAC", "NHU05093027", "111", "222", "333", "7")):
        sound(tmp_path / "audio" / f"{name}.flac", 0.1 + number / 20)
    return tmp_path


@pytest.mark.parametrize("source", [".", "json_files"])
def test_wavcaps_leaves_out_the_test_sets(wavcaps: Path, source: str) -> None:
    config = PrepareWavCapsConfig(source=wavcaps / source, audio=wavcaps / "audio", out=OUT)
    reading = read_wavcaps(config)
    assert {clip.id: clip.captions["eng_Latn"] for clip in reading.clips} == {
        "audioset-YaaaaaaaaaaA": ("A dog.",),
        "bbc-NHU05093027": ("Waves.",),
        "freesound-111": ("Rain falls.",),
        "soundbible-7": ("A bell.",),
    }
    assert {clip.split for clip in reading.clips} == {"train"}
    assert [problem.kind for problem in reading.problems] == [*["blacklisted"] * 3, "row", "missing"]
    assert [problem.where for problem in reading.problems[:3]] == ["YtestsetofAC.wav", "222", "333"]
    assert "vggsound" in reading.problems[2].message
    assert not reading.notices


def test_wavcaps_of_one_part_finds_the_lists_of_the_tree(wavcaps: Path) -> None:
    source = wavcaps / "json_files/FreeSound/fsd_final.json"
    reading = read_wavcaps(PrepareWavCapsConfig(source=source, audio=wavcaps / "audio", out=OUT))
    assert [clip.id for clip in reading.clips] == ["freesound-111"]


def test_wavcaps_without_its_blacklist_is_refused_unless_waived(wavcaps: Path) -> None:
    (wavcaps / "json_files/blacklist/blacklist_exclude_ub8k_esc50_vggsound.json").unlink()
    config = PrepareWavCapsConfig(source=wavcaps, out=OUT)
    reading = read_wavcaps(config)
    assert "freesound-333" in {clip.id for clip in reading.clips}
    assert "recordings of ESC-50, UrbanSound8K and VGGSound are kept" in reading.notices[0]
    (wavcaps / "json_files/blacklist/blacklist_exclude_test_ac.json").unlink()
    with pytest.raises(ValueError, match="comes with WavCaps"):
        read_wavcaps(config)
    assert len(read_wavcaps(replace(config, use_blacklist=False)).clips) == 7
    own = wavcaps / "own.json"
    own.write_text('{"SoundBible": ["7"]}')
    assert len(read_wavcaps(replace(config, blacklist=(own,))).clips) == 6
    own.write_text('["7"]')
    with pytest.raises(ManifestError, match="an object of lists by part"):
        read_wavcaps(replace(config, blacklist=(own,)))


def test_wavcaps_pointer_of_git_lfs_is_explained(tmp_path: Path) -> None:
    (tmp_path / "fsd_final.json").write_text("version https://git-lfs\noid sha256:0\n")
    with pytest.raises(ManifestError, match="git LFS"):
        read_wavcaps(PrepareWavCapsConfig(source=tmp_path, out=OUT, use_blacklist=False))


def test_prepare_wavcaps_takes_what_is_blacklisted_for_no_failure(wavcaps: Path) -> None:
    path = wavcaps / "json_files/FreeSound/fsd_final.json"
    path.write_text(json.dumps({"data": PARTS["FreeSound/fsd_final.json"][:3]}))
    out = wavcaps / "manifest.jsonl"
    cli.main(["prepare", "wavcaps", str(wavcaps), "--out", str(out)])
    assert len(read_manifest(out)) == 4


# ----------------------------------------------------------------------------- sets with one class a clip

ESC50 = [
    ["filename", "fold", "target", "category", "esc10", "src_file", "take"],
    ["1-100032-A-0.wav", 1, 0, "dog", "True", 100032, "A"],
    ["2-100210-A-36.wav", 2, 36, "vacuum_cleaner", "False", 100210, "A"],
    ["5-gone-A-1.wav", 5, 1, "rooster", "True", 3, "A"],
    ["5-bad-A-1.wav", "five", 1, "rooster", "True", 3, "A"],
]


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    folder = tmp_path / "ESC-50-master"
    write_csv(folder / "meta" / "esc50.csv", ESC50)
    for number, row in enumerate(ESC50[1:3]):
        sound(folder / "audio" / str(row[0]), 0.1 + number / 10)
    return folder


def test_esc50_folds_are_splits_and_its_classes_are_in_order(esc50: Path) -> None:
    reading = read_esc50(PrepareESC50Config(source=esc50, out=OUT))
    assert [(clip.id, clip.split, clip.label) for clip in reading.clips] == [
        ("1-100032-A-0", "fold1", "dog"),
        ("2-100210-A-36", "fold2", "vacuum_cleaner"),
    ]
    assert reading.clips[1].captions == {"eng_Latn": ("The sound of vacuum cleaner.",)}
    assert reading.clips[0].extra == {"fold": "1", "esc10": "True", "src_file": "100032"}
    assert reading.labels == ["dog", "rooster", "vacuum_cleaner"]
    assert [problem.kind for problem in reading.problems] == ["missing", "row"]
    small = read_esc50(PrepareESC50Config(source=esc50, out=OUT, esc10=True))
    assert [clip.label for clip in small.clips] == ["dog"]
    with pytest.raises(FileNotFoundError, match=r"has no meta/esc50\.csv"):
        read_esc50(PrepareESC50Config(source=esc50 / "meta", out=OUT))


def test_esc50_takes_captions_of_its_classes_from_a_file(esc50: Path) -> None:
    path = esc50 / "captions.json"
    path.write_text(json.dumps({"dog": {"en": ["A dog barks."], "fr": ["Un chien aboie."]}}))
    reading = read_esc50(PrepareESC50Config(source=esc50, captions=path, out=OUT))
    assert [clip.captions for clip in reading.clips] == [
        {"eng_Latn": ("A dog barks.",), "fra_Latn": ("Un chien aboie.",)}
    ]
    assert "no captions of its label 'vacuum_cleaner'" in reading.problems[0].message


def test_prepare_esc50_writes_the_classes_for_classify(esc50: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["prepare", "esc50", str(esc50), "--out", str(tmp_path / "esc50.jsonl")])
    assert ended.value.code == 1  # a file is missing, a row is bad
    assert [clip.label for clip in read_manifest(tmp_path / "esc50.jsonl")] == ["dog", "vacuum_cleaner"]
    prompts = read_prompts(tmp_path / "esc50.labels.txt", ["eng_Latn"])
    assert list(prompts) == ["dog", "rooster", "vacuum_cleaner"]


def test_urbansound8k_finds_each_slice_in_its_fold(tmp_path: Path) -> None:
    rows = [
        ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"],
        ["100032-3-0-0.wav", 100032, 0.0, 0.317551, 1, 5, 3, "dog_bark"],
        ["7-0-0-0.wav", 7, 0.0, 4.0, 2, 10, 0, "air_conditioner"],
        ["8-0-0-0.wav", 8, 0.0, 4.0, 2, 10, 0, "air_conditioner"],
    ]
    write_csv(tmp_path / "metadata" / "UrbanSound8K.csv", rows)
    sound(tmp_path / "audio/fold5/100032-3-0-0.wav")
    sound(tmp_path / "audio/fold1/7-0-0-0.wav", 0.2)
    sound(tmp_path / "audio/fold10/7-0-0-0.wav", 0.3)
    (tmp_path / "audio/fold10/.DS_Store").write_bytes(b"")
    reading = read_urbansound8k(PrepareUrbanSound8KConfig(source=tmp_path, out=OUT))
    assert [(clip.label, clip.split, clip.audio.parent.name) for clip in reading.clips] == [
        ("dog_bark", "fold5", "fold5"),
        ("air_conditioner", "fold10", "fold10"),
    ]
    assert reading.labels == ["air_conditioner", "dog_bark"]
    assert [problem.where.rpartition(":")[2] for problem in reading.problems] == ["4"]


# ------------------------------------------------------------------------------- a set with several classes


def make_fsd50k(folder: Path) -> Path:
    truth = folder / "FSD50K.ground_truth"
    write_csv(
        truth / "vocabulary.csv",
        [[0, "Accordion", "/m/0mkg"], [1, "Bark", "/m/05tny_"], [2, "Dog", "/m/0bt9lr"], ["x"]],
    )
    dev = [["fname", "labels", "mids", "split"], [64760, "Bark,Dog", "/m/05tny_,/m/0bt9lr", "train"]]
    dev += [[16399, "Accordion", "/m/0mkg", "val"], [1, "Dog,Zither", "x", "train"], [2, "Dog", "x", "odd"]]
    write_csv(truth / "dev.csv", dev)
    write_csv(truth / "eval.csv", [["fname", "labels", "mids"], [64760, "Dog", "x"], [37199, "Dog", "x"]])
    sound(folder / "FSD50K.dev_audio" / "64760.wav")
    sound(folder / "FSD50K.dev_audio" / "16399.wav", 0.2)
    sound(folder / "FSD50K.eval_audio" / "64760.wav", 0.3)
    return folder


def test_fsd50k_clips_have_all_their_classes(tmp_path: Path) -> None:
    reading = read_fsd50k(PrepareFSD50KConfig(source=make_fsd50k(tmp_path), out=OUT))
    assert [(clip.id, clip.split, clip.label, clip.extra["labels"]) for clip in reading.clips] == [
        ("dev-64760", "train", None, ["Bark", "Dog"]),
        ("dev-16399", "validation", None, ["Accordion"]),
        ("eval-64760", "test", None, ["Dog"]),
    ]
    assert reading.clips[0].captions == {"eng_Latn": ("The sound of bark, dog.",)}
    assert reading.clips[2].audio.parent.name == "FSD50K.eval_audio"
    assert reading.labels == ["Accordion", "Bark", "Dog"]
    assert [problem.kind for problem in reading.problems] == ["row", "row", "row", "missing"]
    assert "['Zither'] are not in vocabulary" in reading.problems[1].message
    with pytest.raises(FileNotFoundError, match=r"no FSD50K\.ground_truth"):
        read_fsd50k(PrepareFSD50KConfig(source=tmp_path / "FSD50K.dev_audio", out=OUT))
