"""The verb `serve`: a captioner behind a page and an HTTP API."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace

from aac_llm.config.serve import ServeConfig
from aac_llm.models.run_folder import resolve_model
from aac_llm.output import printable
from aac_llm.serving.api import add_routes
from aac_llm.serving.page import make_page
from aac_llm.serving.results import style
from aac_llm.serving.server import Server
from aac_llm.serving.service import CaptionService

logger = logging.getLogger(__name__)


def serve(config: ServeConfig) -> int:
    """Load the model, and serve until Ctrl-C."""
    config = replace(config, model=resolve_model(config.model))
    with closing(Server(config)) as server:
        logger.info("loading %s", printable(config.model))
        service = CaptionService.load(config)
        server.uploads.channel = service.captioner.model.channel
        add_routes(server, service)
        server.run(make_page(server, service), css=style())
    return 0
