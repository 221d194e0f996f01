"""Checks find what is wrong with a file, decode it once, and are remembered until it changes."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common import check
from audio_common.audio import audio_info
from audio_common.check import SILENT_DB, Check, CheckMemory, check_files, full_check, quick_check
from audio_common.config import CHANNELS
from audio_common.decoder import open_reader
from audio_common.reader import Reader
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 16_000


def noise(seed: int, seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * RATE)).astype(np.float32)


def write_out_of_phase(path: Path) -> Path:
    soundfile.write(path, np.stack([noise(0), -1.1 * noise(0)], axis=1), RATE)
    return path


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in range(8)]
    for number, path in enumerate(paths):
        soundfile.write(path, noise(number), RATE)
    return paths


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were checked, in order."""
    found: list[Path] = []
    for name in ("full_check", "quick_check"):
        real = getattr(check, name)

        def count(path: Path, *options: Any, real: Any = real) -> Check:
            found.append(path)
            return real(path, *options)

        monkeypatch.setattr(check, name, count)
    return found


def test_a_full_check_measures_what_is_there(tmp_path: Path) -> None:
    samples = noise(0, 2.5)
    samples[100] = 1 - 2.0**-15
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    found = full_check(tmp_path / "a.wav")
    assert (found.seconds, found.declared_seconds, found.peak_db) == (2.5, 2.5, 0.0)
    soundfile.write(tmp_path / "copy.flac", soundfile.read(tmp_path / "a.wav")[0], RATE)
    assert full_check(tmp_path / "copy.flac").digest == found.digest
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    assert full_check(tmp_path / "silent.wav").peak_db == SILENT_DB


def test_a_wav_that_was_cut_off_declares_more(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, noise(0, 2.0), RATE)
    whole = tmp_path / "whole.wav"
    whole.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[:RATE])
    found = full_check(path)
    assert found.seconds == pytest.approx(0.5, abs=0.01)
    assert found.declared_seconds == pytest.approx(2.0, abs=0.01)
    assert found.problem is not None
    assert re.fullmatch(r"ends after \d+ of \d+ samples", found.problem)
    assert full_check(whole).problem is None


def test_a_damaged_mp3_says_what_was_left_out(tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp3"
    soundfile.write(path, noise(0, 5.0), RATE)
    assert full_check(path).problem is None
    content = path.read_bytes()
    path.write_bytes(content[:8_000] + bytes(4_000) + content[12_000:])
    found = full_check(path)
    assert found.problem is not None
    assert found.seconds is not None
    assert found.seconds > 3


def test_channels_that_cancel_are_noticed_whichever_is_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_out_of_phase(tmp_path / "a.wav")
    for channel in CHANNELS:
        found = full_check(path, channel=channel)
        assert (found.num_channels, found.channels_cancel) == (2, True)
        assert found.peak_db == pytest.approx(-6.0 if channel == "first" else -5.2, abs=0.1)
    assert not caplog.records  # it is in the check
    soundfile.write(tmp_path / "mono.wav", noise(0), RATE)
    found = full_check(tmp_path / "mono.wav")
    assert (found.num_channels, found.channels_cancel) == (1, False)


def test_levels_beyond_full_scale_are_told(tmp_path: Path) -> None:
    path = tmp_path / "integers.wav"
    soundfile.write(path, np.round(noise(0) * 2**16), RATE, subtype="FLOAT")
    assert full_check(path).peak_db == pytest.approx(90.3, abs=0.1)


def test_a_quick_check_says_whether_its_length_is_an_estimate(
    sounds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quick_check(sounds[0]).is_exact
    guess = replace(audio_info(sounds[0]), num_frames=None, duration=23.0, is_exact=False)
    monkeypatch.setattr("audio_common.info.audio_info", lambda path: guess)
    found = quick_check(sounds[0])
    assert (found.seconds, found.declared_seconds, found.is_exact) == (23.0, None, False)

    def open_without_length(source: Path) -> Reader:
        reader = open_reader(source)
        reader.num_frames, reader.duration, reader.is_exact = None, 23.0, False
        return reader

    monkeypatch.setattr("audio_common.channels.open_reader", open_without_length)
    found = full_check(sounds[0])
    assert (found.seconds, found.declared_seconds, found.is_exact) == (1.0, None, True)


def test_a_quick_check_knows_copies_by_their_bytes(sounds: list[Path], tmp_path: Path) -> None:
    (tmp_path / "copy.wav").write_bytes(sounds[0].read_bytes())
    found = quick_check(tmp_path / "copy.wav")
    assert found == quick_check(sounds[0]) != quick_check(sounds[1])
    assert (found.seconds, found.peak_db) == (1.0, None)


def test_bad_files_are_failures_with_their_reason(sounds: list[Path], tmp_path: Path) -> None:
    (tmp_path / "words.wav").write_text("no sound")
    (tmp_path / "empty.flac").touch()
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    bad = [tmp_path / name for name in ("words.wav", "empty.flac", "nan.wav", "gone.wav")]
    checks, failures = check_files([*bad, *sounds], CheckMemory(tmp_path / "m.jsonl"))
    assert set(checks) == set(sounds)
    assert set(failures) == set(bad)
    assert all(path.name in reason for path, reason in failures.items())


def test_only_changed_files_and_failures_are_checked_again(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    paths = [*sounds, tmp_path / "bad.wav"]
    first, _ = check_files(paths, CheckMemory(tmp_path / "m.jsonl"))
    assert sorted(checked) == sorted(paths)
    checked.clear()
    soundfile.write(sounds[0], noise(99, 2.0), RATE)
    second, _ = check_files(paths, CheckMemory(tmp_path / "m.jsonl"))
    assert set(checked) == {sounds[0], tmp_path / "bad.wav"}
    assert {path for path in sounds if first[path] != second[path]} == {sounds[0]}
    checked.clear()
    check_files(paths, CheckMemory(tmp_path / "m.jsonl", forget=True))
    assert len(checked) == 9


def test_a_quick_check_does_not_pass_for_a_full_one(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    for is_quick, num_checked in ((True, 8), (True, 0), (False, 8), (True, 0), (False, 0)):
        checked.clear()
        check_files(sounds, CheckMemory(tmp_path / "m.jsonl", is_quick=is_quick))
        assert len(checked) == num_checked


def test_checks_of_different_channels_are_not_mixed(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    stereo = write_out_of_phase(tmp_path / "stereo.wav")
    digests = set()
    for channel, num_checked in (("mean", 2), ("mean", 0), ("first", 1), ("first", 0), ("mean", 1)):
        checked.clear()
        memory = CheckMemory(tmp_path / "m.jsonl")
        checks, _ = check_files([stereo, sounds[0]], memory, channel=channel)  # type: ignore[arg-type]
        assert len(checked) == num_checked  # of one channel, every choice is the same
        digests.add((channel, checks[stereo].digest))
    assert len(digests) == 2


def test_rows_of_an_older_version_are_checked_anew(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    path = tmp_path / "m.jsonl"
    check_files(sounds[:2], CheckMemory(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[0]["channels_cancel"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    checked.clear()
    check_files(sounds[:2], CheckMemory(path))
    assert checked == [Path(rows[0]["path"])]


def test_a_check_that_was_stopped_goes_on_where_it_was(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    path = tmp_path / "m.jsonl"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_files(sounds, CheckMemory(path), num_workers=1, progress=stop)
    assert len(path.read_text().splitlines()) == 3
    path.write_text(path.read_text() + '{"path": "half a li')
    checked.clear()
    checks, failures = check_files(sounds, CheckMemory(path), num_workers=1)
    assert (len(checks), failures, len(checked)) == (8, {}, 5)
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == [
        str(one) for one in sounds
    ]


def test_a_file_named_twice_is_decoded_once_and_counted_once(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    seen: list[tuple[int, int]] = []
    memory = CheckMemory(tmp_path / "m.jsonl")
    check_files(sounds * 2, memory, progress=lambda done, total: seen.append((done, total)))
    assert sorted(checked) == sounds
    assert seen == [(done, 8) for done in range(1, 9)]
    checked.clear()
    check_files(sounds, memory)  # the same memory: nothing is read from the file again
    assert checked == []


def test_what_describe_says_is_remembered_and_asked_for_where_it_lacks(
    sounds: list[Path], tmp_path: Path, checked: list[Path]
) -> None:
    memory = CheckMemory(tmp_path / "m.jsonl")
    check_files(sounds[:4], memory, sample_rate=8_000)
    checked.clear()
    options = {"sample_rate": 8_000, "describe": lambda samples: [len(samples), float(samples.max())]}
    checks, _ = check_files(sounds, memory, **options)
    assert len(checked) == 8  # the first four had no description
    assert {found.description[0] for found in checks.values()} == {8_000}
    checked.clear()
    assert check_files(sounds, CheckMemory(tmp_path / "m.jsonl"), **options)[0] == checks
    assert checked == []


def test_describe_gets_the_first_minute_whatever_the_blocks(tmp_path: Path) -> None:
    samples = noise(0, 75.0)
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    given: list[np.ndarray] = []
    full_check(tmp_path / "long.wav", RATE, given.append)
    np.testing.assert_array_equal(given[0], samples[: 60 * RATE])


@settings(max_examples=30, deadline=None)
@given(
    content=st.builds(
        Check,
        st.floats(0, 1e6) | st.none(),
        st.floats(0, 1e6) | st.none(),
        st.floats(-999, 0) | st.none(),
        st.text(max_size=40),
        st.none() | st.lists(st.integers()) | st.dictionaries(st.text(), st.floats(-1e9, 1e9)),
        st.integers(1, 64) | st.none(),
        st.booleans(),
        st.booleans(),
        st.text(max_size=40) | st.none(),
    )
)
def test_memory_gives_back_what_it_got(tmp_path_factory: pytest.TempPathFactory, content: Check) -> None:
    folder = tmp_path_factory.mktemp("memory")
    sound = folder / "caf\u00e9.wav"
    sound.touch()
    CheckMemory(folder / "new/m.jsonl").add(sound, content)
    assert CheckMemory(folder / "new/m.jsonl").get(sound) == content
    sound.write_bytes(b"1")
    assert CheckMemory(folder / "new/m.jsonl").get(sound) is None


@pytest.mark.parametrize("line", ["[1, 2]", "null", '{"path": "x"}', "\ufffd", ""])
def test_lines_that_are_no_checks_are_passed_over(tmp_path: Path, sounds: list[Path], line: str) -> None:
    path = tmp_path / "m.jsonl"
    check_files(sounds[:1], CheckMemory(path))
    path.write_text(line + "\n" + path.read_text(), encoding="utf-8")
    assert CheckMemory(path).get(sounds[0]) is not None
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["path"] == str(sounds[0])


def test_importing_it_does_not_load_torch() -> None:
    code = "import sys, audio_common.check, audio_common.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
