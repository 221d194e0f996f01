"""The routes: a form with sounds in, captions as JSON out."""

from __future__ import annotations

from typing import Any

from aac_llm.data.predictions import row_of
from aac_llm.serving.downloads import KINDS, subtitles
from aac_llm.serving.request import Form
from aac_llm.serving.server import Server
from aac_llm.serving.service import Answer, CaptionService, Wanted

TEXTS = ("num_candidates", "timestamps", "correct", "subtitles")


def add_routes(server: Server, service: CaptionService) -> None:
    """Answer `/api/caption`, and `/api/model` with what can be asked of this model."""

    def caption(form: Form) -> dict[str, Any]:
        wanted = wanted_of(form, service.config.num_beams)
        kind = form.text("subtitles")
        if kind and kind not in KINDS:
            raise ValueError(f"subtitles must be one of {', '.join(KINDS)}, got {kind!r}")
        if not form.sounds("audio"):
            raise ValueError("no sound: send one or more, as `curl -F audio=@rain.wav` does")
        return rows_of(service.answer(form.sounds("audio"), wanted), kind)

    async def model() -> dict[str, Any]:
        return {
            "model": service.config.model,
            "knows_times": service.knows_times,
            "trained_seconds": service.captioner.model.trained_seconds,
            "max_candidates": service.config.num_beams,
            "max_seconds": service.config.max_seconds,
            "max_upload_megabytes": service.config.max_upload_megabytes,
        }

    server.route("/api/caption", caption, texts=TEXTS, sounds=("audio",))
    server.app.add_api_route("/api/model", model, methods=["GET"])


def wanted_of(form: Form, most: int) -> Wanted:
    """Read what a form asks for.

    Raises:
        ValueError: a field is not what it must be.
    """
    count = form.number("num_candidates", 1.0, least=1, most=most)
    if not count.is_integer():
        raise ValueError(f"num_candidates must be a whole number, got {count:g}")
    return Wanted(
        num_candidates=int(count),
        timestamps=form.flag("timestamps", default=True),
        correct=form.flag("correct", default=True),
    )


def rows_of(answer: Answer, kind: str = "") -> dict[str, Any]:
    """Return an answer as JSON: rows as `aac-llm caption` writes them, and what was refused.

    Args:
        answer: what became of the sounds.
        kind: of subtitles to put into each row; empty: none.
    """
    rows = []
    for heard in answer.heard:
        row = row_of(heard.prediction)
        del row["audio"]
        row["seconds"] = round(heard.sound.seconds, 3)
        if heard.complaints:
            row["complaints"] = list(heard.complaints)
        if kind:
            row["subtitles"] = subtitles(heard, kind)
        rows.append(row)
    return {
        "captions": rows,
        "refused": [{"id": one.name, "reason": one.reason} for one in answer.refused],
    }
