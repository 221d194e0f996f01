"""A folder of damaged sounds, made from good ones by a seed: the same seed gives the same folder.

Good sounds are those of seven encoders (`packages/audio-common/tests/encoded`) and some that soundfile
writes on the spot. Each damaged one is a good one after one or two mutations, under an honest or a false
name; beside them are bombs (small files of much silence), things that are no sound, and things that are no
file. Nothing here decodes anything: what a command makes of the folder is for `test_damaged_sounds.py`.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import soundfile

ENCODED = Path(__file__).resolve().parent.parent / "packages" / "audio-common" / "tests" / "encoded"
RATE = 16_000
WRITTEN = {
    "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAVEX", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "pcm16.flac": ("FLAC", "PCM_16"),
    "layer3.mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Sounds that soundfile writes: name -> container, kind of samples. Ogg's have a new number each time."""
EXTREMES = (0, 1, 2, 3, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WAV_FIELDS = {"format": 20, "channels": 22, "rate": 24, "bytes": 28, "align": 32, "bits": 34, "riff": 4}
"""Where a WAV file's header has what; rates, bytes and sizes are of four bytes, the others of two."""

Mutation = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Damaged:
    """A damaged sound on disk."""

    path: Path
    what: str
    """From which sound it was made, and how it was damaged."""


def make_corpus(folder: Path, seed: int, count: int, *, bomb_minutes: float = 60.0) -> list[Damaged]:
    """Write `count` damaged sounds and all special ones into a folder that is not there yet.

    Args:
        folder: where they go; special ones are among the first.
        seed: the same seed gives the same names and bytes.
        count: of all files together.
        bomb_minutes: length of each bomb.

    Returns:
        What was made, in the order of making.
    """
    folder.mkdir(parents=True)
    rng = Random(seed)
    made = [*make_specials(folder), *make_bombs(folder, bomb_minutes), *make_misnamed(folder, rng)]
    sounds = good_sounds()
    names = sorted(sounds)
    for number in range(count - len(made)):
        name = names[number % len(names)] if number < 2 * len(names) else rng.choice(names)
        content, steps = mutate(rng, sounds[name])
        path = folder / f"{number:05d}-{Path(name).stem}{_ending(rng, Path(name).suffix)}"
        path.write_bytes(content)
        made.append(Damaged(path, f"{name}: {', '.join(steps)}"))
    return made


@lru_cache(maxsize=1)
def good_sounds() -> dict[str, bytes]:
    """Return good sounds by name: seven encoders' files and soundfile's."""
    sounds = {path.name: path.read_bytes() for path in sorted(ENCODED.iterdir()) if path.suffix != ".sh"}
    for name, (container, kind) in WRITTEN.items():
        file = io.BytesIO()
        soundfile.write(file, _chirp(), RATE, format=container, subtype=kind)
        sounds[name] = file.getvalue()
    return sounds


def mutate(rng: Random, sound: bytes) -> tuple[bytes, list[str]]:
    """Return a sound after one or two mutations, and their names."""
    steps = []
    for _ in range(rng.choice((1, 1, 2))):
        mutation = rng.choice(MUTATIONS)
        sound = mutation(rng, sound)
        steps.append(mutation.__name__)
    return sound, steps


def flip_bits(rng: Random, sound: bytes) -> bytes:
    """Flip one to sixty bits, in the head or anywhere."""
    damaged = bytearray(sound)
    stop = min(len(sound), rng.choice((60, 200, len(sound))))
    for _ in range(rng.choice((1, 4, 12, 60))):
        if stop:
            damaged[rng.randrange(stop)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(rng: Random, sound: bytes) -> bytes:
    """Keep the beginning, up to any place."""
    return sound[: rng.randrange(len(sound) + 1)]


def behead(rng: Random, sound: bytes) -> bytes:
    """Keep the end, from any place on."""
    return sound[rng.randrange(len(sound) + 1) :]


def cut_hole(rng: Random, sound: bytes) -> bytes:
    """Leave out a piece."""
    start, stop = sorted(rng.randrange(len(sound) + 1) for _ in range(2))
    return sound[:start] + sound[stop:]


def blank(rng: Random, sound: bytes) -> bytes:
    """Overwrite a piece with zeros or ones."""
    start, stop = sorted(rng.randrange(len(sound) + 1) for _ in range(2))
    return sound[:start] + rng.choice((b"\0", b"\xff")) * (stop - start) + sound[stop:]


def put_in_noise(rng: Random, sound: bytes) -> bytes:
    """Put random bytes at any place."""
    place = rng.randrange(len(sound) + 1)
    return sound[:place] + rng.randbytes(rng.choice((1, 7, 512, 5000))) + sound[place:]


def repeat_piece(rng: Random, sound: bytes) -> bytes:
    """Repeat a piece up to nine times."""
    start, stop = sorted(rng.randrange(len(sound) + 1) for _ in range(2))
    return sound[:start] + sound[start:stop] * rng.randint(2, 9) + sound[stop:]


def lie_in_header(rng: Random, sound: bytes) -> bytes:
    """Write an extreme number over two, four or eight bytes of the first 256."""
    size = rng.choice((2, 4, 8))
    value = rng.choice((*EXTREMES, (1 << 63) - 1, (1 << 64) - 1)) & ((1 << 8 * size) - 1)
    place = rng.randrange(max(1, min(256, len(sound) - size)))
    return sound[:place] + value.to_bytes(size, rng.choice(("little", "big"))) + sound[place + size :]


def lie_of_format(rng: Random, sound: bytes) -> bytes:
    """Write an extreme number over a field that the format has: channels, rate, bits, lengths, sizes."""
    if sound[:4] == b"RIFF":
        return _lie_of_wav(rng, sound)
    if sound[:4] == b"fLaC":
        return _lie_of_flac(rng, sound)
    for mark, places in BOXES.items():
        if (start := sound.find(mark)) >= 0:
            place = max(0, start + rng.choice(places))
            return sound[:place] + rng.choice(EXTREMES).to_bytes(4, "big") + sound[place + 4 :]
    return lie_in_header(rng, sound)


def join(rng: Random, sound: bytes) -> bytes:
    """Put another sound, or the same again, after it."""
    others = good_sounds()
    return sound + rng.choice((sound, others[rng.choice(sorted(others))]))


def hide(rng: Random, sound: bytes) -> bytes:
    """Put a tag of another format, or a long one, before it."""
    tags = (
        b"ID3\x04\0\0\0\0\x07\x76" + bytes(1014),
        b"ID3\x03\0\x40\x7f\x7f\x7f\x7f",
        b"APETAGEX" + bytes(24),
        b"\xef\xbb\xbf",
    )
    return rng.choice(tags) + sound


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    truncate,
    behead,
    cut_hole,
    blank,
    put_in_noise,
    repeat_piece,
    lie_in_header,
    lie_of_format,
    lie_of_format,
    join,
    hide,
)
BOXES = {
    b"OggS": (6, 10, 14, 18, 22, 26),
    b"Xing": (4, 8, 12),
    b"Info": (4, 8, 12),
    b"COMM": (4, 8, 10, 14, 16),
    b"stsz": (4, 8, 12),
    b"stts": (8, 12),
    b"mdhd": (16, 20),
    b"desc": (4, 8, 12, 28, 32, 36),
    b".snd": (4, 8, 12, 16, 20),
}
"""A field's beginning -> where the numbers after it are: Ogg pages, mp3's counts, AIFF, m4a, CAF, AU."""


def _lie_of_wav(rng: Random, sound: bytes) -> bytes:
    field = rng.choice((*WAV_FIELDS, "data"))
    place = max(0, sound.find(b"data")) + 4 if field == "data" else WAV_FIELDS[field]
    size = 4 if field in ("rate", "bytes", "riff", "data") else 2
    value = rng.choice(EXTREMES) & ((1 << 8 * size) - 1)
    return sound[:place] + value.to_bytes(size, "little") + sound[place + size :]


def _lie_of_flac(rng: Random, sound: bytes) -> bytes:
    """Change rate (20 bits), channels (3), bits (5) or number of samples (36) of the first block."""
    word = int.from_bytes(sound[18:26], "big")
    shift, size = rng.choice(((44, 20), (41, 3), (36, 5), (0, 36)))
    mask = ((1 << size) - 1) << shift
    value = rng.choice((0, 1, 2, mask >> shift, (mask >> shift) - 1))
    return sound[:18] + (word & ~mask | value << shift).to_bytes(8, "big") + sound[26:]


def _ending(rng: Random, suffix: str) -> str:
    """Return the honest ending, or, for one in eight, another one."""
    return (
        suffix if rng.randrange(8) else rng.choice((".wav", ".mp3", ".flac", ".ogg", ".m4a", ".WAV", ".aiff"))
    )


def _chirp() -> np.ndarray:
    """Return half a second of a rising tone, (samples,) float32."""
    time = np.arange(RATE // 2) / RATE
    return (0.4 * np.sin(2 * np.pi * (300 + 200 * time) * time)).astype(np.float32)


def make_specials(folder: Path) -> list[Damaged]:
    """Write what is no sound, and what is no file."""
    contents = {
        "empty.wav": b"",
        "one-byte.flac": b"R",
        "text.wav": b"This is no sound.\n",
        "page.mp3": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "object.ogg": b'{"error": "not found"}',
        "archive.wav": _zip_file(),
        "picture.wav": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "program.flac": b"\x7fELF" + bytes(500),
        "pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n",
        "playlist.wav": b"#EXTM3U\n/etc/passwd\nhttp://127.0.0.1:9/x.mp3\n",
        "list.mp3": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "zeros.wav": bytes(20_000),
        "ones.mp3": b"\xff" * 20_000,
        "only-header.wav": good_sounds()["pcm16.wav"][:44],
        "huge-channels.wav": _wav_header(65_535, RATE, 16) + bytes(131_070),
        "no-channels.wav": _wav_header(0, RATE, 16) + bytes(4000),
        "slow.wav": _wav_header(1, 1, 16) + bytes(40_000),
        "fast.wav": _wav_header(1, 0x7FFFFFFF, 16) + bytes(40_000),
        "nan.wav": _wav_header(1, RATE, 32, 3) + struct.pack("<f", float("nan")) * 8000,
        "infinite.wav": _wav_header(1, RATE, 32, 3) + struct.pack("<f", float("inf")) * 8000,
        "huge.wav": _wav_header(1, RATE, 32, 3) + struct.pack("<f", 3e38) * 8000,
        "denormal.wav": _wav_header(1, RATE, 64, 3) + struct.pack("<d", 5e-324) * 8000,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    made = [Damaged(folder / name, "no sound") for name in contents]
    return made + [Damaged(path, what) for path, what in _no_files(folder)]


def _no_files(folder: Path) -> list[tuple[Path, str]]:
    """Make what has a sound's name and is no file; what this system cannot make is left out."""
    makers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "folder.wav": ("a folder", Path.mkdir),
        "pipe.wav": ("a FIFO", os.mkfifo),
        "loop.wav": ("a symbolic link to itself", lambda path: path.symlink_to(path.name)),
        "dangling.flac": ("a symbolic link to nothing", lambda path: path.symlink_to("nothing.flac")),
        "endless.wav": ("/dev/zero", lambda path: path.symlink_to("/dev/zero")),
        "random.mp3": ("/dev/urandom", lambda path: path.symlink_to("/dev/urandom")),
        "socket.wav": ("a socket", _make_socket),
        "locked.wav": ("a file without rights", _make_locked),
        "round": ("a link to its own folder", lambda path: path.symlink_to(".")),
    }
    made = []
    for name, (what, make) in makers.items():
        make(folder / name)
        made.append((folder / name, what))
    return [(path, what) for path, what in made if path.suffix]


def make_misnamed(folder: Path, rng: Random) -> list[Damaged]:
    """Write good and damaged sounds under names that are hard to bear."""
    sounds = good_sounds()
    names = (
        "a.raw",
        "raw-bytes.pcm",
        "really-wav.mp3",
        "really-mp3.wav",
        "no-ending",
        ".wav",
        "two\nlines.wav",
        "tab\tbed.wav",
        "-dash.wav",
        "--out.wav",
        "a #1?100%.wav",
        "quote'\"&<b>.wav",
        " spaces .wav",
        "[bold]red[link=x].wav",
        "\x1b[31mred\x1b[0m.wav",
        "\u202egnp.wav",
        "n" * 251 + ".wav",
        os.fsdecode(b"latin-\xe9.wav"),
        os.fsdecode(b"\xff\xfe.flac"),
        "UPPER.WAV",
        "ends.in.dot.wav.",
        "nul-device.wav",
        "日本語 🐶.ogg",
        "back\\slash.wav",
        "star*.wav",
        "file:colon.wav",
        "mmau-test-mini",
        "12",
    )
    made = []
    for name in names:
        source = {".mp3": "pcm16.wav", ".ogg": "oggenc.ogg", ".flac": "flac.flac"}.get(Path(name).suffix, "")
        content = sounds["ffmpeg.mp3" if name == "really-mp3.wav" else source or "pcm16.wav"]
        path = folder / name
        path.write_bytes(content)
        made.append(Damaged(path, "a good sound under a hard name"))
        if rng.randrange(3) == 0:
            twin = folder / f"d{name}"
            if len(os.fsencode(twin.name)) <= 255:
                twin.write_bytes(truncate(rng, content))
                made.append(Damaged(twin, "a sound cut off under a hard name"))
    return made


def make_bombs(folder: Path, minutes: float) -> list[Damaged]:
    """Write small files of much silence, and a large one that takes no room on the disk.

    The Ogg file's serial number is libsndfile's choice, and another one each time.
    """
    silence = np.zeros(8000 * 6, np.int16)  # libsndfile's Vorbis encoder dies of long writes
    for name, (container, kind) in {"bomb.flac": ("FLAC", "PCM_16"), "bomb.ogg": ("OGG", "VORBIS")}.items():
        with soundfile.SoundFile(folder / name, "w", 8000, 1, subtype=kind, format=container) as file:
            for _ in range(max(1, round(minutes * 10))):
                file.write(silence)
    wide = np.zeros((48_000 * 2, 8), np.int16)
    with soundfile.SoundFile(folder / "wide-bomb.flac", "w", 48_000, 8, format="FLAC") as file:
        for _ in range(max(1, round(minutes))):
            file.write(wide)
    frames = good_sounds()["layer3.mp3"]
    (folder / "bomb.mp3").write_bytes(frames * max(1, round(minutes * 6)))
    sparse = folder / "sparse-bomb.wav"
    sparse.write_bytes(_wav_header(1, RATE, 16, size=0xFFFFFFF0))
    os.truncate(sparse, int(RATE * 2 * 60 * minutes) + 44)
    made = ("bomb.flac", "bomb.ogg", "wide-bomb.flac", "bomb.mp3", "sparse-bomb.wav")
    return [Damaged(folder / name, "a bomb") for name in made]


def _wav_header(channels: int, rate: int, bits: int, kind: int = 1, size: int = 0x7FFFFFF0) -> bytes:
    align = channels * bits // 8
    fields = struct.pack("<HHIIHH", kind, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    riff = struct.pack("<4sI4s", b"RIFF", min(size + 36, 0xFFFFFFFF), b"WAVE")
    return riff + struct.pack("<4sI", b"fmt ", 16) + fields + struct.pack("<4sI", b"data", size)


def _zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("x.wav"), b"RIFF")  # the time of now would be other bytes
    return file.getvalue()


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        try:  # the path of a socket may have but 108 bytes
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        except OSError:
            path.write_bytes(b"")
        finally:
            os.close(here)


def _make_locked(path: Path) -> None:
    path.write_bytes(good_sounds()["pcm16.wav"])
    path.chmod(0)
