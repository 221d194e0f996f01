"""Some 400 damaged files: each loads as finite samples or raises AudioError, in bounded memory and time.

The files are made and loaded in one child process (this file run as a script), so that a crash, a hang or an
allocation by a header's word fails the test instead of ending it.
"""

import io
import json
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

RATE = 16_000
NUM_SAMPLES = 3 * RATE
MEMORY = 1 << 30
TIMEOUT = 300

Corpus = Iterator[tuple[str, bytes]]


def make_sound() -> np.ndarray:
    time_ = np.arange(NUM_SAMPLES) / RATE
    noise = np.random.default_rng(0).standard_normal(NUM_SAMPLES) * 0.01
    return (0.4 * np.sin(2 * np.pi * (300 + 200 * time_) * time_) + noise).astype(np.float32)


def with_soundfile(format_: str, subtype: str) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, make_sound(), RATE, format=format_, subtype=subtype)
    return file.getvalue()


def with_av(format_: str, codec: str) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=format_) as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(make_sound()[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def sounds() -> dict[str, bytes]:
    return {
        "wav": with_soundfile("WAV", "PCM_16"),
        "float": with_soundfile("WAV", "FLOAT"),
        "flac": with_soundfile("FLAC", "PCM_16"),
        "ogg": with_soundfile("OGG", "VORBIS"),
        "opus": with_soundfile("OGG", "OPUS"),
        "mp3": with_soundfile("MP3", "MPEG_LAYER_III"),
        "m4a": with_av("ipod", "aac"),
        "webm": with_av("webm", "libopus"),
        "aac": with_av("adts", "aac"),
    }


def damaged(sound: bytes, seed: int) -> Corpus:
    generator = np.random.default_rng(seed)
    size = len(sound)
    for cut in (0, 1, 12, 44, 100, size // 4, size // 2, size * 9 // 10, size - 1):
        yield f"cut at {cut}", sound[:cut]
    for trial in range(4):
        for where, stop, count in (("head", 200, 4), ("head", 60, 12), ("body", size, 40), ("body", size, 1)):
            bits = np.frombuffer(sound, np.uint8).copy()
            places = generator.integers(0, min(stop, size), count)
            bits[places] ^= (1 << generator.integers(0, 8, count)).astype(np.uint8)
            yield f"{count} bits flipped in the {where}, {trial}", bits.tobytes()
    third = size // 3
    yield "zeros in its middle", sound[:third] + bytes(third) + sound[2 * third :]
    yield "a hole in its middle", sound[:third] + sound[2 * third :]
    yield "noise put in", sound[:third] + generator.bytes(2000) + sound[third:]
    yield "noise after it", sound + generator.bytes(5000)
    yield "noise before it", generator.bytes(5000) + sound
    yield "head only, then ones", sound[:200] + b"\xff" * 5000
    yield "its second half", sound[size // 2 :]
    yield "itself twice", sound + sound


def lying_wavs(wav: bytes) -> Corpus:
    fields = {
        "channels": (22, "<H"),
        "rate": (24, "<I"),
        "bytes": (28, "<I"),
        "align": (32, "<H"),
        "bits": (34, "<H"),
    }
    for field, (place, kind) in fields.items():
        for value in (0, 1, 3, 255, 0x7FFF, 0xFFFF, *((0x7FFFFFFF, 0xFFFFFFFF) if kind == "<I" else ())):
            yield (
                f"wav: {field} {value}",
                wav[:place] + struct.pack(kind, value) + wav[place + struct.calcsize(kind) :],
            )
    data = wav.index(b"data") + 4
    for value in (0, 1, 0x10000000, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"wav: data size {value}", wav[:data] + struct.pack("<I", value) + wav[data + 4 :]
    yield "wav: no samples", wav[:data] + bytes(4)


def lying_others(sounds: dict[str, bytes]) -> Corpus:
    flac, ogg, mp3, m4a = sounds["flac"], sounds["ogg"], sounds["mp3"], sounds["m4a"]
    word = int.from_bytes(flac[18:26], "big")
    for total in (0, 1000, 1 << 35, (1 << 36) - 1):
        yield (
            f"flac: {total} samples",
            flac[:18] + ((word >> 36 << 36) | total).to_bytes(8, "big") + flac[26:],
        )
    for rate in (0, 1, 655_350):
        field = (rate << 44) | (word & ((1 << 44) - 1))
        yield f"flac: rate {rate}", flac[:18] + field.to_bytes(8, "big") + flac[26:]
    last = ogg.rindex(b"OggS") + 6
    for granule in (-1, 0, 1 << 40, (1 << 63) - 1):
        yield f"ogg: {granule} samples", ogg[:last] + struct.pack("<q", granule) + ogg[last + 8 :]
    count = max(mp3.find(b"Xing"), mp3.find(b"Info")) + 8
    for frames in (0, 1, 0xFFFFFFFF):
        yield f"mp3: {frames} frames", mp3[:count] + struct.pack(">I", frames) + mp3[count + 4 :]
    for box, place in (
        ("stsz", 12),
        ("stts", 8),
        ("stsc", 8),
        ("stco", 8),
        ("mdhd", 16),
        ("mdhd", 20),
        ("mdat", -4),
    ):
        start = m4a.index(box.encode()) + place
        for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
            yield f"m4a: {box} {place} {value}", m4a[:start] + struct.pack(">I", value) + m4a[start + 4 :]


def no_sounds() -> Corpus:
    generator = np.random.default_rng(7)
    for size in (1, 10, 100, 1000, 10_000, 200_000):
        yield f"no sound: {size} random bytes", generator.bytes(size)
    yield "no sound: zeros", bytes(100_000)
    yield "no sound: ones", b"\xff" * 100_000
    yield "no sound: text", b"These are words, not sound.\n" * 1000
    yield "no sound: html", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "no sound: json", b'{"error": "not found"}'
    yield "no sound: png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + generator.bytes(1000)
    yield "no sound: zip", b"PK\x03\x04" + generator.bytes(1000)
    yield "no sound: playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"
    yield "no sound: concat", b"ffconcat version 1.0\nfile /etc/hostname\n"
    yield "no sound: wav header of noise", b"RIFF\x00\x10\x00\x00WAVEfmt " + generator.bytes(1000)


def corpus() -> Corpus:
    all_sounds = sounds()
    for number, (kind, sound) in enumerate(all_sounds.items()):
        yield f"{kind}: intact", sound
        for name, content in damaged(sound, number):
            yield f"{kind}: {name}", content
    yield from lying_wavs(all_sounds["wav"])
    yield from lying_others(all_sounds)
    yield from no_sounds()


def outcome(content: bytes, **segment: float) -> dict[str, object]:
    import torch
    from audio_common.audio import AudioError, load_audio

    start = time.perf_counter()
    try:
        samples = load_audio(content, **segment)
    except AudioError as error:
        return {"error": str(error), "seconds": time.perf_counter() - start}
    return {
        "samples": len(samples),
        "sane": samples.ndim == 1 and samples.dtype == torch.float32 and bool(samples.isfinite().all()),
        "seconds": time.perf_counter() - start,
    }


def main(folder: Path) -> None:
    import torch
    from audio_common.audio import AudioError, audio_info

    torch.set_num_threads(1)
    for sound in sounds().values():
        outcome(sound)  # load the libraries before memory is limited
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with (folder / "outcomes.jsonl").open("w", buffering=1) as file:
        for name, content in corpus():
            file.write(json.dumps({"begun": name}) + "\n")  # names the culprit if the child dies here
            whole, part = outcome(content), outcome(content, offset=1.0, duration=0.5)
            try:
                info = audio_info(content).num_frames
            except AudioError as error:
                info = str(error)
            file.write(json.dumps({"name": name, "whole": whole, "part": part, "info": info}) + "\n")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """By file: `whole` and `part` as of `outcome`, `info` the declared length or an error's message."""
    folder = tmp_path_factory.mktemp("corpus")
    child = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    lines = (folder / "outcomes.jsonl").read_text().splitlines()
    assert child.returncode == 0, f"died at {lines[-1:]}: {child.stderr[-2000:]}"
    return {row["name"]: row for row in map(json.loads, lines) if "name" in row}


def test_every_damaged_file_loads_finite_samples_or_raises_audio_error(outcomes):
    assert len(outcomes) > 350
    for name, row in outcomes.items():
        for result in (row["whole"], row["part"]):
            assert "error" in result or (result["sane"] and result["samples"] > 0), name
    assert sum("error" in row["whole"] for row in outcomes.values()) > 100
    assert sum("samples" in row["whole"] for row in outcomes.values()) > 100


def test_no_damaged_file_takes_long(outcomes):
    slowest = max(outcomes.values(), key=lambda row: row["whole"]["seconds"] + row["part"]["seconds"])
    assert slowest["whole"]["seconds"] + slowest["part"]["seconds"] < 10, slowest["name"]


def test_every_error_names_the_file_and_says_what_to_do(outcomes):
    remedies = ("fetch", "check that", "replace", "header is damaged", "choose a segment", "split", "pass ")
    for name, row in outcomes.items():
        for result in (row["whole"], row["part"]):
            if message := result.get("error"):
                assert " bytes>" in message, name
                assert any(remedy in message for remedy in remedies), message


def test_intact_files_load_whole(outcomes):
    for kind in sounds():
        assert 0 <= outcomes[f"{kind}: intact"]["whole"]["samples"] - NUM_SAMPLES <= 2048, kind
        assert outcomes[f"{kind}: intact"]["part"]["samples"] == RATE / 2


def test_what_is_no_sound_raises(outcomes):
    rows = [row for name, row in outcomes.items() if name.startswith("no sound") or name.endswith("cut at 1")]
    assert len(rows) > 20
    assert all("cannot be read" in row["whole"]["error"] for row in rows)
    assert all(
        "empty" in row["whole"]["error"] for name, row in outcomes.items() if name.endswith("cut at 0")
    )


def test_a_wav_cut_off_gives_what_is_there(outcomes):
    size = 44 + 2 * NUM_SAMPLES
    for cut in (100, size // 4, size // 2, size * 9 // 10, size - 1):
        assert outcomes[f"wav: cut at {cut}"]["whole"]["samples"] == (cut - 44) // 2


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus", "webm", "aac"])
def test_a_lossy_file_cut_off_in_its_middle_gives_the_first_part(kind, outcomes):
    cuts = [row["whole"] for name, row in outcomes.items() if name.startswith(f"{kind}: cut at")]
    assert NUM_SAMPLES / 4 < cuts[6]["samples"] < NUM_SAMPLES * 0.75


def test_a_flac_cut_off_gives_the_first_part(outcomes):
    names = [name for name in outcomes if name.startswith("flac: cut at")]
    for name, low, high in zip(names[6:8], (0.8, 2.0), (1.5, 2.7), strict=True):
        assert low < outcomes[name]["whole"]["samples"] / RATE < high


def test_a_header_that_lies_about_its_length_gives_what_is_there(outcomes):
    for name in (
        "wav: data size 0",
        "wav: data size 4294967295",
        "flac: 0 samples",
        "flac: 68719476735 samples",
    ):
        assert outcomes[name]["whole"]["samples"] == NUM_SAMPLES, name
        assert outcomes[name]["part"]["samples"] == RATE / 2, name
        assert outcomes[name]["info"] == NUM_SAMPLES, name
    assert outcomes["mp3: 0 frames"]["whole"]["samples"] >= NUM_SAMPLES
    assert "no sample" in outcomes["wav: no samples"]["whole"]["error"]


def test_headers_with_impossible_rates_or_channels_are_refused(outcomes):
    for name, message in {
        "wav: rate 1": "sample rate of 1 Hz",
        "wav: rate 2147483647": "sample rate of 2147483647 Hz",
        "wav: channels 255": "255 channels",
        "flac: rate 1": "sample rate of 1 Hz",
    }.items():
        assert message in outcomes[name]["whole"]["error"]
        assert message in outcomes[name]["info"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
