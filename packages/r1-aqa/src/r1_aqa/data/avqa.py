"""AVQA as published: which file belongs to a row, and which rows can be answered by ear.

A row names a video as `-HG3Omg_89c_000030`: a YouTube id and the second at which the clip starts. Sounds that
people have are called that, or `-HG3Omg_89c_30` as in the paper's example, with or without the end second,
with `.wav` or any other ending; several folders hold videos instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from audio_common.files import walk_files

from r1_aqa.data.questions import Question
from r1_aqa.data.readers import parse_reference

SOUNDS = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"}
VIDEOS = {".mp4", ".mkv", ".webm", ".avi", ".mov"}
_NAME = re.compile(r"(?P<id>.{11})_(?P<start>\d+)(?:_(?P<end>\d+))?")


class MediaIndex:
    """Sounds and videos of a folder by all names that AVQA knows them by; a sound comes before a video."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder} of sounds or videos")
        self._files: dict[str, Path] = {}
        media = [path for path in walk_files(folder) if path.suffix.lower() in SOUNDS | VIDEOS]
        for path in sorted(media, key=lambda each: each.suffix.lower() in VIDEOS):
            for name in known_names(path.stem):
                self._files.setdefault(name, path)

    def find(self, video_name: str) -> Path | None:
        """The file of a row, or None."""
        found = (self._files.get(name) for name in known_names(Path(video_name).stem or video_name))
        return next((each for each in found if each), None)


def known_names(name: str) -> Iterator[str]:
    """A name, and then its forms: start second without zeros, without end second, in milliseconds.

    >>> list(known_names("-HG3Omg_89c_000030"))
    ['-HG3Omg_89c_000030', '-HG3Omg_89c@30']
    """
    yield name
    found = _NAME.fullmatch(name)
    if found:
        start = int(found["start"])
        yield f"{found['id']}@{start}"
        if found["end"] and start >= 1000 and int(found["end"]) - start >= 1000:
            yield f"{found['id']}@{start // 1000}"


def visual_reason(row: dict[str, Any], relations: Sequence[str], words: Sequence[str]) -> str | None:
    """Why a row is not for listeners, None for one that is."""
    relation = row.get("question_relation")
    if relation is not None and relation not in relations:
        return f"relation {relation}"
    asked = set(re.findall(r"[a-z]+", str(row["question_text"]).lower()))
    seen = next((word for word in words if word in asked), None)
    return f"about what is seen ({seen})" if seen else None


def parse_avqa(row: dict[str, Any], audio: Path) -> Question:
    """A row of AVQA with its sound."""
    reference = row | {"audio_path": str(audio.absolute()), "dataset_name": "AVQA"}
    return parse_reference(reference, Path())


def extract_sound(video: Path, folder: Path) -> Path:
    """The sound of a video as 16 kHz mono FLAC, made once.

    Raises:
        AudioError: it has none, or the extra `av` is missing.
    """
    import soundfile
    from audio_common import load_audio

    path = folder / f"{video.stem}.flac"
    if not path.is_file():
        samples = np.asarray(load_audio(video))
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{video.stem}.partial.flac"
        soundfile.write(partial, samples, 16_000)
        partial.replace(path)
    return path
