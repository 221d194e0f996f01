"""What a file is that is no sound, by its first bytes: a web page, a pointer, an archive, a text.

`certain_kind` goes by marks that no sound begins with, and is asked before decoding: libmpg123 would search
an archive for an mp3 and play it. `likely_kind` knows also what has no mark, and is asked when decoding has
failed: some sounds (NIST's, radio streams) begin with text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD = 1024
"""Bytes from a file's beginning that are looked at."""
SHOWN = 40
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Kind:
    """A kind of file that is no sound."""

    what: str
    advice: str

    def message(self, name: str) -> str:
        """Say what a file is and what to do."""
        return f"{name} cannot be read: it is {self.what}; {self.advice}"


UNPACK = "unpack it and pass the sounds in it"
LOAD = "load it with the library that wrote it and pass the samples as an array"
OTHER = "pass the path of a sound file"
AGAIN = "fetch the file again"
MACOS = Kind("macOS metadata (a `._` or .DS_Store file)", "pass the sound itself; this file can be deleted")

LFS = Kind("a Git LFS pointer", "run `git lfs pull` where it was cloned, to fetch the file itself")
ANNEX = Kind("a git-annex pointer", "run `git annex get` where it was cloned, to fetch the file itself")
PLAYLIST = Kind("a playlist", "pass the sounds that it names")
MIDI = Kind("a MIDI file, which holds notes", "render it to a sound file first")
PICTURE = Kind("a picture", OTHER)

MARKS = (
    *((mark, Kind("a zip archive", UNPACK)) for mark in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")),
    (b"\x1f\x8b", Kind("compressed with gzip", UNPACK)),
    (b"BZh", Kind("compressed with bzip2", UNPACK)),
    (b"\xfd7zXZ\0", Kind("compressed with xz", UNPACK)),
    (b"\x28\xb5\x2f\xfd", Kind("compressed with zstd", UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", UNPACK)),
    (b"Rar!\x1a\x07", Kind("a RAR archive", UNPACK)),
    (b"%PDF-", Kind("a PDF document", OTHER)),
    (b"\x89PNG\r\n", Kind("a PNG picture", OTHER)),
    (b"\xff\xd8\xff", Kind("a JPEG picture", OTHER)),
    (b"GIF8", Kind("a GIF picture", OTHER)),
    *((mark, Kind("a TIFF picture", OTHER)) for mark in (b"II*\0", b"MM\0*")),
    *((mark, MACOS) for mark in (b"\0\x05\x16\x07", b"\0\x05\x16\0", b"\0\0\0\x01Bud1")),
    (b"\x93NUMPY", Kind("a NumPy array (.npy)", "pass numpy.load of it and its rate")),
    (b"PAR1", Kind("a Parquet table", "read the sounds out of it and pass their bytes")),
    (b"ARROW1", Kind("an Arrow table", "read the sounds out of it and pass their bytes")),
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", LOAD)),
    (b"SQLite format 3\0", Kind("an SQLite database", OTHER)),
    (b"\x7fELF", Kind("a program", OTHER)),
    (b"MThd", MIDI),
    (b"L\0\0\0\x01\x14\x02\0", Kind("a Windows shortcut (.lnk)", "pass the file that it leads to")),
    (b"#EXTM3U", PLAYLIST),
    (b"[playlist]", PLAYLIST),
    (b"ffconcat version", PLAYLIST),
    (b"[InternetShortcut]", Kind("an internet shortcut (.url)", "download what it leads to")),
    (b"version https://git-lfs.github.com/", LFS),
    (b"/annex/objects/", ANNEX),
)
"""First bytes, and what begins with them."""
RIFF_KINDS = {b"WEBP": PICTURE, b"RMID": MIDI, b"sfbk": Kind("a SoundFont", OTHER)}
"""By the bytes 8 to 12 of a RIFF file."""
ZIP_KINDS = (
    (rb"data\.pkl|/version\0", Kind("a PyTorch file (torch.save)", LOAD)),
    (rb"\.npy", Kind("a NumPy archive (.npz)", "pass an array of numpy.load of it and its rate")),
    (rb"\[Content_Types\]\.xml|_rels/|mimetypeapplication/", Kind("an office document", OTHER)),
)
"""By the name of a zip archive's first member."""
SOUND_MARKS = (b"RIFF", b"FORM", b"fLaC", b"OggS", b"NIST_1A", b"#!AMR", b"Creative Voice File")
"""Sounds that may be taken for text, the first four where they are cut off at once."""
PAGE = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|script)[\s>]", re.IGNORECASE)
TITLE = re.compile(rb"<title[^>]*>\s*([^<]*?)\s*</title>", re.IGNORECASE)
BASE64_SOUND = re.compile(r"(?:data:[\w.+/-]*;base64,|UklGR|SUQz|T2dnU|ZkxhQ|//[uvs]|AAAA.GZ0eX)")
"""The beginnings of wav, mp3, ogg, flac and mp4 in base64."""


def certain_kind(head: bytes) -> Kind | None:
    """Return what begins with these bytes and can be no sound, or None."""
    if head[:4] == b"RIFF":
        return RIFF_KINDS.get(head[8:12])
    if head[257:262] == b"ustar":
        return Kind("a tar archive", UNPACK)
    if head[8:10] == b'{"' and 0 < int.from_bytes(head[:8], "little") < 1 << 32:
        return Kind("a safetensors file", LOAD)
    if head[:4] == b"PK\x03\x04":
        name = head[30:130]
        for pattern, kind in ZIP_KINDS:
            if re.search(pattern, name):
                return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if PAGE.match(text):
        title = TITLE.search(text)
        shown = f" {title[1].decode(errors='replace')[:SHOWN]!r}" if title else ""
        return Kind(f"an HTML page{shown} (a failed download?)", AGAIN)
    return next((kind for mark, kind in MARKS if head.startswith(mark) or text.startswith(mark)), None)


def likely_kind(head: bytes) -> Kind | None:
    """Return what a file is that cannot be decoded, or None where these bytes do not show it."""
    if (kind := certain_kind(head)) is not None:
        return kind
    if head and not head.strip(b"\0"):
        where = f" in its first {HEAD} bytes" if len(head) == HEAD else ""
        return Kind(f"nothing but zeros{where} (a download or copy that was not finished?)", AGAIN)
    if head.startswith(b"HTTP/1."):
        return Kind("a web server's answer with its headers", AGAIN)
    if re.match(rb"\x80[\x02-\x05](?:\x95|[\]}(cX\x8a])", head):
        return Kind("a pickle", LOAD)
    text = None if len(head) < 4 or head.startswith(SOUND_MARKS) else _text(head)
    return None if text is None else _text_kind(text)


def _text(head: bytes) -> str | None:
    """Decode bytes of which every character can be printed, else None."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    size = len(head) - len(head) % 2 if encoding == "utf-16" else len(head)
    for cut in range(4):  # the last character may be cut in two
        try:
            text = head[: size - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
        return text if text.strip() and all(c.isprintable() or c.isspace() for c in text) else None
    return None


def _text_kind(text: str) -> Kind:
    text = text.strip()
    shown = f"that begins with {text[:SHOWN]!r}"
    if text[0] in "{[":
        return Kind(f"JSON or a text like it {shown}", "pass the path of the sound itself")
    if text[0] == "<":
        return Kind(f"XML {shown} (a failed download?)", AGAIN)
    if BASE64_SOUND.match(text):
        return Kind(f"text {shown}: a sound in base64", "decode it and pass the bytes")
    return Kind(f"plain text {shown}", "pass the path of a sound file, or fetch the file again")
