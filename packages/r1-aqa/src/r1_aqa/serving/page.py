"""The page: sounds, a question and its options on one side, the answer with its controls on the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib import resources
from typing import Any

import gradio as gr

from r1_aqa.config.serve import ServeConfig
from r1_aqa.serving.asker import MOST_SOUNDS, Asker, as_json, check_sounds, split_options
from r1_aqa.serving.example import write_example
from r1_aqa.serving.server import Server
from r1_aqa.serving.view import FAILED, WAITING, WELCOME, draw_answer, draw_footer

CSS = resources.files("r1_aqa.serving").joinpath("page.css").read_text(encoding="utf-8")
PROMPTS = (
    ("usual for this model", ""),
    ("question and options alone (choices)", "choices"),
    ("answer in tags (answer)", "answer"),
    ("think first (think)", "think"),
    ("think in under 50 words (think_short)", "think_short"),
)
SHOW_RESULT = """() => {
  if (window.innerWidth < 768) document.getElementById("result").scrollIntoView({behavior: "smooth"});
  return [];
}"""
"""On a phone the answer stands below the question, out of sight."""
SAY_READY = """() => { document.documentElement.dataset.ready = "yes"; return []; }"""
"""Until then a click may find nobody who hears it; tests wait for it."""
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
"""Events that are the page's own business: no bar, no endpoint, and they wait for nobody."""
INTRODUCTION = """\
# Ask about a sound
Drop a sound or record one, ask a question, and give options if you like. Beside the answer stands what it
would be with the options in other orders, and with silence in place of the sound."""


def make_page(server: Server, asker: Asker, config: ServeConfig) -> gr.Blocks:
    """Return the page of a model.

    Args:
        server: whose queue and uploads it uses.
        asker: the model.
        config: what the footer says.
    """
    with gr.Blocks(title="Ask about a sound · r1-aqa", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=320):
                asking = _asking(config)
            with gr.Column(scale=1, min_width=320):
                result = gr.HTML(WELCOME, elem_id="result", container=False, padding=False)
                with gr.Accordion("The answer as JSON", open=False):
                    data = gr.JSON(show_label=False, elem_id="json")
        gr.HTML(draw_footer(asker, config), elem_id="footer", container=False, padding=False)
        _connect(server, asker, asking, [result, data])
        page.load(None, None, None, js=SAY_READY)
    return page


class _Asking:
    """The parts of the page that a question is made of."""

    sounds: list[gr.Audio]
    more: gr.Button
    question: gr.Textbox
    options: gr.Textbox
    letters: gr.Radio
    prompt: gr.Dropdown
    max_new_tokens: gr.Slider
    controls: gr.Checkbox
    ask: gr.Button
    example: gr.Button

    @property
    def inputs(self) -> list[Any]:
        """Return what a handler is given, in its order."""
        fields = (self.question, self.options, self.letters, self.prompt, self.max_new_tokens, self.controls)
        return [*fields, *self.sounds]


def _asking(config: ServeConfig) -> _Asking:
    parts = _Asking()
    parts.sounds = [_player(number) for number in range(1, MOST_SOUNDS + 1)]
    parts.more = gr.Button("Add another sound", size="sm", elem_id="more")
    parts.question = gr.Textbox(
        label="Question", placeholder="What is heard?", lines=1, elem_id="question", submit_btn=False
    )
    parts.options = gr.Textbox(
        label="Options, one a line; none for a free answer",
        placeholder="a dog\nrain\nthunder",
        lines=3,
        max_lines=16,
        elem_id="options",
    )
    parts.letters = gr.Radio(
        [("words", False), ("letters: (A), (B), ...", True)],
        value=False,
        label="Show them as",
        elem_id="letters",
    )
    with gr.Row():
        parts.ask = gr.Button("Ask", variant="primary", elem_id="ask", min_width=120)
        parts.example = gr.Button("Example", elem_id="example", min_width=120)
    with gr.Accordion("More settings", open=False):
        parts.controls = gr.Checkbox(True, label="Ask in other orders and about silence, too (slower)")
        parts.prompt = gr.Dropdown(list(PROMPTS), value=config.prompt or "", label="Instruction")
        most = config.max_new_tokens
        parts.max_new_tokens = gr.Slider(1, most, value=most, step=1, label="Longest answer, tokens")
    return parts


def _player(number: int) -> gr.Audio:
    return gr.Audio(
        label=f"Sound {number}",
        sources=["upload", "microphone"],
        type="filepath",
        editable=False,
        visible=number == 1,
        buttons=[],
        elem_id=f"sound-{number}",
    )


def _connect(server: Server, asker: Asker, parts: _Asking, outputs: list[Any]) -> None:
    """Give the page's parts their work."""

    def ask(
        question: str,
        options: str,
        letters: bool,
        prompt: str,
        max_new_tokens: float,
        controls: bool,
        *paths: str | None,
    ) -> tuple[str, dict[str, Any]]:
        given = [path for path in paths if path]
        check_sounds(len(given))
        # A place first: what finds the queue full is not decoded.
        with server.work.place() as place:
            sounds = [server.uploads.hear(path) for path in given]
            found = place.submit(
                lambda: asker.ask(
                    sounds,
                    question,
                    split_options(options),
                    letters=letters,
                    prompt=prompt or None,  # type: ignore[arg-type]
                    max_new_tokens=int(max_new_tokens),
                    controls=controls,
                )
            ).result()
        html = draw_answer(found, limit=asker.hears, max_new_tokens=int(max_new_tokens))
        return html, as_json(found, [sound.name for sound in sounds])

    handler = server.event(ask)
    for trigger, name in ((parts.ask.click, "answer"), (parts.question.submit, None)):
        # The answer before is not this question's: it goes away first.
        started = trigger(lambda: (WAITING, None), None, outputs, js=SHOW_RESULT, **HIDDEN)
        # Queued by Gradio, too: of an event that is not, its page shows no error.
        answered = started.then(
            handler, parts.inputs, outputs, api_name=name, api_visibility="public" if name else "private"
        )
        answered.success(None, None, None, js=SHOW_RESULT)
        answered.failure(lambda: FAILED, None, outputs[0], **HIDDEN)
    _connect_example(server, parts)
    shown = gr.State(1)
    parts.more.click(
        lambda count: _show_sounds(count + 1),
        shown,
        [shown, parts.more, *parts.sounds],
        **HIDDEN,
    )


def _connect_example(server: Server, parts: _Asking) -> None:
    seeds = itertools.count()

    def example() -> tuple[Any, ...]:
        found = write_example(server.uploads.new_folder(), next(seeds))
        others = [None] * (MOST_SOUNDS - 1)
        return found.question, "\n".join(found.options), str(found.path), *others

    parts.example.click(server.event(example), None, [parts.question, parts.options, *parts.sounds], **HIDDEN)


def _show_sounds(count: int) -> Sequence[Any]:
    """Return the number of players to show, whether the button stays, and each player's visibility."""
    players = [gr.update(visible=number < count) for number in range(MOST_SOUNDS)]
    return [count, gr.update(visible=count < MOST_SOUNDS), *players]
