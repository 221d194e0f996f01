import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import audio_common.check
import numpy as np
import pytest
import soundfile
from aac_llm.config.prepare import PrepareAudioCapsConfig, PrepareJSONLConfig, PrepareWavCapsConfig
from aac_llm.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from aac_llm.data.prepare import prepare
from aac_llm.data.report import report_path


def noise(path: Path, seed: int, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)), 16_000)
    return path


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    noise(tmp_path / "good.wav", 0)
    noise(tmp_path / "copy.wav", 0)
    noise(tmp_path / "test.wav", 1)
    noise(tmp_path / "leak.wav", 1)
    noise(tmp_path / "long.wav", 2, 9.0)
    noise(tmp_path / "short.wav", 3, 0.1)
    soundfile.write(tmp_path / "silent.wav", [0.0] * 16_000, 16_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF, it says")
    names = ["good", "copy", "leak", "long", "short", "silent", "broken", "gone"]
    rows = [{"audio": f"{name}.wav", "caption": name, "split": "train"} for name in names]
    rows += [{"audio": "test.wav", "caption": "test", "split": "test"}, {"audio": "good.wav", "captions": []}]
    return write_rows(tmp_path / "source.jsonl", rows)


def test_everything_wrong_is_named_and_nothing_dies(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "manifest.jsonl"
    report = prepare(PrepareJSONLConfig(source=source, out=out, max_seconds=5.0, drop_overlap=True))
    assert [clip.id for clip in read_manifest(out)] == ["good", "copy", "short", "silent", "test"]
    assert {(problem.kind, problem.where) for problem in report.problems} == {
        ("row", f"{source}:10"),
        ("missing", f"{source}:8"),
        ("corrupt", "broken"),
        ("long", "long"),
        ("short", "short"),
        ("silent", "silent"),
        ("duplicate", "good, copy"),
        ("overlap", "leak, test"),
    }
    assert json.loads(report_path(out).read_text())["dropped"] == 1
    assert read_manifest(out)[0].duration == pytest.approx(1.0)


def test_recording_of_another_manifest_is_found_by_its_number(tmp_path: Path) -> None:
    test = Clip(id="t", audio=noise(tmp_path / "t.wav", 5), captions=("x",), sound_id="freesound:7")
    write_manifest(tmp_path / "test.jsonl", [test])
    noise(tmp_path / "piece.wav", 6)
    rows = [{"audio": "piece.wav", "caption": "x", "sound_id": "freesound:7"}]
    source = write_rows(tmp_path / "train.jsonl", rows)
    config = PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl", against=(tmp_path / "test.jsonl",))
    (problem,) = prepare(config).problems
    assert (problem.kind, problem.where) == ("overlap", "piece")
    assert "the same recording as" in problem.message


def test_nothing_usable_is_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "s.jsonl", [{"audio": "gone.wav", "caption": "x"}])
    with pytest.raises(ManifestError, match=r"not one row can be used; .*m\.report\.json"):
        prepare(PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl"))


def test_a_caption_without_words_is_left_out_of_the_manifest(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    rows = "1,abcdefghijk,30,A dog\n2,bbbbbbbbbbb,40,...\n"
    table.write_text("audiocap_id,youtube_id,start_time,caption\n" + rows)
    noise(tmp_path / "abcdefghijk_30.wav", 5)
    noise(tmp_path / "bbbbbbbbbbb_40.wav", 6)
    report = prepare(PrepareAudioCapsConfig(source=table, out=tmp_path / "m.jsonl"))
    assert [clip.id for clip in read_manifest(tmp_path / "m.jsonl")] == ["abcdefghijk_30"]
    (problem,) = [problem for problem in report.problems if problem.kind == "row"]
    assert (problem.where, "must have words" in problem.message) == ("bbbbbbbbbbb_40", True)


def test_second_run_reads_no_file_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl")
    first = prepare(config)
    monkeypatch.setattr(
        "audio_common.check.full_check", lambda path, *_: pytest.fail(f"{path} was read again")
    )
    (tmp_path / "broken.wav").unlink()  # failures are not remembered
    assert prepare(config).clips == first.clips


def test_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = []
    for number in range(60):
        noise(tmp_path / f"{number}.wav", number, 20.0)
        rows.append({"audio": f"{number}.wav", "caption": "x"})
    source, checked = write_rows(tmp_path / "s.jsonl", rows), tmp_path / "m.checked.jsonl"
    words = ["prepare", "jsonl", str(source), "--out", str(tmp_path / "m.jsonl"), "--num_workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "aac_llm", *words], stdout=subprocess.DEVNULL)
    while not checked.is_file() or checked.read_text().count("\n") < 5:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = checked.read_text().count("\n")
    report = prepare(PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl"))
    assert report.clips == 60
    assert before < 60
    assert checked.read_text().count("\n") <= 61  # one half line may have been left


def test_length_against_metadata_is_reported_and_the_clip_kept(tmp_path: Path) -> None:
    noise(tmp_path / "abc12345678_30.wav", 0, 0.5)
    noise(tmp_path / "abc12345678_60.wav", 1, 9.6)
    table = tmp_path / "train.csv"
    table.write_text(
        "audiocap_id,youtube_id,start_time,caption\n1,abc12345678,30,A dog\n2,abc12345678,60,Rain\n"
    )
    report = prepare(PrepareAudioCapsConfig(source=table, out=tmp_path / "m.jsonl"))
    (problem,) = report.problems
    assert (problem.kind, problem.where) == ("length", "abc12345678_30")
    assert problem.message == "shorter than its metadata says (0.5 s of 10 s)"
    assert report.clips == 2


def test_length_of_wavcaps_and_of_a_manifest_are_compared(tmp_path: Path) -> None:
    noise(tmp_path / "1.flac", 0, 2.0)
    (tmp_path / "bbc_final.json").write_text(
        json.dumps({"data": [{"id": "1", "caption": "x", "duration": 300}]})
    )
    config = PrepareWavCapsConfig(source=tmp_path, out=tmp_path / "m.jsonl", use_blacklist=False)
    (problem,) = prepare(config).problems
    assert problem.message == "shorter than its metadata says (2 s of 300 s)"
    source = write_rows(tmp_path / "s.jsonl", [{"audio": "1.flac", "caption": "x", "duration": 1.0}])
    (problem,) = prepare(PrepareJSONLConfig(source=source, out=tmp_path / "n.jsonl")).problems
    assert problem.message == "longer than its metadata says (2 s of 1 s)"


def test_report_says_what_how_many_which_and_what_to_do(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with source.open("a") as file:
        file.write("{\n")
    prepare(PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl", json=tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["kinds"][0] == {
        "kind": "row",
        "what": "rows that cannot be read",
        "count": 2,
        "is_left_out": True,
        "advice": "mend these lines, and run again",
    }
    lines = [row["where"] for row in report["problems"] if row["kind"] == "row"]
    assert lines == [f"{source}:10", f"{source}:11"]
    assert "mend these lines" in " ".join(capsys.readouterr().out.split())


def test_prepared_manifest_keeps_other_columns_and_languages(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", 0)
    row = {"id": "a", "audio": "a.wav", "captions": {"eng_Latn": ["x"], "fra": ["y"]}, "label": "dog"}
    source = write_rows(tmp_path / "s.jsonl", [row])
    prepare(PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl"))
    written = json.loads((tmp_path / "m.jsonl").read_text())
    assert written.pop("duration") == pytest.approx(1.0)
    assert written == row


def test_prepared_manifest_keeps_times_and_a_wrong_time_is_a_bad_row(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", 0)
    event = {"text": "a dog barks", "onset": 0.25, "offset": 0.5}
    rows = [
        {"audio": "a.wav", "caption": "x", "timestamps": [event]},
        {"audio": "a.wav", "id": "quiet", "caption": "x", "timestamps": []},
        {"audio": "a.wav", "id": "wrong", "caption": "x", "timestamps": [event | {"offset": 0.1}]},
    ]
    source = write_rows(tmp_path / "s.jsonl", rows)
    report = prepare(PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl"))
    written = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [row["timestamps"] for row in written] == [[event], []]
    problem = next(problem for problem in report.problems if problem.kind == "row")
    assert problem.where == f"{source}:3"
    assert "timestamps" in problem.message


def test_loud_cancelling_and_damaged_sounds_are_reported_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = 0.3 * np.sin(np.arange(16_000) * 0.2)
    soundfile.write(tmp_path / "loud.wav", (tone * 32768).astype("float32"), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "cancels.wav", np.stack([tone, -0.99 * tone], axis=1), 16_000)
    noise(tmp_path / "damaged.wav", 1)
    checked = audio_common.check._check_in

    def check_with_a_complaint(pool: object, path: Path, *arguments: object) -> object:
        found = checked(pool, path, *arguments)
        return replace(found, problem="20 ms left out") if path.stem == "damaged" else found

    monkeypatch.setattr("audio_common.check._check_in", check_with_a_complaint)
    rows = [{"audio": f"{name}.wav", "caption": name} for name in ("loud", "cancels", "damaged")]
    config = PrepareJSONLConfig(source=write_rows(tmp_path / "s.jsonl", rows), out=tmp_path / "m.jsonl")
    report = prepare(config)
    assert {problem.where: (problem.kind, problem.message) for problem in report.problems} == {
        "loud": ("loud", "loudest sample at +80 dB; integers stored as floats?"),
        "cancels": ("cancels", "its 2 channels cancel each other; the loudest is taken"),
        "damaged": ("damaged", "20 ms left out"),
    }
    assert report.clips == 3
    first = prepare(replace(config, channel="first", out=tmp_path / "first.jsonl"))
    assert "cancels" not in {found.kind for found in first.kinds}
