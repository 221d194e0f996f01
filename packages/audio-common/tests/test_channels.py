"""Which channel is heard is decided by the file's beginning, the same however the file is read."""

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common import channels, decoder
from audio_common.audio import AudioError, load_audio, stream_audio
from audio_common.channels import Verdict, judge
from audio_common.config import CHANNELS
from audio_common.reader import Reader

RATE = 16_000


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_memory", channels._Memory())


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right], axis=1)


def out_of_phase(seconds: float) -> np.ndarray:
    """The second channel is the louder one, turned upside down."""
    sound = noise(seconds)
    return stereo(sound, -1.1 * sound)


def write(path: Path, sound: np.ndarray, **options: str) -> Path:
    soundfile.write(path, sound, RATE, subtype=options.pop("subtype", "FLOAT"), **options)
    return path


def wav_bytes(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, subtype="FLOAT", format="WAV")
    return file.getvalue()


def read_in_every_way(path: Path, channel: str) -> dict[str, torch.Tensor]:
    """Samples from 1 s to 2 s, cut out of what each way of reading gives."""
    part = {"channel": channel, "offset": 1.0, "duration": 1.0}
    content = path.read_bytes()
    read, written = os.pipe()
    os.write(written, content[: 1 << 16])
    os.close(written)
    whole = slice(RATE, 2 * RATE)
    with path.open("rb") as file, os.fdopen(read, "rb") as pipe:
        return {
            "part of a path": load_audio(path, **part),
            "path": load_audio(path, channel=channel)[whole],
            "text": load_audio(str(path), channel=channel)[whole],
            "stream": torch.cat(list(stream_audio(path, channel=channel, block_seconds=0.3)))[whole],
            "part of a stream": torch.cat(list(stream_audio(path, block_seconds=0.3, **part))),
            "part of bytes": load_audio(content, **part),
            "bytes": load_audio(content, channel=channel)[whole],
            "file": load_audio(file, channel=channel)[whole],
            "part of a file": load_audio(file, **part),
            "part of a pipe": load_audio(pipe, channel=channel, duration=1.0, offset=0.0)[:1000],
        }


@pytest.mark.parametrize(("channel", "index"), [("mean", 1), ("loudest", 1), ("first", 0)])
def test_every_way_of_reading_takes_the_same_channel(tmp_path: Path, channel: str, index: int) -> None:
    sound = out_of_phase(3.0)
    path = write(tmp_path / "a.wav", sound)
    expected = torch.from_numpy(sound[RATE : 2 * RATE, index])
    found = read_in_every_way(path, channel)
    pipe = found.pop("part of a pipe")
    assert torch.equal(pipe, torch.from_numpy(sound[:1000, index]))
    for way, samples in found.items():
        assert torch.equal(samples, expected), way


def test_the_beginning_decides_for_a_part_where_nothing_cancels(tmp_path: Path) -> None:
    sound = np.concatenate([out_of_phase(11.0), stereo(noise(3.0, 1), noise(3.0, 2))])
    path = write(tmp_path / "a.wav", sound)
    for source in (path, path.read_bytes()):
        part = load_audio(source, offset=12.0, duration=1.0)
        assert torch.equal(part, torch.from_numpy(sound[12 * RATE : 13 * RATE, 1]))
    assert torch.equal(load_audio(path), torch.from_numpy(sound[:, 1].copy()))


def test_what_cancels_later_than_the_beginning_is_averaged_throughout(tmp_path: Path) -> None:
    sound = np.concatenate([stereo(noise(10.5, 1), noise(10.5, 2)), out_of_phase(3.0)])
    path = write(tmp_path / "a.wav", sound)
    mean = torch.from_numpy(sound.mean(axis=1))
    assert torch.equal(load_audio(path), mean)
    assert torch.equal(load_audio(path.read_bytes(), offset=12.0), mean[12 * RATE :])


@pytest.mark.parametrize("start", [0.0, 30.0])
def test_a_silent_beginning_does_not_decide(tmp_path: Path, start: float) -> None:
    silence = np.zeros((25 * RATE, 2), np.float32)
    sound = np.concatenate([silence, out_of_phase(7.0)])
    path = write(tmp_path / "a.wav", sound)
    for source in (path.read_bytes(), path):
        samples = load_audio(source, offset=start)
        assert torch.equal(samples, torch.from_numpy(sound[round(start * RATE) :, 1].copy()))


def test_a_sound_that_is_quiet_throughout_is_judged_all_the_same(tmp_path: Path) -> None:
    sound = out_of_phase(25.0) * np.float32(1e-5)
    path = write(tmp_path / "a.wav", sound)
    for source in (path.read_bytes(), path):
        assert torch.equal(load_audio(source, offset=20.0), torch.from_numpy(sound[20 * RATE :, 1].copy()))
        assert torch.equal(load_audio(source), torch.from_numpy(sound[:, 1].copy()))
    assert judge(sound, RATE) == judge(sound[: 3 * RATE], RATE) == Verdict(1, True)


def test_sounds_that_do_not_cancel_are_averaged_as_ever(tmp_path: Path) -> None:
    left, right = noise(1.0, 1), noise(1.0, 2)
    sounds = [
        stereo(left, right),
        stereo(left, 0 * left),
        stereo(left, left),
        stereo(left, -0.5 * left),  # 6 dB below the half of a lone channel: quiet, yet there
        np.stack([left, right, noise(1.0, 3)], axis=1),
        np.pad(left[:, None], ((0, 0), (0, 15))),  # one of sixteen: 24 dB below it, but nothing cancels it
    ]
    for number, sound in enumerate(sounds):
        loaded = load_audio(write(tmp_path / f"{number}.wav", sound))
        mean = sound[:, 0] + sound[:, 1]
        for channel in range(2, sound.shape[1]):
            mean += sound[:, channel]
        assert torch.equal(loaded, torch.from_numpy(mean / np.float32(sound.shape[1]))), number


def test_an_offset_of_the_recorder_does_not_hide_that_channels_cancel() -> None:
    assert judge(out_of_phase(1.0) + np.float32(0.1), RATE) == Verdict(1, True)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([1, -1], Verdict(0, True)),
        ([0.5, -0.55], Verdict(1, True)),
        ([1, -0.5], Verdict(0, False)),
        ([0.9, 1.0], Verdict(1, False)),
        ([1, 1, -2], Verdict(2, True)),
        ([1, -1, 1, -1, 1, -1], Verdict(0, True)),
        ([0, 1, -1, 0], Verdict(1, True)),
        ([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Verdict(2, False)),
        ([0, 0], Verdict(0, False)),
    ],
)
def test_the_verdict_on_channels_of_one_sound(gains: list[float], expected: Verdict) -> None:
    assert judge(noise(1.0)[:, None] * np.array(gains, np.float32), RATE) == expected


def test_one_warning_a_file_that_says_what_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.wav", out_of_phase(3.0))
    for _ in range(2):
        load_audio(path)
        load_audio(path, offset=1.0)
        list(stream_audio(str(path)))
    load_audio(path, channel="first")
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(path) in message
    assert "2 channels cancel each other; channel 2, the loudest, is taken instead" in message
    caplog.clear()
    write(path, stereo(noise(4.0, 1), noise(4.0, 2)))  # another file by that name
    assert len(load_audio(path)) == 4 * RATE
    assert not caplog.records


def test_a_choice_of_the_loudest_does_not_take_the_warning_of_a_later_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.wav", out_of_phase(1.0))
    load_audio(path, channel="loudest")
    assert not caplog.records
    load_audio(path)
    assert len(caplog.records) == 1


class FailingReader:
    """Fails from 8 s on."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
        for block in self._reader.blocks(start, count):
            start += len(block)
            if start > 8 * RATE:
                raise AudioError("it changes its rate")
            yield block


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Samples decoded, block by block, after a 0 for each opening."""
    found: list[int] = []

    class CountingReader(FailingReader):
        def blocks(self, start: int, count: int | None) -> Iterator[np.ndarray]:
            for block in self._reader.blocks(start, count):
                found.append(len(block))
                yield block

    def count_open(source: object) -> CountingReader:
        found.append(0)
        return CountingReader(decoder.open_reader(source))  # type: ignore[arg-type]

    monkeypatch.setattr(channels, "open_reader", count_open)
    return found


def test_reading_from_the_start_decodes_once(tmp_path: Path, decoded: list[int]) -> None:
    path = write(tmp_path / "a.wav", out_of_phase(15.0))
    load_audio(path)
    assert (decoded.count(0), sum(decoded)) == (1, 15 * RATE)


def test_the_beginning_is_decoded_once_for_many_parts(tmp_path: Path, decoded: list[int]) -> None:
    path = write(tmp_path / "a.wav", out_of_phase(15.0))
    for number in range(5):
        load_audio(path, offset=12.0 + number / 10, duration=0.1)
    assert decoded.count(0) == 6
    assert sum(decoded) <= 10 * RATE + (1 << 16) + 5 * RATE / 10


def test_one_channel_is_never_judged(tmp_path: Path, decoded: list[int]) -> None:
    path = write(tmp_path / "mono.wav", noise(15.0))
    for channel in CHANNELS:
        load_audio(path, offset=14.0, channel=channel)
    assert decoded == [0, RATE] * 3


def test_an_error_after_the_part_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning ends in an error: it is judged by what is before, and parts before it load as ever."""
    monkeypatch.setattr(channels, "open_reader", lambda source: FailingReader(decoder.open_reader(source)))
    sound = out_of_phase(20.0)
    path = write(tmp_path / "a.wav", sound)
    taken = torch.from_numpy(sound[: 2 * RATE, 1].copy())
    for source in (path.read_bytes(), path):
        assert torch.equal(load_audio(source, duration=2.0), taken)
        assert torch.equal(load_audio(source, offset=1.0, duration=1.0), taken[RATE:])
        with pytest.raises(AudioError, match="changes its rate"):
            load_audio(source)
    stream = stream_audio(path.read_bytes(), block_seconds=1.0)
    assert torch.equal(next(stream), taken[:RATE])
    with pytest.raises(AudioError, match="changes its rate"):
        list(stream)


@pytest.mark.parametrize("channel", ["mean", "first", "loudest"])
def test_a_bad_value_in_any_channel_is_refused_where_it_is_read(channel: str) -> None:
    sound = stereo(noise(3.0, 1), noise(3.0, 2))
    sound[2 * RATE, 1] = np.nan
    content = wav_bytes(sound)
    with pytest.raises(AudioError, match=f"holds nan at sample {2 * RATE}"):
        load_audio(content, channel=channel)  # type: ignore[arg-type]
    assert len(load_audio(content, duration=1.0, channel=channel)) == RATE  # type: ignore[arg-type]


def test_a_channel_that_there_is_not_is_refused() -> None:
    with pytest.raises(AudioError, match="channel must be mean, first or loudest, got 'left'"):
        load_audio(wav_bytes(noise(0.1)), channel="left")  # type: ignore[arg-type]
