"""Captions with times for other programs, a file for each sound: SubRip, WebVTT, Audacity, Label Studio."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from aac_llm.captioning.segments import group_by_sound
from aac_llm.data.predictions import NO_SOUND, Prediction
from aac_llm.files import TEMPORARY, to_json, write_atomically
from aac_llm.models.long_sound import merge_events

SubtitleKind: TypeAlias = Literal["srt", "vtt", "audacity", "label_studio"]
ENDINGS: dict[SubtitleKind, str] = {"srt": "srt", "vtt": "vtt", "audacity": "txt", "label_studio": "json"}
LABEL = "event"
"""What Label Studio's regions are labelled; their text is the caption."""
MAX_NAME_BYTES = 200
"""Of a name in a path; file systems take 255, and endings are added."""


@dataclass(frozen=True)
class Cue:
    """A text that is shown from a time to another."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    text: str
    """On one line."""


def write_subtitles(predictions: Sequence[Prediction], folder: Path, kind: SubtitleKind) -> None:
    """Write a file for each sound below a folder, named by the sound's id."""
    writers: dict[SubtitleKind, Callable[[Sequence[Prediction]], str]]
    writers = {"srt": to_srt, "vtt": to_vtt, "audacity": to_audacity}
    for left in folder.rglob(f".*{TEMPORARY}"):  # by a kill
        left.unlink(missing_ok=True)
    for parts in group_by_sound(predictions):
        # A captioner that was asked for events may have heard none: that is an empty file.
        timed = [part for part in parts if part.timestamps or part.parts or part.start is not None]
        path = folder / f"{safe_name(parts[0].id)}.{ENDINGS[kind]}"
        if kind == "label_studio":
            write_atomically(path, to_label_studio(timed, parts[0].audio or parts[0].id))
        else:
            write_atomically(path, writers[kind](timed))


def cues(predictions: Sequence[Prediction]) -> list[Cue]:
    """Return what is shown of the parts of one sound, in order: events, else windows with their captions.

    Raises:
        ValueError: a caption has no times.
    """
    # Overlapping windows name an event twice.
    events = merge_events([prediction.timestamps for prediction in predictions])
    found = [Cue(event.onset, event.offset, _one_line(event.text)) for event in events]
    # Of silence nothing is shown.
    found += [
        cue
        for prediction in predictions
        if not prediction.timestamps
        for cue in _cues(prediction)
        if cue.text != NO_SOUND
    ]
    return sorted(found, key=lambda cue: (cue.start, cue.end))


def to_srt(predictions: Sequence[Prediction]) -> str:
    """Return the parts of one sound as SubRip subtitles.

    >>> print(to_srt([Prediction("a", None, "rain", start=0.0, end=61.5)]))
    1
    00:00:00,000 --> 00:01:01,500
    rain
    <BLANKLINE>
    """
    return "\n".join(
        f"{number}\n{_times(cue, ',')}\n{cue.text}\n" for number, cue in enumerate(cues(predictions), 1)
    )


def to_vtt(predictions: Sequence[Prediction]) -> str:
    """Return the parts of one sound as WebVTT, for `<track>` beside an audio player."""
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    found = [f"{_times(cue, '.')}\n{cue.text.translate(escapes)}\n" for cue in cues(predictions)]
    return "\n".join(["WEBVTT\n", *found])


def to_audacity(predictions: Sequence[Prediction]) -> str:
    """Return the parts of one sound as a label track of Audacity (File > Import > Labels).

    >>> to_audacity([Prediction("a", None, "rain", start=0.0, end=61.5)])
    '0.000000\\t61.500000\\train\\n'
    """
    return "".join(f"{cue.start:.6f}\t{cue.end:.6f}\t{cue.text}\n" for cue in cues(predictions))


def to_label_studio(predictions: Sequence[Prediction], audio: str) -> str:
    """Return the parts of one sound as a JSON list of one task of Label Studio, a region a caption.

    The names of its labelling interface are in docs/interoperability.md; the form of a task is that of
    https://labelstud.io/guide/predictions.

    Args:
        predictions: the parts.
        audio: path of the sound, which Label Studio serves below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
    """
    regions = []
    for number, cue in enumerate(cues(predictions)):
        span: dict[str, Any] = {"start": cue.start, "end": cue.end, "channel": 0}
        place = {"id": f"region-{number}", "to_name": "audio"}
        regions += [
            place | {"from_name": "labels", "type": "labels", "value": span | {"labels": [LABEL]}},
            place | {"from_name": "caption", "type": "textarea", "value": span | {"text": [cue.text]}},
        ]
    task = {
        "data": {"audio": f"/data/local-files/?d={quote(os.fsencode(audio.lstrip('/')))}"},
        "predictions": [{"model_version": "aac-llm", "result": regions}],
    }
    return to_json([task], indent=1).decode() + "\n"


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


def _cues(prediction: Prediction) -> Iterator[Cue]:
    if prediction.parts:
        yield from (Cue(part.start, part.end, _one_line(part.text)) for part in prediction.parts)
    elif prediction.start is not None and prediction.end is not None:
        yield Cue(prediction.start, prediction.end, _one_line(prediction.caption))
    else:
        raise ValueError(
            f"subtitles need times, and {prediction.id!r} has none: caption with --segments or --timestamps"
        )


def _one_line(text: str) -> str:
    return " ".join(text.split())  # a blank line would end the cue


def _times(cue: Cue, point: str) -> str:
    return f"{_time(cue.start, point)} --> {_time(cue.end, point)}"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
