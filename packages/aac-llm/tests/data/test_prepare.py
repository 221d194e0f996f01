import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from aac_llm.config.prepare import PrepareJSONLConfig
from aac_llm.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from aac_llm.data.prepare import prepare, report_path


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
    with pytest.raises(ManifestError, match=r"not one of 0 clips can be used; .*m\.report\.json"):
        prepare(PrepareJSONLConfig(source=source, out=tmp_path / "m.jsonl"))


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
