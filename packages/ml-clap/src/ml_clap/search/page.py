"""A search's results as one HTML file that plays them: no server, no network, only the sounds beside it.

The sounds are linked relative to the page, so that both can be moved together; a player begins where the hit
does. All that comes from outside (names, captions, queries) is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ml_clap.files import is_stream, write_bytes
from ml_clap.output import printable
from ml_clap.search.answers import SearchResult, clock, describe, say_rejected, short_name
from ml_clap.search.audio_index import Hit
from ml_clap.search.filters import as_utf8
from ml_clap.tables import count_of

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --accent: #b4326a; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; font-weight: 600; }
p { margin: .25rem 0; overflow-wrap: anywhere; }
ol { list-style: none; margin: 0; padding: 0; }
nav ol { margin: .75rem 0; }
article { border: 1px solid var(--line); border-radius: .6rem; padding: .75rem; margin: .75rem 0; }
.facts { font-size: .9rem; font-variant-numeric: tabular-nums; }
.score { font-weight: 600; color: var(--accent); }
.none { border: 1px dashed var(--line); border-radius: .6rem; padding: .75rem; background: var(--soft); }
audio { display: block; width: 100%; margin: .5rem 0 0; }
figure { margin: .5rem 0 0; }
img { display: block; width: 100%; height: 7rem; border-radius: .3rem; background: #000; }
figcaption { display: flex; justify-content: space-between; gap: .5rem; font-size: .8rem; }
a:focus-visible, audio:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
@media (prefers-color-scheme: dark) { :root { --accent: #ff8fbc; } }
"""
SCRIPT = """
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
"""
"""One sound at a time; without scripts the page works as well."""


LEGEND = (
    "The score is the cosine between query and sound, from -1 to 1: it ranks the hits of one query and is no "
    "probability. A player begins where the hit does."
)
STRIP_LEGEND = (
    " The strip below a spectrogram is yellow where the sound is most like the query, and blue where it is "
    "least, within that hit."
)


class Picture:
    """A hit's spectrogram for the page."""

    def __init__(self, url: str, shown: tuple[float, float], best_time: float | None) -> None:
        self.url = url
        self.shown = shown
        self.best_time = best_time


def write_page(
    path: Path,
    results: Sequence[SearchResult],
    pictures: Sequence[Sequence[Picture | None]],
    *,
    root: str,
    searched: str,
) -> None:
    """Write the page.

    Args:
        path: the HTML file, `-` for standard output.
        results: of the search.
        pictures: of each query's hits; None where there is none.
        root: folder of the index's clips, below which names are shortened.
        searched: what was searched, in words.
    """
    write_bytes(path, as_utf8(render(path, results, pictures, root=root, searched=searched)))


def render(
    path: Path,
    results: Sequence[SearchResult],
    pictures: Sequence[Sequence[Picture | None]],
    *,
    root: str,
    searched: str,
) -> str:
    """Return the page's HTML; arguments as of `write_page`."""
    base = Path.cwd() if is_stream(path) else Path(os.path.abspath(path)).parent
    sections = [
        _section(number, result, some, base, root)
        for number, (result, some) in enumerate(zip(results, pictures, strict=True), start=1)
    ]
    title = _text(results[0].query) if len(results) == 1 else f"{len(results)} searches"
    links = "".join(
        f'<li><a href="#query-{number}">{_text(result.query)}</a> ({len(result.hits)})</li>'
        for number, result in enumerate(results, start=1)
    )
    has_strip = any(one is not None and one.best_time is not None for some in pictures for one in some)
    legend = LEGEND + (STRIP_LEGEND if has_strip else "")
    contents = f'<nav aria-label="Queries"><ol>{links}</ol></nav>' if len(results) > 1 else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>Sounds found</h1><p>{_text(searched)}</p>\n"
        f'<p class="facts">{legend}</p>{contents}</header>\n'
        f"<main>\n{''.join(sections)}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(
    number: int, result: SearchResult, pictures: Sequence[Picture | None], base: Path, root: str
) -> str:
    hits = "".join(
        f"<li>{_article(place, hit, picture, result.query.language, base, root)}</li>\n"
        for place, (hit, picture) in enumerate(zip(result.hits, pictures, strict=True), start=1)
    )
    rejected = say_rejected(result)
    kind = "facts" if result.hits else "none"
    note = f'<p class="{kind}">{_text(rejected)}</p>\n' if rejected else ""
    heading = f'<h2 id="query-{number}" dir="auto">{_text(result.query)}</h2>'
    return f'<section aria-labelledby="query-{number}">\n{heading}\n<ol>\n{hits}</ol>\n{note}</section>\n'


def _article(place: int, hit: Hit, picture: Picture | None, language: str, base: Path, root: str) -> str:
    link = link_to(hit.file, base)
    name = short_name(hit.file, root)
    start = f"#t={hit.start:.2f}" if hit.start else ""
    facts = [
        f'score <span class="score">{hit.score:.3f}</span>',
        f"{clock(hit.start)} to {clock(hit.end)}",
        *(_text(fact) for fact in (hit.label, hit.licence) if fact),
    ]
    words = describe(hit, language)
    caption = f'<p dir="auto">{_text(words)}</p>\n' if words and words != hit.label else ""
    copies = ""
    if hit.duplicates:
        many = count_of(len(hit.duplicates), "duplicate")
        copies = f'<p class="facts">and {many}: {_text(", ".join(hit.duplicates))}</p>\n'
    return (
        f'<article>\n<h3>{place}. <a href="{link}{start}">{_text(name)}</a></h3>\n{caption}'
        f'<p class="facts">{" · ".join(facts)}</p>\n{copies}'
        f'<audio controls preload="metadata" src="{link}{start}" aria-label="{_text(name)}"></audio>\n'
        f"{_figure(picture, hit)}</article>\n"
    )


def _figure(picture: Picture | None, hit: Hit) -> str:
    if picture is None:
        return ""
    first, last = picture.shown
    bright = f"bright: {clock(hit.start)} to {clock(hit.end)}"
    best = "" if picture.best_time is None else f", most like the query at {clock(picture.best_time)}"
    return (
        f'<figure><img src="{picture.url}" alt="Spectrogram from {clock(first)} to {clock(last)}; {bright}'
        f'{best}">\n<figcaption><span>{clock(first)}</span><span>{bright}{best}</span>'
        f"<span>{clock(last)}</span></figcaption></figure>\n"
    )


def link_to(file: Path, base: Path) -> str:
    """Return a file's address relative to a folder, with all signs quoted that mean something in one.

    >>> link_to(Path("/a/rain #1.wav"), Path("/a/pages"))
    '../rain%20%231.wav'
    """
    # By bytes: a name need not be valid Unicode. No colon is left that would make a scheme of a name.
    return quote(os.fsencode(os.path.relpath(file, base)), safe="/")


def _text(value: object) -> str:
    return escape(printable(value))
