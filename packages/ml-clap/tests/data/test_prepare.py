"""`prepare` keeps what can be used, names what cannot, and does not do its work twice."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common.workers import DecodePool
from ml_clap.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareFolderConfig,
    PrepareReferenceConfig,
    PrepareTuxpaintConfig,
)
from ml_clap.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from ml_clap.data.prepare import PrepareReport, prepare, report_path, unique_ids

RATE = 16_000


def noise(seed: int, seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Eight good sounds, four in each of two folders, and captions."""
    for number in range(8):
        path = tmp_path / "sounds" / ("dog" if number < 4 else "rain") / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(number), RATE)
    captions = {
        "dog": {"en": ["A dog."], "fr": ["Un chien."]},
        "rain": {"en": ["Rain."], "fr": ["Il pleut."]},
    }
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    return tmp_path


def run(folder: Path, **settings: Any) -> PrepareReport:
    settings = {
        "source": folder / "sounds",
        "captions": folder / "captions.json",
        "out": folder / "out/manifest.jsonl",
    } | settings
    return prepare(PrepareFolderConfig(**settings))


def problems(report: PrepareReport) -> set[tuple[str, str]]:
    return {(problem.kind, problem.where) for problem in report.problems}


def test_good_folder_becomes_a_manifest_with_durations(sounds: Path) -> None:
    report = run(sounds, licence="CC0")
    clips = read_manifest(sounds / "out/manifest.jsonl")
    assert (report.clips, report.problems, report.captions) == (8, (), {"eng_Latn": 8, "fra_Latn": 8})
    assert [clip.id for clip in clips[:2]] == ["dog/0", "dog/1"]
    assert {(clip.duration, clip.licence) for clip in clips} == {(1.0, "CC0")}
    assert report.hours == pytest.approx(8 / 3600)
    assert json.loads(report_path(report.manifest).read_text())["clips"] == 8


def test_each_bad_file_is_named_and_the_others_are_kept(sounds: Path) -> None:
    dog = sounds / "sounds/dog"
    (dog / "text.wav").write_text("this is no sound")
    (dog / "empty.flac").touch()
    (dog / "gone.wav").symlink_to(sounds / "nowhere.wav")
    damaged = dog / "damaged.flac"
    soundfile.write(damaged, noise(20), RATE)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    damaged.write_bytes(content)
    soundfile.write(dog / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(dog / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(dog / "short.wav", noise(21, 0.1), RATE)
    whole = dog / "cut.wav"
    soundfile.write(whole, noise(22, 2.0), RATE)
    whole.write_bytes(whole.read_bytes()[:RATE])
    report = run(sounds)
    corrupt = {("corrupt", f"dog/{name}") for name in ("text", "empty", "nan")}
    odd = {
        ("missing", "dog/gone"),
        ("damaged", "dog/damaged"),
        ("silent", "dog/silent"),
        ("short", "dog/short"),
        ("cut off", "dog/cut"),
    }
    assert problems(report) == corrupt | odd
    kept = {clip.id for clip in read_manifest(report.manifest)}
    assert kept == {f"dog/{name}" for name in (0, 1, 2, 3, "silent", "short", "cut", "damaged")} | {
        f"rain/{n}" for n in range(4, 8)
    }


def test_copies_are_found_in_another_format_and_under_another_name(sounds: Path) -> None:
    soundfile.write(sounds / "sounds/dog/copy.flac", soundfile.read(sounds / "sounds/dog/0.wav")[0], RATE)
    assert problems(run(sounds)) == {("duplicate", "dog/0, dog/copy")}


def make_split_list(folder: Path) -> Path:
    """The eight sounds, a recording of training again in the test under another name."""
    (folder / "sounds/rain/again.wav").write_bytes((folder / "sounds/dog/0.wav").read_bytes())
    names = [
        ("dog/0.wav", "train"),
        ("dog/1.wav", "train"),
        ("rain/4.wav", "test"),
        ("rain/again.wav", "test"),
    ]
    rows = [{"audio": name, "label": name.split("/")[0], "split": split} for name, split in names]
    path = folder / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_overlap_of_splits_is_reported_and_dropped_from_training_on_demand(sounds: Path) -> None:
    settings = {"source": make_split_list(sounds), "audio": sounds / "sounds", "split_by": "split"}
    report = run(sounds, **settings)
    assert problems(report) == {("overlap", "dog/0, rain/again")}
    assert (report.clips, report.dropped, report.splits) == (4, 0, {"train": 2, "test": 2})
    dropped = run(sounds, **settings, drop_overlap=True)
    assert (dropped.clips, dropped.dropped, dropped.splits) == (3, 1, {"train": 1, "test": 2})
    assert "dog/0" not in {clip.id for clip in read_manifest(dropped.manifest)}


def test_overlap_with_other_manifests_is_found_by_content(sounds: Path) -> None:
    copy = sounds / "elsewhere.wav"
    copy.write_bytes((sounds / "sounds/dog/2.wav").read_bytes())
    other = sounds / "test.jsonl"
    missing = Clip("gone", sounds / "gone.wav", {"eng_Latn": ("A",)})
    write_manifest(other, [Clip("theirs", copy, {"eng_Latn": ("A dog.",)}), missing])
    report = run(sounds, against=(other,), drop_overlap=True)
    assert problems(report) == {("overlap", "dog/2"), ("missing", f"{other}: gone")}
    assert f"also in {other}: theirs" in next(p.message for p in report.problems if p.kind == "overlap")
    assert (report.clips, report.dropped) == (7, 1)


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that gets the path of each file that is read."""
    checked: list[Path] = []
    run_task = DecodePool.result_of

    def count(self: DecodePool, task: str, source: Path, options: dict[str, Any]) -> dict[str, Any]:
        checked.append(source)
        return run_task(self, task, source, options)

    monkeypatch.setattr(DecodePool, "result_of", count)
    return checked


def test_unchanged_files_are_not_checked_again(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = count_checks(monkeypatch)
    (sounds / "sounds/dog/bad.wav").write_text("no sound")
    first = run(sounds)
    assert len(checked) == 9
    checked.clear()
    changed = sounds / "sounds/dog/0.wav"
    soundfile.write(changed, noise(99, 2.0), RATE)
    second = run(sounds)
    assert {path.name for path in checked} == {"0.wav", "bad.wav"}
    assert second.hours == pytest.approx(first.hours + 1 / 3600)
    checked.clear()
    run(sounds, recheck=True)
    assert len(checked) == 9


def test_quick_check_finds_what_headers_show_and_does_not_pass_for_a_full_one(
    sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = count_checks(monkeypatch)
    (sounds / "sounds/dog/bad.wav").write_text("no sound")
    soundfile.write(sounds / "sounds/dog/silent.wav", np.zeros(RATE), RATE)
    (sounds / "sounds/rain/copy.wav").write_bytes((sounds / "sounds/rain/4.wav").read_bytes())
    assert problems(run(sounds, quick=True)) == {("corrupt", "dog/bad"), ("duplicate", "rain/4, rain/copy")}
    checked.clear()
    assert ("silent", "dog/silent") in problems(run(sounds))
    assert len(checked) == 11
    checked.clear()
    run(sounds, quick=True)
    assert {path.name for path in checked} == {"bad.wav"}


def test_nothing_usable_is_an_error_that_leaves_the_report_and_no_manifest(sounds: Path) -> None:
    for path in (sounds / "sounds").rglob("*.wav"):
        path.write_text("no sound")
    out = sounds / "out/manifest.jsonl"
    with pytest.raises(
        ManifestError, match=r"not one of 8 clips can be used; .*manifest\.report\.json says why"
    ):
        run(sounds)
    assert not out.exists()
    assert len(json.loads(report_path(out).read_text())["problems"]) == 8


def test_summary_and_json_say_the_same(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sounds / "sounds/dog/bad.wav").write_text("no sound")
    report = run(sounds, json=sounds / "result.json")
    printed = capsys.readouterr().out
    written = json.loads((sounds / "result.json").read_text())
    assert written["clips"] == report.clips == 8
    assert written["problems"][0]["kind"] == "corrupt"
    assert "sound files damaged" in printed
    assert "corrupt: dog/bad: " in printed
    assert f"captions fra_Latn{' ' * 2}" in printed.replace(" " * 4, " " * 2)


def test_lengths_other_than_the_metadata_say_are_reported_and_kept(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "YAAAAAAAAAAA_30.wav", noise(0, 0.5), RATE)
    soundfile.write(tmp_path / "YBBBBBBBBBBB_30.wav", noise(1, 9.8), RATE)
    table = tmp_path / "train.csv"
    table.write_text("youtube_id,start_time,caption\nAAAAAAAAAAA,30,A dog\nBBBBBBBBBBB,30,Rain\n")
    report = prepare(PrepareAudioCapsConfig(source=table, out=tmp_path / "a.jsonl"))
    (problem,) = report.problems
    assert (problem.kind, problem.where) == ("length", "AAAAAAAAAAA_30")
    assert problem.message == "shorter than its metadata say (0.5 s of 10 s)"
    assert report.clips == 2

    entries = [{"id": "w", "audio": "YBBBBBBBBBBB_30.wav", "caption": "Rain", "duration": 300}]
    (tmp_path / "wavcaps.json").write_text(json.dumps({"data": entries}))
    wavcaps = prepare(PrepareReferenceConfig(source=tmp_path / "wavcaps.json", out=tmp_path / "w.jsonl"))
    assert wavcaps.problems[0].message == "shorter than its metadata say (9.8 s of 300 s)"
    assert read_manifest(tmp_path / "w.jsonl")[0].duration == pytest.approx(9.8)


def test_integers_stored_as_floats_are_reported(sounds: Path) -> None:
    soundfile.write(sounds / "sounds/dog/int.wav", noise(5) * 32768, RATE, subtype="FLOAT")
    (problem,) = run(sounds).problems
    assert (problem.kind, problem.where) == ("loud", "dog/int")
    assert "integers stored as floats?" in problem.message


def test_the_report_says_what_how_many_and_what_to_do(
    sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "sounds/dog/bad.wav").write_text("no sound")
    soundfile.write(sounds / "sounds/dog/silent.wav", np.zeros(RATE), RATE)
    report = run(sounds)
    printed = capsys.readouterr().out
    kinds = json.loads(report_path(report.manifest).read_text())["kinds"]
    assert [(kind["kind"], kind["count"], kind["is_left_out"]) for kind in kinds] == [
        ("corrupt", 1, True),
        ("silent", 1, False),
    ]
    for kind in kinds:
        assert kind["what"] in printed
        assert kind["advice"] in printed


def test_file_name_that_is_not_unicode_does_not_end_the_work(sounds: Path) -> None:
    folder = os.fsencode(sounds / "sounds/dog")
    os.rename(folder + b"/0.wav", folder + b"/\xff.wav")
    (sounds / "sounds/dog" / os.fsdecode(b"\xfe.wav")).write_text("no sound")
    report = run(sounds)
    named = {where for _, where in problems(report)} | {clip.id for clip in read_manifest(report.manifest)}
    assert named == {f"dog/{n}" for n in (1, 2, 3, r"\xff", r"\xfe")} | {f"rain/{n}" for n in range(4, 8)}
    assert ("corrupt", r"dog/\xfe") in problems(report)


def test_ids_that_repeat_become_different() -> None:
    clips = [Clip(clip_id, Path(f"/{n}.wav"), {}) for n, clip_id in enumerate(["a", "a", "a-2", "b", "a"])]
    assert [clip.id for clip in unique_ids(clips)] == ["a", "a-2", "a-2-2", "b", "a-3"]


def test_tuxpaint_stamps_are_prepared_from_their_folder(tmp_path: Path) -> None:
    stamps = tmp_path / "stamps/animals"
    stamps.mkdir(parents=True)
    soundfile.write(stamps / "cow.ogg", noise(0), RATE)
    (stamps / "cow.txt").write_text("A cow.\nfr.utf8=Une vache.\n")
    prepare(PrepareTuxpaintConfig(source=tmp_path, out=tmp_path / "m.jsonl"))
    (clip,) = read_manifest(tmp_path / "m.jsonl")
    assert clip.captions == {"eng_Latn": ("A cow.",), "fra_Latn": ("Une vache.",)}
    assert clip.licence == "GPL-2.0-or-later"


@pytest.mark.slow
def test_esc10_is_prepared_whole(shared: Path, tmp_path: Path) -> None:
    esc10 = shared / "data/esc10"
    report = prepare(
        PrepareFolderConfig(
            source=esc10 / "clips.jsonl", captions=esc10 / "captions.json", out=tmp_path / "esc10.jsonl",
            split_by="fold", splits=("train=1,2,3", "test=4"), train_captions=3, validation=0.15,
            recording=r"^\d+-(\d+)-", quick=True,
        )
    )  # fmt: skip
    assert report.clips == 320
    assert not report.problems
    assert report.splits["test"] == 80
    assert report.splits["train"] + report.splits["validation"] == 240
    assert set(report.captions.values()) == {80 + 3 * 240}
