"""Captions with times as subtitles: SubRip and WebVTT, a file for each sound."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aac_llm.captioning.segments import group_by_sound
from aac_llm.data.predictions import Prediction
from aac_llm.files import TEMPORARY, write_atomically

MAX_NAME_BYTES = 200
"""Of a name in a path; file systems take 255, and endings are added."""


def write_subtitles(predictions: Sequence[Prediction], folder: Path, kind: Literal["srt", "vtt"]) -> None:
    """Write a file for each sound below a folder, named by the sound's id."""
    write = to_srt if kind == "srt" else to_vtt
    for left in folder.rglob(f".*{TEMPORARY}"):  # by a kill
        left.unlink(missing_ok=True)
    for parts in group_by_sound(predictions):
        write_atomically(folder / f"{safe_name(parts[0].id)}.{kind}", write(parts))


def to_srt(predictions: Sequence[Prediction]) -> str:
    """Return the parts of one sound as SubRip subtitles.

    >>> print(to_srt([Prediction("a", None, "rain", start=0.0, end=61.5)]))
    1
    00:00:00,000 --> 00:01:01,500
    rain
    <BLANKLINE>
    """
    cues = [
        f"{number}\n{_times(prediction, ',')}\n{_one_line(prediction)}\n"
        for number, prediction in enumerate(predictions, 1)
    ]
    return "\n".join(cues)


def to_vtt(predictions: Sequence[Prediction]) -> str:
    """Return the parts of one sound as WebVTT, for `<track>` beside an audio player."""
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = [
        f"{_times(prediction, '.')}\n{_one_line(prediction).translate(escapes)}\n"
        for prediction in predictions
    ]
    return "\n".join(["WEBVTT\n", *cues])


def safe_name(id: str) -> str:
    """Return a relative path below a folder, whatever the id.

    >>> safe_name("park/rain.wav"), safe_name("../data/rain.wav"), safe_name("/data/rain.wav")
    ('park/rain.wav', '_/data/rain.wav', 'data/rain.wav')
    """
    parts = [_short(part.replace("\\", "_")) for part in id.split("/") if part not in ("", ".")]
    return "/".join("_" if part == ".." else part for part in parts) or "_"


def _short(part: str) -> str:
    """Return a part of a path that a file system takes; of longer ones the beginning and a digest."""
    if len(part.encode("utf-8", "surrogateescape")) <= MAX_NAME_BYTES:
        return part
    digest = hashlib.sha256(part.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{part[: MAX_NAME_BYTES // 4]}-{digest[:8]}"  # of up to four bytes a character


def _one_line(prediction: Prediction) -> str:
    return " ".join(prediction.caption.split())  # a blank line would end the cue


def _times(prediction: Prediction, point: str) -> str:
    if prediction.start is None or prediction.end is None:
        raise ValueError(f"subtitles need times, and {prediction.id!r} has none: caption with segments")
    return f"{_time(prediction.start, point)} --> {_time(prediction.end, point)}"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
