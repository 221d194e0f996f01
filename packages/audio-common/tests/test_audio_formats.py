"""The same samples however a sound is read, of files by many encoders, whole, joined, damaged and cut off.

`encoded/make.sh` made the files of `encoded` with sox, ffmpeg, lame, opus-tools, vorbis-tools and flac; the
comparison itself is `benchmarks/formats.py`, which also prints the table of `docs/audio-formats.md`.
"""

import importlib.util
import io
import logging
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, audio_info, load_audio, measure_audio
from audio_common.decoder import open_reader
from audio_common.mp3 import frame_length
from audio_common.ogg import check_sum
from hypothesis import given, settings
from hypothesis import strategies as st

spec = importlib.util.spec_from_file_location("formats", Path(__file__).parents[1] / "benchmarks/formats.py")
assert spec is not None
assert spec.loader is not None
formats = importlib.util.module_from_spec(spec)
sys.modules["formats"] = formats
spec.loader.exec_module(formats)

encode, rising_tone = formats.encode, formats.rising_tone
ENCODED = Path(__file__).parent / "encoded"
FILES = sorted(path.name for path in ENCODED.iterdir() if path.suffix in formats.SUFFIXES)
PAGE = Path(__file__).parents[3] / "docs" / "audio-formats.md"
RATE = 16_000


def sound_of(name: str) -> bytes:
    return (ENCODED / name).read_bytes()


def encode_with_av(sound: np.ndarray, format_: str, codec: str, rate: int) -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=format_) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


SOUND = rising_tone(3.0, RATE)
CONTENTS = {
    name: encode(SOUND, format_, subtype, RATE)
    for name, (format_, subtype) in {
        "flac": ("FLAC", "PCM_16"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
        "ogg": ("OGG", "VORBIS"),
        "opus": ("OGG", "OPUS"),
        "wav": ("WAV", "PCM_16"),
    }.items()
}


# --- every way of reading


@pytest.mark.parametrize("name", FILES)
def test_a_file_by_another_encoder_is_the_same_in_every_way_of_reading(name):
    pytest.importorskip("av")
    outcome = formats.compare(ENCODED / name)
    assert outcome.faults == ()
    assert formats.table_line(ENCODED / name, outcome) in PAGE.read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    return {path.name: path for path in formats.write_sounds(folder, seconds=2.5)}


def test_files_by_libsndfile_and_damaged_ones_are_the_same_in_every_way_of_reading(written):
    pytest.importorskip("av")
    assert len(written) > 25
    assert {name: formats.compare(path).faults for name, path in written.items()} == dict.fromkeys(
        written, ()
    )


def damage(content: bytes, kind: int, place: float, length: int, seed: int) -> bytes:
    middle = round(place * len(content))
    noise = random.Random(seed).randbytes(length)
    if kind == 7:
        changed = bytearray(content)
        for number in random.Random(seed).sample(range(len(content)), 8):
            changed[number] ^= 1 << number % 8
        return bytes(changed)
    return (
        content[:middle],
        content[middle:],
        content[:middle] + bytes(length) + content[middle + length :],
        content[:middle] + content[middle + length :],
        content[:middle] + noise + content[middle:],
        content + content[:middle],
        noise + content + noise,
    )[kind]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["flac", "mp3", "ogg", "opus", "wav"]),
    st.integers(0, 7),
    st.floats(0.01, 0.99),
    st.integers(1, 5000),
    st.integers(0, 1000),
    st.floats(0, 1),
)
def test_whatever_is_damaged_parts_are_parts_of_the_whole_and_exact_lengths_are_exact(
    name, kind, place, length, seed, start
):
    logging.disable(logging.ERROR)
    try:
        content = damage(CONTENTS[name], kind, place, length, seed)
        rate = audio_info(content).sample_rate
        whole = load_audio(content, sample_rate=rate)
    except AudioError:
        return
    finally:
        logging.disable(logging.NOTSET)
    info = audio_info(content)
    assert measure_audio(content).num_frames == len(whole)
    assert not info.is_exact or info.num_frames == len(whole)
    first = min(round(start * len(whole)), len(whole) - 1)
    part = load_audio(content, sample_rate=rate, offset=first / rate, duration=0.3)
    torch.testing.assert_close(part, whole[first : first + round(0.3 * rate)], rtol=0, atol=1e-6)


# --- all of it


@pytest.mark.parametrize(
    ("joined", "parts"),
    [
        ("joined.mp3", ["lame-vbr-no-length.mp3", "lame-cbr-crc-id3.mp3"]),
        ("chained.opus", ["opusenc.opus", "opusenc-60ms.opus"]),
        ("chained.ogg", ["oggenc.ogg", "oggenc.ogg"]),
    ],
)
def test_joined_files_give_their_parts_one_after_another(joined, parts, capfd):
    expected = torch.cat([load_audio(ENCODED / part, sample_rate=48_000) for part in parts])
    loaded = load_audio(ENCODED / joined, sample_rate=48_000)
    assert len(loaded) == len(expected)
    inside = slice(0, len(expected) // 2 - 500)  # at the joint, resampling hears both sides
    torch.testing.assert_close(loaded[inside], expected[inside], rtol=0, atol=1e-4)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("case", ["01-*/loud_start", "02-*/padded", "04-*/joined"])
def test_mp3s_of_public_reports_have_their_true_length(shared, case):
    (path,) = (shared / "cases").glob(f"{case}.mp3")
    seconds = {"01": 60.12, "02": 1.5, "04": 3.0}[case[:2]]
    assert audio_info(path).is_exact
    assert len(load_audio(path)) == measure_audio(path).num_frames == round(seconds * RATE)


def test_parts_of_other_rates_are_refused_where_they_begin():
    other = encode(rising_tone(1.0, 44_100), "MP3", "MPEG_LAYER_III", 44_100)
    content = CONTENTS["mp3"] + other
    assert not audio_info(content).is_exact
    assert len(load_audio(content, duration=3.0)) == 3 * RATE
    with pytest.raises(AudioError, match=r"changes from 16000 Hz to 44100 Hz at 3\.000 s; split it there"):
        load_audio(content)


def test_a_stereo_part_of_a_mono_file_is_averaged():
    stereo = encode(rising_tone(1.0, RATE, 2), "MP3", "MPEG_LAYER_III", RATE)
    loaded = load_audio(CONTENTS["mp3"] + stereo)
    torch.testing.assert_close(loaded[3 * RATE :], load_audio(stereo), rtol=0, atol=1e-6)


# --- what is damaged


def zeros_at(content: bytes, place: float, length: int) -> bytes:
    start = round(place * len(content))
    return content[:start] + bytes(length) + content[start + length :]


@pytest.mark.parametrize("name", ["flac", "mp3", "ogg", "opus"])
def test_sound_after_a_damaged_stretch_is_kept_and_the_warning_says_which_file_and_where(
    name, caplog, tmp_path, capfd, monkeypatch
):
    # Tests of another package may have left a handler that prints our own warnings.
    monkeypatch.setattr(logging.getLogger(), "handlers", [caplog.handler])
    sound = rising_tone(12.0, RATE)
    format_, subtype = {"mp3": ("MP3", "MPEG_LAYER_III"), "flac": ("FLAC", "PCM_16")}.get(
        name, ("OGG", {"ogg": "VORBIS", "opus": "OPUS"}.get(name, ""))
    )
    content = encode(sound, format_, subtype, RATE)
    path = tmp_path / f"damaged.{name}"
    path.write_bytes(zeros_at(content, 0.4, 3000))
    intact = load_audio(content)
    with caplog.at_level(logging.WARNING):
        loaded = load_audio(path)
    assert 9 * RATE < len(loaded) <= 12 * RATE + 1200
    end = loaded[-RATE - 1200 :]  # an mp3's padding is not known after a gap
    best = np.correlate(end.numpy(), intact[-RATE // 2 - 2000 : -2000].numpy())
    piece = intact[-RATE // 2 - 2000 : -2000]
    found = end[int(best.argmax()) :][: len(piece)]
    torch.testing.assert_close(found, piece, rtol=0, atol=1e-3)
    assert f"{path}, at " in caplog.text
    seconds = float(caplog.text.split(f"{path}, at ")[1].split(" s:")[0])
    assert 3.0 < seconds < 6.0
    assert capfd.readouterr().err == ""


def test_a_damaged_flac_keeps_its_time():
    content = zeros_at(CONTENTS["flac"], 0.5, 3000)
    intact, loaded = load_audio(CONTENTS["flac"]), load_audio(content)
    assert len(loaded) == len(intact)
    differs = (loaded != intact).nonzero().ravel()
    assert 0 < len(differs) <= 3 * 4096
    assert not loaded[differs].any()


def test_a_damaged_webm_and_m4a_keep_their_time():
    pytest.importorskip("av")
    sound = rising_tone(6.0, 48_000)
    for format_, codec in (("webm", "libopus"), ("ipod", "aac")):
        content = encode_with_av(sound, format_, codec, 48_000)
        intact, loaded = load_audio(content), load_audio(zeros_at(content, 0.5, 3000))
        assert len(loaded) == len(intact)
        torch.testing.assert_close(loaded[-RATE // 2 :], intact[-RATE // 2 :], rtol=0, atol=0.05)


@pytest.mark.parametrize("name", ["flac", "mp3", "ogg", "opus", "wav"])
@pytest.mark.parametrize("share", [0.55, 0.7, 0.9])
def test_a_file_cut_off_is_kept_as_far_as_it_goes(name, share):
    content = CONTENTS[name][: round(share * len(CONTENTS[name]))]
    intact, loaded = load_audio(CONTENTS[name]), load_audio(content)
    least = 0.1 if name in ("ogg", "opus") else share - 0.15  # their pages hold up to a second
    assert least * len(intact) < len(loaded) < len(intact)
    same = len(loaded) - 1200
    torch.testing.assert_close(loaded[:same], intact[:same], rtol=0, atol=1e-6)


def test_complaints_tell_what_is_missing():
    for content, expected in {
        zeros_at(CONTENTS["flac"], 0.5, 3000): "silence stands",
        zeros_at(CONTENTS["mp3"], 0.5, 3000): "no frames of mp3 and are left out",
        zeros_at(CONTENTS["ogg"], 0.5, 3000): "pages of Ogg are damaged, missing",
        CONTENTS["flac"][:-5000]: "of 48000 samples",
        CONTENTS["mp3"][:-5000]: "of 48000 samples",
    }.items():
        reader = open_reader(content)
        for _ in reader.blocks(0, None):
            pass
        reader.close()
        assert expected in " ".join(reader.complaints)


def test_intact_files_have_nothing_to_complain_of():
    pytest.importorskip("av")
    for name in FILES:
        reader = open_reader(ENCODED / name)
        for _ in reader.blocks(0, None):
            pass
        reader.close()
        assert reader.complaints == [], name


# --- headers that are wrong


@pytest.mark.parametrize("count", [0, 10, 60, 5000])
def test_a_wrong_number_of_frames_in_an_mp3_changes_nothing(count, tmp_path):
    content = CONTENTS["mp3"]
    place = max(content.find(b"Info"), content.find(b"Xing")) + 8
    wrong = content[:place] + count.to_bytes(4) + content[place + 4 :]
    path = tmp_path / "wrong.mp3"
    path.write_bytes(wrong)
    assert audio_info(path) == audio_info(content)
    for source in (path, wrong):
        assert torch.equal(load_audio(source), load_audio(content))


def with_wrong_count(name: str, count: int) -> bytes:
    """A sound whose header, or whose last page, tells this number of frames, samples or bytes."""
    content = bytearray(CONTENTS["mp3" if name in ("Xing", "VBRI") else name])
    if name == "Xing":
        place = max(content.find(b"Info"), content.find(b"Xing")) + 8
        content[place : place + 8] = count.to_bytes(4) * 2
    elif name == "VBRI":
        length = frame_length(bytes(content[:3]))
        content[4:length] = bytes(length - 4)
        content[36:40] = b"VBRI"
        content[46:54] = count.to_bytes(4) * 2
    elif name == "ogg":
        start = content.rfind(b"OggS")
        content[start + 6 : start + 14] = count.to_bytes(8, "little")
        content[start + 22 : start + 26] = bytes(4)
        content[start + 22 : start + 26] = check_sum(bytes(content[start:])).to_bytes(4, "little")
    elif name == "flac":
        content[22:26] = count.to_bytes(4)
    else:
        place = content.find(b"data") + 4
        content[place : place + 4] = count.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize("count", [0, 10, 60, 5000, 47_000, 0xFFFF_FFFF])
@pytest.mark.parametrize("name", ["Xing", "VBRI", "ogg", "flac", "wav"])
def test_a_wrong_count_is_read_alike_by_path_bytes_and_file(name: str, count: int, tmp_path: Path) -> None:
    content = with_wrong_count(name, count)
    path = tmp_path / f"wrong.{'mp3' if name in ('Xing', 'VBRI') else name}"
    path.write_bytes(content)
    if (name, count) == ("ogg", 0):  # its last page says that there is no sample
        for source in (path, content, io.BytesIO(content)):
            with pytest.raises(AudioError, match="has no sample"):
                load_audio(source)
        return
    expected = load_audio(path)
    assert audio_info(path) == audio_info(content)
    assert torch.equal(load_audio(content), expected)
    assert torch.equal(load_audio(io.BytesIO(content)), expected)
    with path.open("rb") as file:
        assert torch.equal(load_audio(file), expected)
    right = len(load_audio(CONTENTS["mp3" if name in ("Xing", "VBRI") else name]))
    assert len(expected) >= 0.99 * right or name in ("ogg", "wav")


@pytest.mark.parametrize("total", [0, 1000, 47_999, (1 << 36) - 1])
def test_a_wrong_number_of_samples_in_a_flac_changes_nothing(total):
    content = CONTENTS["flac"]
    word = int.from_bytes(content[21:26]) >> 36 << 36 | total
    wrong = content[:21] + word.to_bytes(5) + content[26:]
    assert audio_info(wrong) == audio_info(content)
    assert torch.equal(load_audio(wrong), load_audio(content))


@pytest.mark.parametrize("num_skipped", [0, 1, 312, 1000, 3840, 20_000])
def test_opus_leaves_out_what_its_header_says(num_skipped):
    content = encode(rising_tone(2.0, 48_000), "OGG", "OPUS", 48_000)

    def skipping(count: int) -> torch.Tensor:
        page = bytearray(content[:47])
        page[38:40] = count.to_bytes(2, "little")
        page[22:26] = check_sum(bytes(page)).to_bytes(4, "little")
        changed = bytes(page) + content[47:]
        for start in (0.0, 0.25):
            part = load_audio(changed, sample_rate=48_000, offset=start, duration=0.1)
            whole = load_audio(changed, sample_rate=48_000)
            torch.testing.assert_close(part, whole[round(start * 48_000) :][: len(part)], rtol=0, atol=1e-6)
        return whole

    assert content[28:36] == b"OpusHead"
    everything = skipping(0)
    torch.testing.assert_close(skipping(num_skipped), everything[num_skipped:], rtol=0, atol=1e-6)


def test_bytes_after_a_wav_are_no_sound_and_a_wav_without_samples_is_an_error():
    content = CONTENTS["wav"]
    assert torch.equal(load_audio(content + content), load_audio(content))
    empty = io.BytesIO()
    soundfile.write(empty, np.zeros(0), RATE, format="WAV")
    for sound in (empty.getvalue(), empty.getvalue() + b"LIST\x04\0\0\0INFO"):
        with pytest.raises(AudioError, match="has no sample"):
            load_audio(sound)
