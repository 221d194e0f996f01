"""What a search found, as the page's HTML and as the API's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ml_clap.search.answers import say_rejected, short_name
from ml_clap.search.audio_index import Hit
from ml_clap.search.hit_list import Picture, ShownHit, legend_of, render_result, text_of
from ml_clap.serving.archive import Archive, Found
from ml_clap.serving.sound import excerpt_span, is_playable

HINT = "a box above the hits shows what scores less"


def render_found(archive: Archive, found: Found, complaints: Sequence[str] = ()) -> str:
    """Return the hits as HTML, with players and pictures.

    Args:
        archive: that was searched.
        found: in it.
        complaints: what is odd about the sound that was searched for.
    """
    pictures = [archive.picture(found, hit) for hit in found.result.hits]
    shown = [show_hit(archive, hit, one) for hit, one in zip(found.result.hits, pictures, strict=True)]
    # A browser has six connections to a server, and a player may keep one: only the best hit's is made ready.
    shown = [replace(one, is_preloaded=place == 0) for place, one in enumerate(shown)]
    said = "".join(f'<p class="facts">{text_of(line)}</p>\n' for line in (*found.notices, *complaints))
    legend = f'<p class="facts">{legend_of(pictures)}</p>\n' if shown else ""
    return f'<div class="results">{render_result(1, found.result, shown, hint=HINT)}{said}{legend}</div>'


def show_hit(archive: Archive, hit: Hit, picture: Picture | None = None) -> ShownHit:
    """Return a hit with its name, its address and where the player begins."""
    row = archive.row_of(hit)
    begins = hit.start if is_playable(hit.file) else hit.start - excerpt_span(hit.start, hit.end)[0]
    return ShownHit(
        hit=hit,
        name=short_name(hit.file, archive.index.settings.root),
        address=address_of(row, hit),
        begins=begins,
        picture=picture,
        row=row,
    )


def address_of(row: int, hit: Hit) -> str:
    """Return the path at which the server has the sound of a window.

    It ends in the file's name, which a browser gives to what it saves.
    """
    name = quote(hit.file.name.encode("utf-8", "surrogateescape"), safe="")
    return f"/api/sound/{row}/{name}" if is_playable(hit.file) else f"/api/sound/{row}/{name}.wav"


def record_found(archive: Archive, found: Found) -> dict[str, Any]:
    """Return the hits as JSON."""
    result = found.result
    return {
        "query": str(result.query.audio) if result.query.text is None else result.query.text,
        "language": None if result.query.text is None else result.query.language,
        "threshold": result.threshold,
        "said": say_rejected(result, "show_all=true shows it"),
        "notices": list(found.notices),
        "hits": [_record(show_hit(archive, hit)) for hit in result.hits],
    }


def _record(shown: ShownHit) -> dict[str, Any]:
    hit = shown.hit
    return {
        "file": shown.name,
        "start": hit.start,
        "end": hit.end,
        "score": hit.score,
        "window": shown.row,
        "sound": shown.address,
        "begins": shown.begins,
        "id": hit.id,
        "label": hit.label,
        "licence": hit.licence,
        "captions": hit.captions,
    }
