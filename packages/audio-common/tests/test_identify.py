"""What is no sound is called what it is, with and without PyAV; what is sound never is."""

import io
import json
import pickle
import plistlib
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, audio_info, load_audio
from audio_common.identify import HEAD, certain_kind, likely_kind
from safetensors.numpy import save


def written(write, *arguments) -> bytes:  # type: ignore[no-untyped-def]
    file = io.BytesIO()
    write(file, *arguments)
    return file.getvalue()


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.mp3")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def encoded(format_: str, subtype: str | None = None) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    return written(lambda file: soundfile.write(file, noise, 16_000, format=format_, subtype=subtype))


MP3 = encoded("MP3")
FILES = {
    "an HTML page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "an HTML page 'Sign in'": b"\xef\xbb\xbf\n <HTML lang=en><head><title>\nSign in</title>" + b"x" * 5000,
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a git-annex pointer": b"/annex/objects/SHA256E-s1--4d7a.wav\n",
    "a zip archive": zipped("a.mp3", MP3),
    "a PyTorch file": written(lambda file: torch.save({"a": torch.zeros(3)}, file)),
    "a NumPy archive": written(lambda file: np.savez(file, a=np.zeros(3))),
    "a NumPy array": written(np.save, np.zeros(3)),
    "a pickle": pickle.dumps({"audio": np.zeros(3)}),
    "a safetensors file": save({"a": np.zeros(3, np.float32)}),
    "a tar archive": tarred(MP3),
    "compressed with gzip": b"\x1f\x8b\x08\x00" + bytes(20),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(20),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3" + MP3,
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "a JPEG picture": b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(20),
    "a GIF picture": b"GIF89a" + bytes(20),
    "a picture": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20),
    "macOS metadata": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(100),
    "a Parquet table": b"PAR1" + bytes(20) + b"PAR1",
    "a MIDI file": b"MThd\0\0\0\x06\0\x01\0\x02\0\x60MTrk",
    "a playlist": b"#EXTM3U\n#EXTINF:1,a\na.wav\n",
    "nothing but zeros (": bytes(1000),
    "nothing but zeros in its first 1024 bytes (": bytes(100_000),
    'JSON or a text like it that begins with \'{"error"': b'{"error": "rate limit"}\n',
    "XML that begins": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "XML": plistlib.dumps({"a": "b"}),
    "plain text that begins with 'no sound at all'": b"no sound at all",
    "plain text": "Geräusche: 鳥の声\n".encode() * 100,
    "plain text that begins with 'wide": "wide text".encode("utf-16"),
    "text that begins with 'UklGRi": b"UklGRiQAAABXQVZFZm10IBAAAAABAAEA",
    "a web server's answer": b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n",
}


@pytest.mark.parametrize("has_av", [True, False])
@pytest.mark.parametrize("what", FILES)
def test_what_is_no_sound_is_called_what_it_is(
    tmp_path: Path, what: str, has_av: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_av:
        monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.wav"
    path.write_bytes(FILES[what])
    for source, name in ((path, str(path)), (path.read_bytes(), f"<{len(FILES[what])} bytes>")):
        for read in (load_audio, audio_info):
            with pytest.raises(AudioError) as caught:
                read(source)
            message = str(caught.value)
            assert message.startswith(f"{name} cannot be read: it is {what}")
            assert "; " in message  # and then what to do
            assert "PyAV" not in message


# libsndfile writes an SD2's description to a file of its own, and a RAW file has none.
@pytest.mark.parametrize("format_", sorted({*soundfile.available_formats()} - {"SD2", "RAW"}))
def test_no_format_of_sound_is_taken_for_something_else(format_: str) -> None:
    try:
        content = encoded(format_)
    except (soundfile.LibsndfileError, ValueError):
        pytest.skip("libsndfile does not write it so")
    assert certain_kind(content[:HEAD]) is None
    assert likely_kind(content[:HEAD]) is None


def test_bytes_that_show_nothing_are_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.random.default_rng(0).bytes(3_000)
    with pytest.raises(AudioError, match="cannot be read"):
        load_audio(content)
    assert certain_kind(b"") is None
    assert likely_kind(b"") is None


@pytest.mark.parametrize("first", [b"ICY 200 OK", b"HTTP/1.1 200 OK"])
def test_a_stream_with_text_before_its_sound_is_read(first: bytes) -> None:
    text = first + b"\r\nicy-name: " + b"a radio station " * 80 + b"\r\n\r\n"
    assert len(load_audio(text + MP3)) > 8_000


def test_json_of_samples_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text(json.dumps([0.0] * 100_000), encoding="ascii")
    with pytest.raises(AudioError, match="JSON or a text like it"):
        load_audio(tmp_path / "a.wav")
