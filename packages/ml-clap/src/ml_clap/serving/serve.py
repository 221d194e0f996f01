"""Serve an index on a page in the browser, and by HTTP: `ml-clap serve`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager

import gradio as gr

from ml_clap.config.serve import ServeConfig
from ml_clap.output import printable, quiet_models
from ml_clap.serving.api import add_routes
from ml_clap.serving.archive import Archive
from ml_clap.serving.page import CSS, HEAD, make_page
from ml_clap.serving.server import Server

logger = logging.getLogger(__name__)

LOOKS = {"css": CSS, "head": HEAD}
"""Of the page, for `Server.mount`."""


@contextmanager
def make_server(config: ServeConfig) -> Iterator[tuple[Server, gr.Blocks, Archive]]:
    """Open an index and make its server and page, which nobody can ask yet.

    Raises:
        AudioIndexError: there is no index, it is empty, or another model made it.
        CalibrationError: the calibration is of another model.
    """
    with closing(Archive.open(config)) as archive:
        if not archive.index.settings.complete:
            logger.warning("%s is not complete: run `ml-clap index` again to finish it", config.index)
        server = Server(config)
        with closing(server):
            server.uploads.channel = archive.index.settings.channel
            add_routes(server, archive)
            yield server, make_page(server, archive, lang=config.lang, top_k=config.top_k), archive


def serve_verb(config: ServeConfig) -> int:
    """Serve an index until Ctrl-C or SIGTERM."""
    quiet_models(not logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.DEBUG))
    with make_server(config) as (server, page, archive):
        for line in archive.about.lines():
            print(printable(line))
        server.run(page, **LOOKS)
    return 0
