"""A hook of mkdocs: pages of the repository outside docs/ are pages of the site, and links between both hold.

READMEs, changelogs, CONTRIBUTING and SECURITY stay where GitHub and PyPI show them; here each is read into
the site under its own path. A link to any other file of the repository (a recipe, an example) leads to a copy
of that file. What leads nowhere is left as it is, so that `mkdocs build --strict` names it.
"""

from __future__ import annotations

import logging
import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (
    "SECURITY.md",
    "CONTRIBUTING.md",
    *(
        f"packages/{name}/{page}.md"
        for name in ("ml-clap", "aac-llm", "r1-aqa", "audio-common")
        for page in ("README", "CHANGELOG", "benchmarks/RESULTS")
    ),
)
"""Pages of the repository that the site shows, at the same path."""
HOME = "README.md"
"""The repository's own page, in whose place the site has index.md."""
FOREIGN = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=[\"']?https?://[^>]*>")
"""What a browser would fetch from another host."""
LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#\s:]+)(?P<rest>(?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's pages and the files that any page links to."""
    for page in PAGES:
        files.append(File.generated(config, page, content=(ROOT / page).read_text(encoding="utf-8")))
    known = {file.src_uri for file in files}
    for page in [file for file in files if file.is_documentation_page()]:
        for target in linked_files(page.content_string, source_of(page.src_uri)):
            if site_path(target) not in known:
                known.add(site_path(target))
                files.append(File.generated(config, site_path(target), content=(ROOT / target).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Rewrite the links of a page from places of the repository to places of the site."""
    uri = page.file.src_uri
    folder = Path(source_of(uri)).parent

    def relocated(match: re.Match[str]) -> str:
        target = os.path.normpath(folder / match["path"])
        if not (ROOT / target).is_file():
            return match[0]
        path = os.path.relpath(site_path(target), Path(uri).parent)
        return f"{match['before']}{path}{match['rest']}"

    return LINK.sub(relocated, markdown)


def on_post_page(output: str, page: Any, **_: object) -> str:
    """Warn, and so fail the strict build, where a page would fetch something from another host."""
    for found in FOREIGN.findall(output):
        logging.getLogger("mkdocs.hooks").warning(
            "%s fetches from another host: %s", page.file.src_uri, found
        )
    return output


def linked_files(markdown: str, source: str) -> Iterator[str]:
    """Yield the repository's files that a page links to, by path from the root."""
    for match in LINK.finditer(markdown):
        target = os.path.normpath(Path(source).parent / match["path"])
        if not target.startswith("..") and (ROOT / target).is_file():
            yield target


def source_of(uri: str) -> str:
    """Return where the repository has a page of the site."""
    return uri if uri in PAGES else f"docs/{uri}"


def site_path(target: str) -> str:
    """Return where the site has a file of the repository."""
    if target == HOME:
        return "index.md"
    # Text is shown by a browser, where a `.yaml` or `.py` would be downloaded.
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return target if target.endswith(".md") else f"files/{target}.txt"
