"""The page in the browser: drop or record sounds, read their captions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio
from audio_common.audio import AudioError

from aac_llm.output import printable
from aac_llm.serving.api import rows_of
from aac_llm.serving.results import render_answer, script
from aac_llm.serving.server import Server
from aac_llm.serving.service import Answer, CaptionService, Refused, Wanted
from aac_llm.serving.uploads import Sound, Uploads

NOTHING = "no sound yet: choose files, drop them here, or record one"
RECORDING = "recording.wav"
OPTION_WIDTH = 240
"""Pixels: on a phone each option has a line of its own."""


def make_page(server: Server, service: CaptionService) -> gradio.Blocks:
    """Make the page.

    Args:
        server: made before the page, for it says where Gradio keeps uploads.
        service: what captions them.
    """
    most = service.config.num_beams

    def ask(uploads: Sequence[tuple[str, str]], wanted: Wanted) -> Answer:
        if not uploads:
            raise ValueError(NOTHING)
        sounds, refused = hear_all(server.uploads, uploads)
        found = server.work.run(service.answer, sounds, wanted)
        return Answer(found.heard, (*refused, *found.refused))

    def show(files: list[str] | None, recording: str | None, count: int, times: bool, correct: bool) -> str:
        wanted = Wanted(num_candidates=int(count), timestamps=times, correct=correct)
        uploads = [(path, Path(path).name) for path in files or []]
        uploads += [(recording, RECORDING)] if recording else []
        return render_answer(ask(uploads, wanted), wanted)

    def caption(
        files: list[dict[str, Any]], num_candidates: int = 1, timestamps: bool = True, correct: bool = True
    ) -> dict[str, Any]:
        """Caption sounds, for gradio_client: `client.predict([handle_file(path)], api_name="/caption")`."""
        wanted = Wanted(num_candidates=num_candidates, timestamps=timestamps, correct=correct)
        paths = [str(file.get("path")) for file in files]
        return rows_of(ask([(path, Path(path).name) for path in paths], wanted))

    with gradio.Blocks(title="Captions of sounds: aac-llm", analytics_enabled=False) as page:
        gradio.HTML(_head(service), padding=False)
        with gradio.Row(equal_height=True):
            files = gradio.File(label="Sound files", file_count="multiple", type="filepath", height=190)
            recording = gradio.Audio(
                label="Or record one", sources=["microphone"], type="filepath", editable=False
            )
        with gradio.Row():
            with gradio.Column(min_width=OPTION_WIDTH, visible=most > 1):
                count = gradio.Slider(1, most, value=most, step=1, label="Captions of each sound")
            with gradio.Column(min_width=OPTION_WIDTH):
                times = gradio.Checkbox(
                    service.knows_times, label="Events with their times", visible=service.knows_times
                )
                correct = gradio.Checkbox(True, label="Correct captions that look wrong")
        button = gradio.Button("Caption", variant="primary", elem_id="go")
        results = gradio.HTML(elem_id="captions", js_on_load=script(), padding=False)
        gradio.HTML(_foot(service), padding=False, elem_id="foot")
        button.click(
            server.event(show),
            [files, recording, count, times, correct],
            results,
            api_visibility="private",
            # A click while an answer is being made is for the files that are there now: it must not be lost.
            trigger_mode="always_last",
        )
        gradio.api(server.event(caption), api_name="caption")
    return page


def hear_all(uploads: Uploads, given: Sequence[tuple[str, str]]) -> tuple[list[Sound], list[Refused]]:
    """Decode uploads, given as path and name; what is no sound, or too long, is refused by itself."""
    sounds, refused = [], []
    for path, name in given:
        try:
            sounds.append(uploads.hear(path, name))
        except AudioError as error:
            refused.append(Refused(name, str(error)))
    return sounds, refused


def _head(service: CaptionService) -> str:
    when = ", and when" if service.knows_times else ""
    return (
        "<h1>Captions of sounds</h1>"
        f"<p>Drop sound files or record one: the captioner says in words what is heard{when}.</p>"
    )


def _foot(service: CaptionService) -> str:
    config, model = service.config, service.captioner.model
    trained = model.trained_seconds
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = [
        f"model {_name(service)}, {parameters / 1e6:,.1f} M parameters",
        f"licence of its weights: {escape(model.licence)}",
        f"trained on sounds of up to {trained:g} s: longer ones are heard in overlapping windows"
        if trained
        else "",
        f"files of up to {config.max_upload_megabytes} MB and {config.max_seconds:g} s; "
        "uploads stay on the machine that this page is from, and are deleted",
    ]
    return f"<footer><p>{'</p><p>'.join(fact for fact in facts if fact)}</p></footer>"


def _name(service: CaptionService) -> str:
    return escape(printable(service.config.model))
