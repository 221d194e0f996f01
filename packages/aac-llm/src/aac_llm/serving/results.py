"""Captions of uploads as HTML: a card for each sound, with its captions on a line of time.

Names and captions come from others: all of it is escaped. Nothing is fetched from anywhere; sounds and files
to keep are in the text itself.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aac_llm.captioning.subtitles import cues
from aac_llm.data.predictions import NO_SOUND, Prediction
from aac_llm.data.timeline import place_events, place_ticks
from aac_llm.data.timestamps import TimedEvent
from aac_llm.data.word_changes import Change, word_changes
from aac_llm.metrics.faults import faults
from aac_llm.serving.downloads import JSONL, Download, downloads, to_jsonl, with_times
from aac_llm.serving.service import Answer, Heard, Refused, Wanted
from aac_llm.serving.sound import outline, outline_path, playable

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).parent
TEMPLATE = "results.html.jinja"


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True)
    return environment.get_template(TEMPLATE)


def style() -> str:
    """Return the cards' CSS."""
    return (FOLDER / "results.css").read_text(encoding="utf-8")


def script() -> str:
    """Return what moves the mark along the line of time and plays events; `element` holds the cards."""
    return (FOLDER / "results.js").read_text(encoding="utf-8")


def render_answer(answer: Answer, wanted: Wanted) -> str:
    """Return what became of the sounds of a request: those that were refused first."""
    predictions = [heard.prediction for heard in answer.heard]
    together = Download("all of them as JSONL", "captions.jsonl", JSONL, to_jsonl(predictions))
    return _template().render(
        refused=[{"name": one.name, "rest": _rest(one)} for one in answer.refused],
        cards=[_card(heard, wanted) for heard in answer.heard],
        together=_link(together) if len(predictions) > 1 else None,
    )


def _rest(refused: Refused) -> str:
    """Return what follows the name, with which most reasons begin."""
    name = f"{refused.name} "
    return f" {refused.reason[len(name) :]}" if refused.reason.startswith(name) else f": {refused.reason}"


def _card(heard: Heard, wanted: Wanted) -> dict[str, Any]:
    one = heard.prediction
    heights = outline(heard.sound.waveform)
    return {
        "name": one.id,
        "seconds": heard.sound.seconds,
        "caption": one.caption,
        "confidence": one.confidence,
        "unfinished": one.unfinished,
        "correction": explain(one) if wanted.correct and is_corrected(one) else None,
        "audio": playable(heard.sound.waveform),
        "outline": outline_path(heights),
        "columns": max(1, len(heights) - 1),
        "kind": _kind(one),
        "bars": place_events(timed_texts(heard), heard.sound.seconds),
        "ticks": place_ticks(heard.sound.seconds),
        "candidates": one.candidates,
        "complaints": heard.complaints,
        "downloads": [_link(download) for download in downloads(heard)],
    }


def timed_texts(heard: Heard) -> list[TimedEvent]:
    """Return what is drawn on the line of time: events, else the windows' captions, else the caption."""
    if heard.prediction.caption == NO_SOUND:
        return []
    found = cues([with_times(heard)])
    return [TimedEvent(cue.text, cue.start, cue.end) for cue in found if cue.text]


def _kind(one: Prediction) -> str:
    if one.caption == NO_SOUND:
        return "nothing can be heard"
    if one.timestamps:
        return "events and when they are heard"
    return "windows and what is heard in each" if one.parts else "the whole sound"


def is_corrected(prediction: Prediction) -> bool:
    """Tell whether a caption was looked at: silence is not, nor windows where there is nothing to choose."""
    return prediction.correction is not None or not (prediction.parts or prediction.caption == NO_SOUND)


def explain(prediction: Prediction) -> tuple[str, Sequence[Change]]:
    """Say what the correction made of a caption and why, and what it changed or would have changed."""
    record = prediction.correction
    if record is None:
        return "nothing to repair", ()
    before, reason = str(record["before"]), str(record["reason"])
    found = sorted(faults(before))
    wrong = f" ({', '.join(found)})" if found else ""
    if record["accepted"]:
        by = f"repaired by {record['llm']}" if reason == "accepted" else "another of its captions is whole"
        return f"{by}{wrong}", word_changes(before, str(record["after"]))
    why = reason.removeprefix("kept: ")
    answer = record.get("answer")
    if answer is None:
        return f"looks wrong{wrong}, but stays: {why}", ()
    return f"looks wrong{wrong}, but this repair was not taken: {why}", word_changes(before, str(answer))


def _link(download: Download) -> dict[str, str]:
    content = base64.b64encode(download.text.encode("utf-8", "replace")).decode()
    return {
        "label": download.label,
        "name": download.name,
        "address": f"data:{download.media_type};charset=utf-8;base64,{content}",
    }
