"""Find the audio of AVQA's rows, and the rows that can be answered by ear.

An AVQA row names a video as `-HG3Omg_89c_000030`: a YouTube id and the second at which the clip starts. The
files that people have are called that, or `-HG3Omg_89c_30` as in the paper's example, with or without the end
second, with `.wav` or any other ending; several folders hold videos instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audio_common.files import AUDIO_SUFFIXES, walk_files

from r1_aqa.data.report import RELATION, VISUAL, Reason

VIDEO = {".mp4", ".mkv", ".webm", ".avi", ".mov"}
_AVQA_NAME = re.compile(r"(?P<id>.{11})_(?P<start>\d+)(?:_(?P<end>\d+))?")


class MediaIndex:
    """Audio and videos of a folder by all names that AVQA knows them by; audio comes before a video."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder} of audio or videos")
        self._files: dict[str, Path] = {}
        media = [path for path in walk_files(folder) if path.suffix.lower() in {*AUDIO_SUFFIXES, *VIDEO}]
        for path in sorted(media, key=lambda path: path.suffix.lower() in VIDEO):
            for name in known_names(path.stem):
                self._files.setdefault(name, path)

    def find(self, video_name: str) -> Path | None:
        """Return the file of a row, or None."""
        found = (self._files.get(name) for name in known_names(Path(video_name).stem or video_name))
        return next((path for path in found if path), None)


def known_names(name: str) -> Iterator[str]:
    """Yield a name and its other forms: start second without zeros, without end second, in milliseconds.

    >>> list(known_names("-HG3Omg_89c_000030"))
    ['-HG3Omg_89c_000030', '-HG3Omg_89c@30']
    """
    yield name
    found = _AVQA_NAME.fullmatch(name)
    if found:
        start = int(found["start"])
        yield f"{found['id']}@{start}"
        if found["end"] and start >= 1000 and int(found["end"]) - start >= 1000:
            yield f"{found['id']}@{start // 1000}"


def visual_reason(row: dict[str, Any], relations: Sequence[str], words: Sequence[str]) -> Reason | None:
    """Return why a row of AVQA cannot be answered by ear, None if it can."""
    relation = row.get("question_relation")
    if relation is not None and relation not in relations:
        return Reason(RELATION, f"relation {relation}")
    asked = set(re.findall(r"[a-z]+", str(row["question_text"]).lower()))
    seen = next((word for word in words if word in asked), None)
    return Reason(VISUAL, f"about what is seen ({seen})") if seen else None
