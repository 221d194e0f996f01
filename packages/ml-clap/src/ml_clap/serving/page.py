"""The page of `serve`: search by words in a language, by a sound, or by a hit; hear what was found.

The handlers take what the page's fields hold and return HTML; the model's part of each runs in the server's
thread (`Work`), like that of the API.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import gradio as gr

from ml_clap.config.serve import MOST_HITS
from ml_clap.data.language_names import by_name, find_language
from ml_clap.search.hit_list import HIT_STYLE, ONE_AT_A_TIME, text_of
from ml_clap.serving.archive import Archive, Wanted
from ml_clap.serving.render import render_found
from ml_clap.serving.server import Server
from ml_clap.tables import count_of

logger = logging.getLogger(__name__)

EVERYWHERE = "all folders"
LAST: Literal["always_last"] = "always_last"
"""What is asked while a search still runs is not lost: the last of it is searched for next."""
# A mistake is said in a message of its own; the hits that are there stay as they are.
CSS = (
    HIT_STYLE
    + """
.gradio-container { max-width: 60rem !important; margin: 0 auto !important; }
footer { display: none !important; }
.results h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
.results h2 { margin-top: 0; }
.about { border-top: 1px solid #8886; margin-top: 1rem; padding-top: .5rem; }
.about p { margin: .15rem 0; font-size: .85rem; overflow-wrap: anywhere; }
#results .html-container, #about .html-container, #title .html-container { padding: 0 !important; }
#results .wrap:has(.error) { display: none; }
"""
)
# Gradio narrows the style above to what is inside its page; its margins are outside.
HEAD = (
    f"<script>{ONE_AT_A_TIME}</script>"
    "<style>@media (max-width: 40rem) { .gradio-container .main { padding: .75rem !important; } }</style>"
)
# Which hit is asked about travels with the click; the focus follows to what is found, for the button is gone.
RESULTS_SCRIPT = """
let asked = false;
element.addEventListener("click", (event) => {
  const button = event.target.closest("button.similar");
  if (!button) return;
  asked = true;
  trigger("select", { row: Number(button.dataset.row) });
});
watch("value", () => {
  if (!asked) return;
  asked = false;
  const heading = element.querySelector("h2");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  heading.scrollIntoView({ block: "start" });
});
"""
BEGINNING = (
    '<div class="results"><p>Describe a sound in your own words, such as "a dog barks". '
    "Or drop a sound file, or record one, and find what sounds like it.</p></div>"
)


def first_language(archive: Archive, lang: str) -> str:
    """Return the code of a language; of the first one that the model reads where it does not read that."""
    code = find_language(lang)
    if code in archive.languages:
        return code
    logger.warning("this model does not read %s: the page begins with %s", lang, archive.languages[0])
    return archive.languages[0]


def make_page(server: Server, archive: Archive, *, lang: str, top_k: int) -> gr.Blocks:
    """Return the page.

    Args:
        server: runs the handlers.
        archive: is searched.
        lang: language that it begins with.
        top_k: hits that it begins with.
    """

    def search(text: str, language: str, folder: str, hits: int, show_all: bool) -> str:
        return server.work.run(_words, archive, text, language, _wanted(folder, hits, show_all))

    def search_sound(path: str | None, folder: str, hits: int, show_all: bool) -> str:
        if path is None:
            raise ValueError("give a sound first: drop a file, or record one")
        sound = server.uploads.hear(path)
        return server.work.run(
            _sound, archive, sound.path, sound.name, _wanted(folder, hits, show_all), sound.complaints
        )

    def search_similar(folder: str, hits: int, show_all: bool, event: gr.EventData) -> str:
        row = int(event.row)  # type: ignore[attr-defined]
        return server.work.run(_similar, archive, row, _wanted(folder, hits, show_all))

    languages = by_name(archive.languages)
    title = f"Search {count_of(archive.about.num_clips, 'sound')}"
    with gr.Blocks(title=title) as page:
        gr.HTML(f'<div class="results"><h1>{title}</h1></div>', elem_id="title", padding=False)
        with gr.Tabs():
            with gr.Tab("By words"):
                with gr.Row():
                    text = gr.Textbox(
                        label="What is to be heard",
                        placeholder="a dog barks",
                        scale=3,
                        min_width=260,
                        elem_id="query",
                        max_lines=1,
                        autofocus=True,
                    )
                    language = gr.Dropdown(
                        languages,
                        value=first_language(archive, lang),
                        label=f"Language (type to find one of {len(languages)})",
                        scale=2,
                        min_width=220,
                        elem_id="language",
                    )
                ask = gr.Button("Search", variant="primary", elem_id="search")
            with gr.Tab("By a sound"):
                sound = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Drop a sound file here, or record one",
                    elem_id="sound",
                    buttons=[],
                )
                ask_sound = gr.Button("Search", variant="primary", elem_id="search-sound")
        with gr.Row():
            folder = gr.Dropdown(
                [EVERYWHERE, *archive.folders],
                value=EVERYWHERE,
                label="Look in",
                min_width=200,
                elem_id="folder",
                visible=bool(archive.folders),
            )
            hits = gr.Number(
                top_k,
                label="Hits",
                precision=0,
                minimum=1,
                maximum=MOST_HITS,
                min_width=90,
                elem_id="hits",
            )
            show_all = gr.Checkbox(
                label="Show what scores below the threshold, too",
                min_width=200,
                elem_id="show-all",
                visible=archive.calibration is not None,
            )
        results = gr.HTML(BEGINNING, elem_id="results", js_on_load=RESULTS_SCRIPT, padding=False)
        gr.HTML(_footer(archive), elem_id="about", padding=False)

        narrowed = [folder, hits, show_all]
        words = [text, language, *narrowed]
        gr.on(
            [ask.click, text.submit],
            server.event(search),
            words,
            results,
            api_name="search",
            trigger_mode=LAST,
        )
        by_sound = [sound, *narrowed]
        ask_sound.click(
            server.event(search_sound), by_sound, results, api_name="search_sound", trigger_mode=LAST
        )
        results.select(
            server.event(search_similar), narrowed, results, api_visibility="private", trigger_mode=LAST
        )
        # From now on the page does what is asked of it; before, a click is lost.
        page.load(None, js="() => { document.body.dataset.ready = 'yes'; }", api_visibility="private")
    return page


def _wanted(folder: str | None, hits: float | None, show_all: bool) -> Wanted:
    chosen = "" if folder in (None, EVERYWHERE) else str(folder)
    return Wanted(top_k=int(hits or 1), folder=chosen, show_all=show_all)


def _words(archive: Archive, text: str, language: str, wanted: Wanted) -> str:
    return render_found(archive, archive.by_text(text, language, wanted))


def _sound(archive: Archive, path: Path, name: str, wanted: Wanted, complaints: tuple[str, ...]) -> str:
    return render_found(archive, archive.by_sound(path, name, wanted), complaints)


def _similar(archive: Archive, row: int, wanted: Wanted) -> str:
    return render_found(archive, archive.like(row, wanted))


def _footer(archive: Archive) -> str:
    lines = "".join(f"<p>{text_of(line)}</p>" for line in archive.about.lines())
    return f'<div class="about">{lines}</div>'
