"""A search's results as one HTML file that plays them: no server, no network, only the sounds beside it.

The sounds are linked relative to the page, so that both can be moved together; a player begins where the hit
does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ml_clap.files import is_stream, write_bytes
from ml_clap.search.answers import SearchResult, short_name
from ml_clap.search.filters import as_utf8
from ml_clap.search.hit_list import (
    HIT_STYLE,
    ONE_AT_A_TIME,
    Picture,
    ShownHit,
    legend_of,
    render_result,
    text_of,
)

STYLE = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.35rem; margin: 0 0 .25rem; }
nav ol { margin: .75rem 0; }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .5rem; }
"""
HINT = "--threshold none shows it"


def write_page(
    path: Path,
    results: Sequence[SearchResult],
    pictures: Sequence[Sequence[Picture | None]],
    *,
    root: str,
    searched: str,
    about: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        path: the HTML file, `-` for standard output.
        results: of the search.
        pictures: of each query's hits; None where there is none.
        root: folder of the index's clips, below which names are shortened.
        searched: what was searched, in words.
        about: lines of the footer (`about.py`).
    """
    write_bytes(path, as_utf8(render(path, results, pictures, root=root, searched=searched, about=about)))


def render(
    path: Path,
    results: Sequence[SearchResult],
    pictures: Sequence[Sequence[Picture | None]],
    *,
    root: str,
    searched: str,
    about: Sequence[str] = (),
) -> str:
    """Return the page's HTML; arguments as of `write_page`."""
    base = Path.cwd() if is_stream(path) else Path(os.path.abspath(path)).parent
    sections = [
        render_result(number, result, _shown(result, some, base, root), hint=HINT)
        for number, (result, some) in enumerate(zip(results, pictures, strict=True), start=1)
    ]
    title = text_of(results[0].query) if len(results) == 1 else f"{len(results)} searches"
    links = "".join(
        f'<li><a href="#query-{number}">{text_of(result.query)}</a> ({len(result.hits)})</li>'
        for number, result in enumerate(results, start=1)
    )
    legend = legend_of([one for some in pictures for one in some])
    contents = f'<nav aria-label="Queries"><ol>{links}</ol></nav>' if len(results) > 1 else ""
    lines = "".join(f"<p>{text_of(line)}</p>" for line in about)
    footer = f'<footer class="facts">{lines}</footer>\n' if about else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<style>{STYLE}{HIT_STYLE}</style>\n</head>\n<body class="results">\n'
        f"<header><h1>Sounds found</h1><p>{text_of(searched)}</p>\n"
        f'<p class="facts">{legend}</p>{contents}</header>\n'
        f"<main>\n{''.join(sections)}</main>\n{footer}<script>{ONE_AT_A_TIME}</script>\n</body>\n</html>\n"
    )


def _shown(result: SearchResult, pictures: Sequence[Picture | None], base: Path, root: str) -> list[ShownHit]:
    return [
        ShownHit(
            hit=hit,
            name=short_name(hit.file, root),
            address=link_to(hit.file, base),
            begins=hit.start,
            picture=picture,
        )
        for hit, picture in zip(result.hits, pictures, strict=True)
    ]


def link_to(file: Path, base: Path) -> str:
    """Return a file's address relative to a folder, with all signs quoted that mean something in one.

    >>> link_to(Path("/a/rain #1.wav"), Path("/a/pages"))
    '../rain%20%231.wav'
    """
    # By bytes: a name need not be valid Unicode. No colon is left that would make a scheme of a name.
    return quote(os.fsencode(os.path.relpath(file, base)), safe="/")
