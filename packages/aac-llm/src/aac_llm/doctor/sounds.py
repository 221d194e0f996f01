"""The sounds of a manifest, or a single one: whether they are there and can be read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from audio_common import AudioError, DecodePool

from aac_llm.doctor.finding import Finding

HEADS: tuple[bytes, ...] = (
    b"RIFF",
    b"RF64",
    b"FORM",
    b"fLaC",
    b"OggS",
    b"ID3",
    b"caff",
    b".snd",
    b"wvpk",
    b"MAC ",
    b"#!AMR",
)
HEADS += (b"\x1aE\xdf\xa3", b"0&\xb2u")  # Matroska and WebM; WMA
"""What files of sound begin with."""
LOOKED_AT = 200
"""Sounds of a manifest whose heads are read; `prepare` decodes them all."""


def sound_finding(path: Path) -> Finding:
    """Decode a single sound, in a process of its own, and say what is odd about it."""
    complaints: list[str] = []
    mended = shlex.quote(f"{path.with_suffix('')}.mended.flac")
    command = f"ffmpeg -i {shlex.quote(str(path))} {mended}"
    with DecodePool() as pool:
        try:
            info = pool.measure_audio(path)
            pool.load_audio(path, complaints=complaints)
        except AudioError as error:
            if _has_sounds_head(path):
                return Finding("fault", "sound", str(error), command)
            text = f"{error}; fetch or record it again"
            return Finding("fault", "sound", text, f"ls -l {shlex.quote(str(path))}")
    text = f"{path}: {info.duration:.2f} s, {info.sample_rate} Hz, {info.num_channels} channels"
    if complaints:
        return Finding("note", "sound", f"{text}; {'; '.join(complaints)}", command)
    return Finding("ok", "sound", text)


def _has_sounds_head(path: Path) -> bool:
    """Tell whether a file begins as a file of sound does, so that another program may read the rest."""
    if not path.is_file():  # a device may have no end
        return False
    with path.open("rb") as file:
        head = file.read(8)
    is_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0
    return head.startswith(HEADS) or head[4:] == b"ftyp" or is_mpeg


def sounds_findings(source: Path, sounds: Sequence[Path], command: str) -> list[Finding]:
    """Look at the sounds that a manifest names.

    Args:
        source: the manifest.
        sounds: their files.
        command: what leaves out those that cannot be used.
    """
    missing = [path for path in sounds if not path.is_file()]
    there = [path for path in sounds if path.is_file()]
    looked_at = there[:: max(1, len(there) // LOOKED_AT)][:LOOKED_AT]
    with DecodePool() as pool:
        infos = pool.audio_infos(looked_at)
    unread = [str(info) for info in infos if isinstance(info, AudioError)]
    found = []
    if missing:
        text = f"{source}: {len(missing):,} of {len(sounds):,} sounds are missing, the first: {missing[0]}"
        found.append(Finding("fault", "sounds", text, command))
    if unread:
        text = f"{source}: {len(unread)} of {len(looked_at)} sounds cannot be read, the first: {unread[0]}"
        found.append(Finding("fault", "sounds", text, command))
    if not found:
        text = f"{source}: {len(sounds):,} sounds are there; the heads of {len(looked_at):,} were read"
        found.append(Finding("ok", "sounds", text))
    return found
