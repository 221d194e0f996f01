"""Serve an index on a page in the browser, and by HTTP: `ml-clap serve`."""

from __future__ import annotations

import logging
from contextlib import closing

from ml_clap.config.serve import ServeConfig
from ml_clap.output import quiet_models
from ml_clap.search.hit_list import ONE_AT_A_TIME
from ml_clap.serving.api import add_routes
from ml_clap.serving.archive import Archive
from ml_clap.serving.page import CSS, make_page
from ml_clap.serving.server import Server

logger = logging.getLogger(__name__)


def serve_verb(config: ServeConfig) -> int:
    """Open the index, and serve it until Ctrl-C or SIGTERM."""
    quiet_models(not logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.DEBUG))
    with closing(Archive.open(config)) as archive:
        if not archive.index.settings.complete:
            logger.warning("%s is not complete: run `ml-clap index` again to finish it", config.index)
        for line in archive.about.lines():
            print(line)
        server = Server(config)
        add_routes(server, archive)
        page = make_page(server, archive, lang=config.lang, top_k=config.top_k)
        server.run(page, css=CSS, head=f"<script>{ONE_AT_A_TIME}</script>")
    return 0
