"""libmpg123's own lines do not reach the terminal; everything else does, from every thread."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, load_audio
from audio_common.check import full_check
from audio_common.raw_lines import caught_lines

ERROR = "[src/libmpg123/layer3.c:III_get_side_info():202] error: big_values too large!"
NOTE = "Note: Trying to resync..."


@pytest.fixture
def damaged(tmp_path: Path) -> list[Path]:
    """mp3 files that libmpg123 has something to say about: frames, a tag, a middle, words."""
    path = tmp_path / "good.mp3"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 80_000), 16_000, format="MP3")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytes(byte ^ 255 if rng.random() < 0.01 else byte for byte in content)
    tag = b"ID3\x03\0\0\0\0\x00\x20COMM\0\0\0\x04\0\0\x00eng" + bytes(18)
    contents = {
        "flipped": flipped,
        "tag": tag + content,
        "middle": content[:5000] + bytes(5000) + content[10_000:],
        "words": b"no sound at all",
    }
    for name, data in contents.items():
        (tmp_path / f"{name}.mp3").write_bytes(data)
    return [tmp_path / f"{name}.mp3" for name in contents]


def say(text: str) -> None:
    os.write(2, text.encode())


def test_its_lines_are_kept_and_others_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with caught_lines() as lines:
        say(f"\r 50 %{ERROR}\n\nNote: something else\n{NOTE}\nWarning: of another\n")
    assert lines == [ERROR, NOTE]
    assert capfd.readouterr().err == "\r 50 %\nNote: something else\nWarning: of another\n"
    say("afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_nothing_is_lost_or_doubled_with_many_threads(capfd: pytest.CaptureFixture[str]) -> None:
    together = threading.Barrier(4)

    def work(number: int) -> int:
        together.wait()
        count = 0
        for turn in range(200):
            with caught_lines() as lines:
                say(f"{NOTE}\n")
                say(f"{number} {turn}\n")
            count += len(lines)
        return count

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 800
    printed = capfd.readouterr().err.split("\n")
    assert sorted(printed) == sorted(
        [f"{number} {turn}" for number in range(4) for turn in range(200)] + [""]
    )


def test_an_error_leaves_the_descriptor_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)
    with pytest.raises(KeyError), caught_lines():
        raise KeyError
    assert os.fstat(2) == before


def test_damaged_mp3s_print_nothing(
    damaged: list[Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        logging.root, "handlers", [logging.NullHandler()]
    )  # our own warnings are another matter

    def load(path: Path) -> str:
        try:
            return str(len(load_audio(path)))
        except AudioError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, damaged * 5))
    assert capfd.readouterr().err == ""
    assert "libmpg123" in str(full_check(damaged[0]).problem)  # the file's reason instead


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_meanwhile_writes_where_it_should() -> None:
    code = """
import os, warnings
from audio_common.raw_lines import caught_lines
warnings.simplefilter("ignore")
with caught_lines():
    child = os.fork()
    if child == 0:
        os.write(2, b"child\\n")
        with caught_lines() as lines:
            os.write(2, b"Note: Trying to resync...\\n")
        os.write(2, str(len(lines)).encode())
        os._exit(0)
    os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "child\n1"


def test_a_process_without_stderr_reads_sounds_all_the_same(damaged: list[Path]) -> None:
    code = "import sys; from audio_common import load_audio; print(len(load_audio(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(damaged[1])]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command], check=True, stdout=subprocess.PIPE, text=True
    )
    assert closed.stdout == subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_damaged_file_object_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    """libsndfile seeks to before the beginning of an aiff that was cut off."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1000), 16_000, format="AIFF", subtype="FLOAT")
    for size in range(12, 120, 6):
        with contextlib.suppress(AudioError):
            load_audio(file.getvalue()[:size])
    assert capfd.readouterr().err == ""


class BrokenFile(io.BytesIO):
    """Fails once so much of it has been read."""

    def read(self, count: int | None = -1) -> bytes:
        if self.tell() > 50_000:
            raise OSError("the connection was lost")
        return super().read(count)

    def readinto(self, buffer: object) -> int:
        raise AttributeError


def test_a_file_object_that_fails_says_so_and_prints_no_traceback(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100_000), 16_000, format="WAV")
    with contextlib.suppress(AudioError):
        load_audio(BrokenFile(file.getvalue()))
    assert "reading failed: the connection was lost" in caplog.text
    assert "Traceback" not in capfd.readouterr().err


def test_metadata_of_macos_beside_a_sound_does_not_matter(tmp_path: Path) -> None:
    """libsndfile takes an mp3 for the sounds of an SD2, whose description lies in such a file."""
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
    for format_ in ("WAV", "MP3", "FLAC", "OGG", "AIFF"):
        path = tmp_path / f"a.{format_.lower()}"
        soundfile.write(path, noise, 16_000, format=format_)
        expected = load_audio(path)
        (tmp_path / f"._{path.name}").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(4000))
        assert torch.equal(load_audio(path), expected), format_


def test_ffmpeg_prints_nothing_about_damage(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests of another package may have left a handler that prints our own warnings.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    av = pytest.importorskip("av")
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 48_000)).astype(np.float32)
    with av.open(file, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = bytearray(file.getvalue())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content) // 4, len(content), (10, 40)):
        damaged = content.copy()
        for index in place:
            damaged[index] ^= 255
        with contextlib.suppress(AudioError):
            load_audio(bytes(damaged))
    assert capfd.readouterr().err == ""


def test_silence_never_stands_for_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of this name makes libsndfile take the bytes of an mp3 for an SD2, which it then cannot read."""
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(tmp_path / "a.mp3", noise, 16_000, format="MP3")
    (tmp_path / "._").write_bytes(b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(4000))
    monkeypatch.chdir(tmp_path)
    for part in ({}, {"offset": 1.0}):
        with pytest.raises(AudioError, match="cannot be read by libsndfile"):
            load_audio(Path("a.mp3").read_bytes(), **part)
