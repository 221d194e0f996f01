"""Whatever a sound is read from, AudioError is all that is raised, at once and in bounded memory."""

import io
import json
import os
import socket
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common import (
    AudioError,
    AudioFolder,
    BadFile,
    BatchLimits,
    CheckMemory,
    DecodeLimits,
    audio_info,
    check_files,
    decode_ahead,
    find_audio,
    is_audio,
    load_audio,
    measure_audio,
    stream_audio,
)
from audio_common.check import full_check, quick_check
from audio_common.waveform import as_waveform

RATE = 16_000


def tone(seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    samples = 0.3 * np.sin(np.arange(round(seconds * RATE)) * 0.2)
    return np.repeat(samples[:, None], channels, 1)


def wav(seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(seconds), RATE, format="WAV")
    return file.getvalue()


def odd_paths(folder: Path) -> dict[str, Path]:
    """Paths that lead to no sound that can be read."""
    (folder / "empty.wav").touch()
    (folder / "headless.raw").write_bytes(bytes(range(256)) * 200)
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "dangling.wav").symlink_to(folder / "nothing.wav")
    (folder / "to a device.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as file:
        before = Path.cwd()
        os.chdir(folder)  # a socket's name has 108 bytes
        try:
            file.bind("socket.wav")
        finally:
            os.chdir(before)
    (folder / "locked.wav").write_bytes(wav())
    (folder / "locked.wav").chmod(0)
    names = ["empty.wav", "headless.raw", "pipe.wav", "folder.wav", "loop.wav", "dangling.wav", "socket.wav"]
    names += [
        "to a device.wav",
        "missing.wav",
        "a\0b.wav",
        "\ud800.wav",
        "a" * 5000 + ".wav",
        "x/" * 3000,
        "\n",
    ]
    if os.geteuid():
        names.append("locked.wav")
    devices = {
        "/dev/zero": Path("/dev/zero"),
        "/dev/null": Path("/dev/null"),
        "below a file": folder / "empty.wav/a",
    }
    return {name[:20]: folder / name for name in names} | devices


ways: dict[str, Callable[[Any], Any]] = {
    "load_audio": load_audio,
    "stream_audio": lambda source: list(stream_audio(source)),
    "audio_info": audio_info,
    "measure_audio": measure_audio,
    "as_waveform": as_waveform,
    "full_check": full_check,
    "quick_check": quick_check,
}


@pytest.mark.parametrize("way", ways)
def test_every_odd_path_is_an_audio_error_that_can_be_printed(tmp_path: Path, way: str) -> None:
    for name, path in odd_paths(tmp_path).items():
        with pytest.raises(AudioError) as error:
            ways[way](path)
        message = str(error.value)
        assert message.isprintable(), name
        assert len(message.encode()) < 1000, name


@pytest.mark.parametrize("limits", [None, DecodeLimits()])
def test_odd_paths_are_rows_of_bulk_jobs(tmp_path: Path, limits: DecodeLimits | None) -> None:
    odd = list(odd_paths(tmp_path).values())
    (tmp_path / "good.wav").write_bytes(wav())
    paths = [*odd, tmp_path / "good.wav"]
    bad: list[BadFile] = []
    found = list(decode_ahead(paths, BatchLimits(), bad_files=bad, decode_limits=limits))
    assert [indices for indices, _ in found] == [[len(odd)]]
    assert sorted(file.index for file in bad) == list(range(len(odd)))
    for quick in (False, True):
        memory = CheckMemory(tmp_path / f"{quick}.jsonl", is_quick=quick)
        checks, failures = check_files(paths, memory, decode_limits=limits)
        assert list(checks) == [tmp_path / "good.wav"]
        assert failures.keys() == set(odd)
        assert json.loads(json.dumps(list(failures.values())).encode())


def test_a_sound_in_a_file_named_raw_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.RAW").write_bytes(wav())
    assert len(load_audio(tmp_path / "a.RAW")) == RATE
    assert full_check(tmp_path / "a.RAW").seconds == 1.0


def test_looking_for_files_passes_over_odd_names(tmp_path: Path) -> None:
    odd_paths(tmp_path)
    assert tmp_path / "pipe.wav" in find_audio(tmp_path)
    folder = AudioFolder(tmp_path)
    for name in ("a\0b.wav", "\ud800.wav", "a" * 5000, "x/" * 3000 + "y.wav", ""):
        is_audio(name)
        with pytest.raises(LookupError):
            folder.find(name)
        with pytest.raises(FileNotFoundError):
            AudioFolder(tmp_path / f"{name}none")
    assert find_audio(tmp_path / "nothing") == []


class Failing(io.BytesIO):
    """A file object on which something fails from the beginning, or when most of it has been read."""

    def __init__(self, method: str, error: Exception, after: int = 0) -> None:
        super().__init__(wav(20.0))
        self._method, self._error, self._left = method, error, after

    def _count(self, method: str) -> None:
        if method == self._method:
            self._left -= 1
            if self._left < 0:
                raise self._error

    def read(self, *args: Any) -> bytes:
        self._count("read")
        return super().read(*args)

    def readinto(self, *args: Any) -> int:
        self._count("read")
        return super().readinto(*args)

    def seek(self, *args: Any) -> int:
        self._count("seek")
        return super().seek(*args)

    def tell(self) -> int:
        self._count("tell")
        return super().tell()

    def seekable(self) -> bool:
        self._count("seekable")
        return True


ERRORS = [
    OSError("the disk is gone"),
    zipfile.BadZipFile("bad CRC"),
    EOFError(),
    MemoryError(),
    RuntimeError("odd"),
    KeyError("x"),
    io.UnsupportedOperation("seek"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"),
]


@pytest.mark.parametrize("method", ["read", "seek", "tell", "seekable"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_file_objects_are_audio_errors(method: str, error: Exception) -> None:
    for after in (0, 1, 3, 6, 20):
        for way in ("load_audio", "audio_info"):
            try:
                ways[way](Failing(method, error, after))
            except AudioError as found:
                assert "<file object>" in str(found) or "expected" in str(found)  # noqa: PT017


class Pipe(io.RawIOBase):
    """Cannot go back, and gives a sound or no end."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        if self._content is None:
            assert size > 0, "all of an endless stream is asked for"
            return bytes(size)
        content, self._content = self._content, b""
        return content


def test_pipes_are_read_as_far_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audio_common.channels.LARGEST_STREAM", 1 << 24)
    assert len(load_audio(Pipe(wav()))) == RATE  # type: ignore[arg-type]
    for content, problem in ((b"", "empty"), (None, "is a stream of more than 16 MiB")):
        with pytest.raises(AudioError, match=problem):
            load_audio(Pipe(content))  # type: ignore[arg-type]


LIARS = {
    "text": lambda: io.StringIO("words"),
    "closed": lambda: closed(),
    "None": lambda: lying(read=lambda *_: None),
    "text in binary": lambda: lying(read=lambda *_: "words"),
    "nowhere": lambda: lying(seek=lambda *_: -1, tell=lambda: -5),
    "a huge size": lambda: lying(seek=lambda *_: 1 << 62),
    "not a number": lambda: lying(tell=lambda: "here"),
    "an endless device": lambda: Path("/dev/zero").open("rb"),  # noqa: SIM115
    "no file": lambda: object(),
    "a number": lambda: 5,
    "nothing": lambda: None,
    "a dict": lambda: {"array": [1, 2]},
}


def closed() -> io.BytesIO:
    file = io.BytesIO(wav())
    file.close()
    return file


def lying(**methods: Any) -> Any:
    return type("Lying", (io.BytesIO,), {name: lambda self, *a, m=m: m(*a) for name, m in methods.items()})(
        wav()
    )


@pytest.mark.parametrize("name", LIARS)
def test_what_is_no_file_is_an_audio_error(name: str) -> None:
    for way in ("load_audio", "stream_audio", "audio_info", "measure_audio", "as_waveform"):
        with pytest.raises(AudioError) as error:
            ways[way](LIARS[name]())
        assert str(error.value).isprintable()


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """An hour of silence, by its number of channels: tens of kilobytes that do not tell their length."""
    paths = {}
    for channels in (1, 2):
        path = paths[channels] = tmp_path_factory.mktemp("hour") / f"{channels}.flac"
        with soundfile.SoundFile(path, "w", RATE, channels, format="FLAC") as file:
            for _ in range(60):
                file.write(np.zeros((60 * RATE, channels), np.int16))
        content = bytearray(path.read_bytes())
        assert len(content) < 200_000 * channels
        content[21] &= 0xF0
        content[22:26] = bytes(4)  # no number of samples
        path.write_bytes(content)
    return paths


@pytest.fixture
def held() -> Iterator[Callable[[], float]]:
    """The most memory that was held at once, MB."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("channel", ["mean", "loudest"])
@pytest.mark.parametrize("channels", [1, 2])
def test_no_more_is_decoded_than_is_asked_for(
    hour: dict[int, Path], channels: int, channel: Any, held: Callable[[], float]
) -> None:
    assert len(load_audio(hour[channels], duration=20.0, channel=channel)) == 20 * RATE
    assert len(next(stream_audio(hour[channels], block_seconds=1.0, channel=channel))) == RATE
    with pytest.raises(AudioError, match="has more than the 30 s that are allowed"):
        load_audio(hour[channels], max_seconds=30.0, channel=channel)
    with pytest.raises(AudioError, match="has more than the 30 s"):
        full_check(hour[channels], channel=channel, max_seconds=30.0)
    bad: list[BadFile] = []
    complaints: list[BadFile] = []
    found = decode_ahead(
        [hour[channels]],
        BatchLimits(),
        bad_files=bad,
        max_seconds=30.0,
        complaints=complaints,
        channel=channel,
    )
    assert list(found) == complaints == []
    assert "has more than the 30 s" in bad[0].reason
    assert held() < 20


@pytest.mark.parametrize("limits", [None, DecodeLimits()])
@pytest.mark.parametrize(("seconds", "is_good"), [(2.0, True), (2.001, False), (1.5, True)])
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_the_longest_that_is_allowed_is_allowed(
    tmp_path: Path, suffix: str, seconds: float, is_good: bool, limits: DecodeLimits | None
) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", tone(seconds), RATE)
    bad: list[BadFile] = []
    found = list(
        decode_ahead(
            [tmp_path / f"a.{suffix}"], BatchLimits(), bad_files=bad, max_seconds=2.0, decode_limits=limits
        )
    )
    assert bool(found) == is_good
    assert bool(bad) != is_good
    assert len(load_audio(tmp_path / f"a.{suffix}", offset=0.5, max_seconds=1.6)) == round(
        (seconds - 0.5) * RATE
    )


@pytest.mark.parametrize("limits", [None, DecodeLimits()])
def test_complaints_make_no_sound_bad(tmp_path: Path, limits: DecodeLimits | None) -> None:
    soundfile.write(tmp_path / "cancels.wav", tone(1.0, 2) * [1, -1], RATE)
    soundfile.write(tmp_path / "holed.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE), RATE)
    content = bytearray((tmp_path / "holed.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    (tmp_path / "holed.flac").write_bytes(content)
    (tmp_path / "good.wav").write_bytes(wav())
    paths = [tmp_path / name for name in ("good.wav", "cancels.wav", "holed.flac")]
    bad: list[BadFile] = []
    complaints: list[BadFile] = []
    found = decode_ahead(paths, BatchLimits(), bad_files=bad, complaints=complaints, decode_limits=limits)
    assert sorted(index for indices, _ in found for index in indices) == [0, 1, 2]
    assert bad == []
    assert sorted({complaint.index for complaint in complaints}) == [1, 2]
    assert all(complaint.partly and complaint.path == paths[complaint.index] for complaint in complaints)
    texts = [complaint.reason for complaint in complaints if complaint.index == 1]
    assert len(texts) == 1
    assert "channels cancel each other" in texts[0]
    assert any("at 2." in complaint.reason for complaint in complaints if complaint.index == 2)
    streamed: list[str] = []
    list(stream_audio(paths[1], complaints=streamed))
    assert streamed == texts
