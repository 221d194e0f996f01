import io
import logging
import os
import re
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from audio_common import sndfile
from audio_common.audio import AudioError, audio_info, load_audio, stream_audio
from hypothesis import given, settings
from hypothesis import strategies as st

RATES = st.sampled_from([1_000, 8_000, 11_025, 16_000, 22_050, 44_099, 44_100, 48_000, 96_000, 768_000])
FORMATS = {  # with the rates that each allows
    "wav": ("WAV", "PCM_16", 44_100),
    "wav24": ("WAV", "PCM_24", 48_000),
    "float": ("WAV", "FLOAT", 22_050),
    "flac": ("FLAC", "PCM_16", 44_100),
    "aiff": ("AIFF", "PCM_16", 8_000),
    "ogg": ("OGG", "VORBIS", 44_100),
    "opus": ("OGG", "OPUS", 48_000),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100),
    "mp3 of half the rate": ("MP3", "MPEG_LAYER_III", 22_050),
}
CONTAINERS = {
    "m4a": ("ipod", "aac", 44_100),
    "mp4": ("mp4", "aac", 22_050),
    "alac": ("ipod", "alac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "flac", 44_100),
    "mp3 in mkv": ("matroska", "libmp3lame", 44_100),
    "aac": ("adts", "aac", 16_000),
    "flv": ("flv", "aac", 44_100),
    "ts": ("mpegts", "aac", 48_000),
    "wma": ("asf", "wmav2", 44_100),
}

UNALIGNED = {"aac", "flv", "ts", "wma"}
"""Containers that do not record their encoder's delay."""


def make_sound(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Tones that rise, so that no piece resembles another; (samples, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [0.3 * np.sin(2 * np.pi * (200 + 30 * channel + 40 * time) * time) for channel in range(channels)]
    return np.stack(tones, axis=1).astype(np.float32)


def encode(sound: np.ndarray, format_: str, subtype: str, rate: int) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, sound.shape[1], format=format_, subtype=subtype) as out:
        for start in range(0, len(sound), 1 << 15):  # libsndfile overflows its stack on long writes of vorbis
            out.write(sound[start : start + (1 << 15)])
    return file.getvalue()


def encode_with_av(sound: np.ndarray, format_: str, codec: str, rate: int) -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    layout = "mono" if sound.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=format_) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def wav(sound: np.ndarray, rate: int = 16_000) -> bytes:
    return encode(sound if sound.ndim == 2 else sound[:, None], "WAV", "FLOAT", rate)


def noise(num_samples: int, *channels: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.5, 0.5, (num_samples, *channels)).astype(np.float32)


# --- what is loaded


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_loading_equals_soundfile_and_soxr_in_one_go(name, channels):
    format_, subtype, rate = FORMATS[name]
    content = encode(make_sound(4.0, rate, channels), format_, subtype, rate)
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    expected = soxr.resample(samples.mean(axis=1), rate, 16_000, quality="HQ")
    loaded = load_audio(content)
    assert loaded.dtype == torch.float32
    tolerance = 1e-6 if "mp3" in name else 0.0  # mpg123 rounds by the place of a frame in its buffer
    torch.testing.assert_close(loaded, torch.from_numpy(expected), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_containers_that_soundfile_cannot_read_are_loaded(name, channels):
    format_, codec, rate = CONTAINERS[name]
    sound = make_sound(3.0, rate, channels)
    content = encode_with_av(sound, format_, codec, rate)
    loaded = load_audio(content, sample_rate=rate).numpy()
    assert abs(len(loaded) - len(sound)) <= 4096  # codecs pad their last frame; wma loses its first
    piece, window = sound.mean(1)[rate : rate + 4096], loaded[rate - 4096 : rate + 8192]
    similarity = np.correlate(window, piece)
    delay = int(similarity.argmax()) - 4096
    found = loaded[rate + delay : rate + delay + 4096]
    assert np.corrcoef(found, piece)[0, 1] > 0.9
    assert abs(delay) < 8 or name in UNALIGNED
    info = audio_info(content)
    assert (info.sample_rate, info.num_channels) == (rate, channels)
    assert info.duration == pytest.approx(3.0, abs=0.2)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30_000), RATES, st.sampled_from([8_000, 16_000, 32_000, 44_100]), st.integers(1, 20_000)
)
def test_block_by_block_equals_one_go(num_samples, from_rate, to_rate, block):
    sound = noise(num_samples, seed=num_samples)
    expected = soxr.resample(sound, from_rate, to_rate, quality="HQ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sndfile, "BLOCK", block)
        if len(expected):
            assert torch.equal(
                load_audio(wav(sound, from_rate), sample_rate=to_rate), torch.from_numpy(expected)
            )
        else:
            with pytest.raises(AudioError, match="has no sample at"):
                load_audio(wav(sound, from_rate), sample_rate=to_rate)


@settings(max_examples=40, deadline=None)
@given(RATES, st.floats(0, 1.2), st.floats(0.01, 1.2), st.sampled_from([8_000, 16_000]))
def test_a_segment_equals_the_cut_sound_resampled(rate, offset, duration, to_rate):
    sound = noise(rate, seed=rate)
    start = round(offset * rate)
    expected = soxr.resample(
        sound[start : start + max(1, round(duration * rate))], rate, to_rate, quality="HQ"
    )
    content = wav(sound, rate)
    if len(expected):
        loaded = load_audio(content, sample_rate=to_rate, offset=offset, duration=duration)
        assert torch.equal(loaded, torch.from_numpy(expected))
        assert abs(len(loaded) - min(duration, 1 - offset) * to_rate) <= 1 + to_rate / rate
    else:
        with pytest.raises(AudioError, match=r"declares 1\.000 s, has no sample"):
            load_audio(content, sample_rate=to_rate, offset=offset, duration=duration)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 3.0), st.floats(0, 1.5), st.none() | st.floats(0.1, 3.0), RATES)
def test_streamed_blocks_joined_equal_loading(block_seconds, offset, duration, rate):
    content = wav(noise(2 * rate, 2), rate)
    segment = {"offset": offset, "duration": duration}
    blocks = list(stream_audio(content, block_seconds=block_seconds, **segment))
    assert torch.equal(torch.cat(blocks), load_audio(content, **segment))
    length = round(block_seconds * 16_000)
    assert all(len(block) == length for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= length


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(2))
def test_segments_are_sample_exact_in_every_format(name, seed):
    format_, subtype, rate = FORMATS[name]
    generator = np.random.default_rng(seed)
    sound = make_sound(9.0, rate) + 0.05 * noise(9 * rate, 1)
    content = encode(sound, format_, subtype, rate)
    whole = load_audio(content, sample_rate=rate)
    starts = [
        *generator.integers(0, len(whole) - 1, 15),
        *(len(whole) - generator.integers(1, 5_000, 3)),
        1,
        1152,
    ]
    for start in map(int, starts):
        segment = load_audio(content, sample_rate=rate, offset=start / rate, duration=0.2)
        expected = whole[start : start + round(0.2 * rate)]
        torch.testing.assert_close(segment, expected, rtol=0, atol=1e-6 if "mp3" in name else 1e-7)


def test_segments_of_an_mp3_whose_frames_draw_on_many_before_them_are_exact():
    generator = np.random.default_rng(0)
    sound = np.zeros((12 * 22_050, 1), np.float32)
    sound[generator.integers(0, len(sound), 20)] = 0.9  # clicks: the bits saved in silence go to the next one
    content = encode(sound, "MP3", "MPEG_LAYER_III", 22_050)
    whole = load_audio(content, sample_rate=22_050)
    for start in map(int, generator.integers(20_000, len(whole) - 5_000, 40)):
        segment = load_audio(content, sample_rate=22_050, offset=start / 22_050, duration=0.15)
        torch.testing.assert_close(segment, whole[start : start + len(segment)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CONTAINERS)
def test_segments_of_containers_are_sample_exact(name):
    format_, codec, rate = CONTAINERS[name]
    content = encode_with_av(make_sound(12.0, rate), format_, codec, rate)
    whole = load_audio(content, sample_rate=rate)
    for start in map(int, np.random.default_rng(0).integers(0, len(whole) - rate, 8)):
        segment = load_audio(content, sample_rate=rate, offset=start / rate, duration=0.2)
        torch.testing.assert_close(segment, whole[start : start + round(0.2 * rate)], rtol=0, atol=1e-3)


def test_a_segment_of_a_long_m4a_is_sought_not_decoded(monkeypatch):
    container = pytest.importorskip("audio_common.container")
    content = encode_with_av(make_sound(60.0, 16_000), "ipod", "aac", 16_000)
    decoded = []
    convert = container._samples
    monkeypatch.setattr(container, "_samples", lambda frame: decoded.append(frame.samples) or convert(frame))
    load_audio(content, offset=50.0, duration=1.0)
    assert sum(decoded) < 3 * 16_000


def test_a_duration_past_the_end_gives_what_is_there():
    content = wav(noise(16_000))
    assert len(load_audio(content, offset=0.75, duration=60.0)) == 4_000
    assert len(load_audio(content, duration=1e300)) == 16_000


def test_channels_are_averaged():
    sound = noise(1_000, 5)
    torch.testing.assert_close(load_audio(wav(sound)), torch.from_numpy(sound.mean(1)), rtol=1e-6, atol=1e-7)
    assert len(load_audio(wav(noise(100, 64)))) == 100


def test_samples_beyond_one_are_passed_through():
    assert torch.equal(load_audio(wav(np.array([0.5, -3.0], np.float32))), torch.tensor([0.5, -3.0]))


# --- where it is loaded from


@pytest.fixture(params=["flac", "m4a"])
def file(request, tmp_path: Path) -> Path:
    path = tmp_path / f"a sound ünd {request.param}"
    if request.param == "flac":
        path.write_bytes(encode(make_sound(1.0, 22_050, 2), "FLAC", "PCM_16", 22_050))
    else:
        path.write_bytes(encode_with_av(make_sound(1.0, 22_050, 2), "ipod", "aac", 22_050))
    return path


def test_path_bytes_and_file_objects_load_the_same(file):
    expected = load_audio(file)
    assert torch.equal(load_audio(str(file)), expected)
    assert torch.equal(load_audio(file.read_bytes()), expected)
    with file.open("rb") as opened:
        opened.seek(100)
        assert torch.equal(load_audio(opened), expected)
        assert audio_info(opened) == audio_info(file)
        assert not opened.closed


def test_a_pipe_loads_like_a_file(file):
    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(file.read_bytes()[: 1 << 16])
    with os.fdopen(read, "rb") as pipe:
        assert torch.equal(load_audio(pipe), load_audio(file.read_bytes()[: 1 << 16]))


def test_no_file_is_left_open(file):
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("lists open files on Linux only")
    load_audio(file)
    before = len(list(folder.iterdir()))
    for _ in range(3):
        load_audio(file, offset=0.1)
        audio_info(file)
        list(stream_audio(file))
        with pytest.raises(AudioError):
            load_audio(file, offset=5.0)
    assert len(list(folder.iterdir())) == before


def test_info_says_what_the_header_says():
    info = audio_info(encode(make_sound(1.5, 44_100, 2), "FLAC", "PCM_16", 44_100))
    assert (info.sample_rate, info.num_channels, info.num_frames) == (44_100, 2, 66_150)
    assert (info.duration, info.format) == (1.5, "flac/pcm_16")


def test_streaming_a_long_file_takes_bounded_memory(tmp_path):
    path = tmp_path / "long.wav"
    second = np.zeros((48_000, 2), np.int16)
    with soundfile.SoundFile(path, "w", 48_000, 2, subtype="PCM_U8") as out:
        for _ in range(600):  # 230 MB as float32
            out.write(second)
    tracemalloc.start()
    num_samples = sum(len(block) for block in stream_audio(path, block_seconds=10.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_samples == 600 * 16_000
    assert peak < 8e6


# --- what cannot be loaded


def test_a_missing_file_a_directory_and_a_device_are_named(tmp_path):
    for path, message in (
        (tmp_path / "no.wav", "No such file"),
        (tmp_path, "not a file"),
        ("/dev/null", "not a file"),
    ):
        with pytest.raises(AudioError, match=message) as caught:
            load_audio(path)
        assert str(path) in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(wav(noise(10)))
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        load_audio(path)


def test_what_is_no_source_is_refused(tmp_path):
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(noise(10)))
    with pytest.raises(AudioError, match="got int"):
        load_audio(3)
    with path.open(encoding="latin-1") as text, pytest.raises(AudioError, match="mode 'rb'"):
        load_audio(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offset": -0.1}, r"offset must be from 0 to 1e\+09 s, got -0\.1"),
        ({"offset": float("nan")}, "got nan"),
        ({"duration": 0.0}, "duration must be finite and positive, got 0.0"),
        ({"duration": -1.0}, "got -1.0"),
        ({"duration": float("inf")}, "got inf"),
        ({"sample_rate": 0}, "sample_rate must be 1000 to 768000 Hz, got 0"),
        ({"sample_rate": 10**9}, "got 1000000000"),
        ({"offset": 7.5}, r"declares 1\.000 s, has no sample at 16000 Hz from 7\.5 s"),
        ({"offset": 1.0}, r"has no sample at 16000 Hz from 1\.0 s"),
        ({"offset": 1e9}, r"has no sample"),
        ({"offset": 1e300}, r"offset must be"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    pytest.importorskip("av")
    sound = make_sound(1.0, 16_000)
    for content in (wav(sound), encode_with_av(sound, "matroska", "flac", 16_000)):
        with pytest.raises(AudioError, match=message):
            load_audio(content, **arguments)
        with pytest.raises(AudioError, match=message):
            list(stream_audio(content, **arguments))


def test_streaming_checks_its_arguments_before_the_first_block():
    with pytest.raises(AudioError, match="block_seconds must be at least one sample"):
        stream_audio(wav(noise(10)), block_seconds=0.0)
    with pytest.raises(AudioError, match="empty"):
        stream_audio(b"")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_sample_that_is_no_sound_is_named_with_its_place(value):
    sound = noise(100_000, 2)
    sound[70_000, 1] = value
    with pytest.raises(AudioError, match=r"at sample 70000 \(4\.375 s\)"):
        load_audio(wav(sound))
    with pytest.raises(AudioError, match=r"at sample 70000 \(4\.375 s\)"):
        load_audio(wav(sound), offset=4.0, sample_rate=8_000)
    assert len(load_audio(wav(sound), duration=4.0)) == 64_000  # what is not asked for is not checked


def test_no_samples_raise():
    with pytest.raises(AudioError, match="has no sample"):
        load_audio(wav(np.zeros(0, np.float32)))


def test_a_playlist_opens_no_other_file(tmp_path):
    pytest.importorskip("av")
    inner = tmp_path / "inner.wav"
    inner.write_bytes(wav(noise(16_000)))
    for content in (f"#EXTM3U\n#EXTINF:1,\n{inner}\n", f"ffconcat version 1.0\nfile {inner}\n"):
        path = tmp_path / "list.m3u8"
        path.write_text(content)
        with pytest.raises(AudioError, match="cannot be read"):
            load_audio(path)


def test_a_video_without_sound_says_so(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match=r"silent\.mp4 has no audio stream"):
        load_audio(path)


# --- without PyAV


def test_without_pyav_an_m4a_says_which_command_installs_it(tmp_path, monkeypatch):
    path = tmp_path / "sound.m4a"
    path.write_bytes(encode_with_av(make_sound(1.0, 16_000), "ipod", "aac", 16_000))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"sound\.m4a cannot be read by libsndfile .* install PyAV"):
        load_audio(path)


def streamed_wav(size: int) -> bytes:
    """A wav whose writer could not go back to fill in the size of its data."""
    content = encode(make_sound(1.0, 16_000), "WAV", "PCM_16", 16_000)
    place = content.index(b"data") + 4
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


def test_a_wav_that_declares_no_data_is_read_without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(load_audio(streamed_wav(0))) == 16_000
    assert torch.equal(load_audio(streamed_wav(0)), load_audio(streamed_wav(0xFFFFFFFF)))


def headless_mp3() -> bytes:
    """Loud, then silent, of variable bit rate, and without the first frame, which holds the length."""
    sound = noise(160_000, 1)
    sound[80_000:] = 0
    content = encode(sound, "MP3", "MPEG_LAYER_III", 16_000)
    return content[content.index(content[:2], 50) :]


def test_an_mp3_without_a_length_is_read_to_its_end(monkeypatch):
    pytest.importorskip("av")
    loaded = load_audio(headless_mp3())
    assert 160_000 <= len(loaded) <= 163_000
    segment = load_audio(headless_mp3(), offset=4.0, duration=1.5)
    torch.testing.assert_close(segment, loaded[64_000 : 64_000 + 24_000])
    monkeypatch.setitem(sys.modules, "av", None)
    assert torch.equal(load_audio(headless_mp3()), loaded)


def test_a_file_that_ends_early_is_warned_of(caplog):
    content = encode(make_sound(3.0, 16_000), "MP3", "MPEG_LAYER_III", 16_000)
    with caplog.at_level(logging.WARNING):
        loaded = load_audio(content[: len(content) // 2])
    assert 16_000 < len(loaded) < 32_000
    assert f"ends after {len(loaded)} of 48000 samples" in caplog.text


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "FLOAT"),
        ("AIFF", "PCM_24"),
        ("AU", "PCM_16"),
    ],
)
def test_a_file_shorter_than_its_header_says_is_complained_of(format: str, subtype: str) -> None:
    content = encode(make_sound(3.0, 16_000), format, subtype, 16_000)
    complaints: list[str] = []
    load_audio(content, complaints=complaints)
    assert complaints == []
    half = content[: len(content) // 2]
    loaded = load_audio(half, complaints=complaints)
    (complaint,) = complaints
    found = re.fullmatch(r"ends after (\d+) of (\d+) samples", complaint)
    assert found is not None
    assert int(found[1]) == len(loaded) == pytest.approx(24_000, rel=0.03)
    assert int(found[2]) == pytest.approx(48_000, rel=0.03)
    # What is asked for is there.
    complaints.clear()
    load_audio(half, duration=1.0, complaints=complaints)
    assert complaints == []


# --- real sounds


def test_real_clips_equal_soundfile_and_soxr(shared):
    paths = sorted((shared / "data" / "esc10" / "audio").rglob("*.ogg"))[::17]
    assert len(paths) > 10
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        expected = soxr.resample(samples.mean(axis=1), rate, 16_000, quality="HQ")
        assert torch.equal(load_audio(path), torch.from_numpy(expected)), path
        start = round(2.3 * rate)
        cut = soxr.resample(samples.mean(axis=1)[start : start + rate], rate, 16_000, quality="HQ")
        segment = load_audio(path, offset=2.3, duration=1.0)
        torch.testing.assert_close(segment, torch.from_numpy(cut), rtol=0, atol=1e-6)


def test_a_name_that_is_not_unicode_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    soundfile.write(os.fsencode(path), np.zeros(1600, np.float32), 16_000, format="WAV")
    assert len(load_audio(path)) == 1600
