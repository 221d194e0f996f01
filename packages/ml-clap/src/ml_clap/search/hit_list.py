"""Hits as HTML: a player that begins at the hit, its score, where in the sound it is, what is known of it.

The static page of `search --page` and the page of `serve` show hits by this code. All that comes from outside
(names, captions, queries) is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ml_clap.output import printable
from ml_clap.search.answers import SearchResult, clock, describe, say_rejected
from ml_clap.search.audio_index import Hit
from ml_clap.tables import count_of

MOST_CHARACTERS = 300
"""Characters of a query in its heading."""
HIT_STYLE = """
.results { --line: #8886; --soft: #8882; --accent: #b4326a; }
.results * { box-sizing: border-box; }
.results h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; font-weight: 700; }
.results h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; font-weight: 600; }
.results p { margin: .25rem 0; overflow-wrap: anywhere; }
.results ol { list-style: none; margin: 0; padding: 0; }
.results article { border: 1px solid var(--line); border-radius: .6rem; padding: .75rem; margin: .75rem 0; }
.results .facts { font-size: .9rem; font-variant-numeric: tabular-nums; }
.results .score { font-weight: 600; color: var(--accent); }
.results .none { border: 1px dashed var(--line); border-radius: .6rem; padding: .75rem;
  background: var(--soft); }
.results .below { opacity: .75; }
.results .meter { position: relative; height: .4rem; border-radius: .2rem; background: var(--soft);
  margin: .35rem 0; }
.results .bar { position: absolute; inset: 0 auto 0 0; border-radius: .2rem; background: var(--accent); }
.results .mark { position: absolute; top: -.15rem; bottom: -.15rem; width: 2px; background: currentColor; }
.results audio { display: block; width: 100%; margin: .5rem 0 0; }
.results figure { margin: .5rem 0 0; }
.results img { display: block; width: 100%; height: 7rem; border-radius: .3rem; background: #000; }
.results figcaption { display: flex; justify-content: space-between; gap: .5rem; font-size: .8rem; }
.results button.similar { font: inherit; font-size: .9rem; margin: .6rem 0 0; padding: .35rem .8rem;
  border: 1px solid var(--line); border-radius: .4rem; background: var(--soft); color: inherit;
  cursor: pointer; }
.results a:focus-visible, .results audio:focus-visible, .results button:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
@media (prefers-color-scheme: dark) { .results { --accent: #ff8fbc; } }
"""
ONE_AT_A_TIME = """
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
"""
"""One sound at a time; without scripts a page works as well."""

LEGEND = (
    "The score is the cosine between query and sound, from -1 to 1: it ranks the hits of one query and is no "
    "probability. A player begins where the hit does."
)
STRIP_LEGEND = (
    " The strip below a spectrogram is yellow where the sound is most like the query, and blue where it is "
    "least, within that hit."
)


@dataclass(frozen=True)
class Picture:
    """A hit's spectrogram."""

    url: str
    shown: tuple[float, float]
    """From which second of the file to which one."""
    best_time: float | None
    """The second that is most like the query, where the model can tell."""


@dataclass(frozen=True, kw_only=True)
class ShownHit:
    """A hit, and where a page finds what belongs to it."""

    hit: Hit
    name: str
    address: str
    """Of the sound."""
    begins: float = 0.0
    """At which second of what is at the address the hit begins."""
    picture: Picture | None = None
    is_preloaded: bool = True
    """Whether a browser fetches the sound's beginning before it is played."""
    row: int | None = None
    """Number of the hit's window in the index, for the button "more like this"; None: no button."""


def render_result(number: int, result: SearchResult, shown: Sequence[ShownHit], *, hint: str) -> str:
    """Return a section of HTML with the hits of one query.

    Args:
        number: of the query, from 1: its anchor is `query-NUMBER`.
        result: of the search.
        shown: its hits, in order.
        hint: how to see hits below the threshold.
    """
    language = result.query.language
    hits = "".join(
        f"<li>{_article(place, one, language, result.threshold)}</li>\n"
        for place, one in enumerate(shown, start=1)
    )
    rejected = say_rejected(result, hint)
    kind = "facts" if result.hits else "none"
    note = f'<p class="{kind}" role="status">{text_of(rejected)}</p>\n' if rejected else ""
    asked = str(result.query)
    asked = asked if len(asked) <= MOST_CHARACTERS else f"{asked[:MOST_CHARACTERS]}…"
    heading = f'<h2 id="query-{number}" dir="auto">{text_of(asked)}</h2>'
    return f'<section aria-labelledby="query-{number}">\n{heading}\n<ol>\n{hits}</ol>\n{note}</section>\n'


def legend_of(pictures: Sequence[Picture | None]) -> str:
    """Return what explains scores and pictures."""
    has_strip = any(one is not None and one.best_time is not None for one in pictures)
    return LEGEND + (STRIP_LEGEND if has_strip else "")


def text_of(value: object) -> str:
    """Return a value as text of HTML."""
    return escape(printable(value))


def _article(place: int, shown: ShownHit, language: str, threshold: float | None) -> str:
    hit = shown.hit
    source = shown.address + (f"#t={shown.begins:.2f}" if shown.begins else "")
    name = text_of(shown.name)
    facts = [
        f'score <span class="score">{hit.score:.3f}</span>{_beside(hit.score, threshold)}',
        f"{clock(hit.start)} to {clock(hit.end)}",
        *(text_of(fact) for fact in (hit.label, hit.licence) if fact),
    ]
    words = describe(hit, language)
    caption = f'<p dir="auto">{text_of(words)}</p>\n' if words and words != hit.label else ""
    copies = ""
    if hit.duplicates:
        many = count_of(len(hit.duplicates), "duplicate")
        copies = f'<p class="facts">and {many}: {text_of(", ".join(hit.duplicates))}</p>\n'
    preload = "metadata" if shown.is_preloaded else "none"
    return (
        f'<article>\n<h3>{place}. <a href="{source}">{name}</a></h3>\n{caption}'
        f'<p class="facts">{" · ".join(facts)}</p>\n{_meter(hit.score, threshold)}{copies}'
        f'<audio controls preload="{preload}" src="{source}" aria-label="{name}"></audio>\n'
        f"{_figure(shown.picture, hit)}{_button(place, shown)}</article>\n"
    )


def _beside(score: float, threshold: float | None) -> str:
    if threshold is None:
        return ""
    return f" ({'below' if score < threshold else 'threshold'} {threshold:.3f})"


def _meter(score: float, threshold: float | None) -> str:
    """Return a bar from 0 to the score, with a mark at the threshold; its numbers stand above it."""
    mark = "" if threshold is None else f'<span class="mark" style="left:{_percent(threshold)}%"></span>'
    bar = f'<span class="bar" style="width:{_percent(score)}%"></span>'
    return f'<div class="meter" aria-hidden="true">{bar}{mark}</div>\n'


def _percent(cosine: float) -> str:
    return f"{100 * min(max(cosine, 0.0), 1.0):.1f}"


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


def _button(place: int, shown: ShownHit) -> str:
    if shown.row is None:
        return ""
    label = f"More like {place}. {text_of(shown.name)}"
    return (
        f'<button type="button" class="similar" data-row="{shown.row}" aria-label="{label}">'
        "More like this</button>\n"
    )
