"""Captions of an upload as files: JSON Lines, SubRip, WebVTT, Audacity's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from aac_llm.captioning.subtitles import to_audacity, to_srt, to_vtt
from aac_llm.data.predictions import NO_SOUND, Prediction, row_of
from aac_llm.files import to_json
from aac_llm.serving.service import Heard

JSONL = "application/x-ndjson"
WRITERS = {"srt": to_srt, "vtt": to_vtt, "audacity": to_audacity}
KINDS = tuple(WRITERS)
"""Kinds of subtitles."""


@dataclass(frozen=True)
class Download:
    """A file for the sender to keep."""

    label: str
    """What it is, for the link."""
    name: str
    media_type: str
    text: str


def to_jsonl(predictions: Sequence[Prediction]) -> str:
    """Return predictions as `aac-llm caption` writes them, a line each."""
    return "".join(to_json(row_of(prediction)).decode() + "\n" for prediction in predictions)


def with_times(heard: Heard) -> Prediction:
    """Return the prediction with times in it, if only those of the whole sound.

    What a captioner says that knows no times holds from the sound's beginning to its end.
    """
    one = heard.prediction
    if one.timestamps or one.parts or one.caption == NO_SOUND:
        return one
    return replace(one, start=0.0, end=heard.sound.seconds)


def subtitles(heard: Heard, kind: str) -> str:
    """Return a sound's captions as `srt`, `vtt` or `audacity`; nothing of silence."""
    one = with_times(heard)
    timed = [one] if one.timestamps or one.parts or one.start is not None else []
    return WRITERS[kind](timed)


def downloads(heard: Heard) -> list[Download]:
    """Return the files of a sound."""
    # As the sender's file is called, so that players find subtitles beside it.
    stem = PurePath(heard.prediction.id.replace("\\", "/")).stem or "sound"
    return [
        Download("JSONL", f"{stem}.jsonl", JSONL, to_jsonl([heard.prediction])),
        Download("SRT", f"{stem}.srt", "application/x-subrip", subtitles(heard, "srt")),
        Download("WebVTT", f"{stem}.vtt", "text/vtt", subtitles(heard, "vtt")),
        Download("Audacity labels", f"{stem}.txt", "text/plain", subtitles(heard, "audacity")),
    ]
