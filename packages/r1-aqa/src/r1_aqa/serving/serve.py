"""`r1-aqa serve`: ask a model on a page, or over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio

from r1_aqa.config.serve import ServeConfig
from r1_aqa.models.audio_llm import load_for_answers
from r1_aqa.models.run_folder import say_sound_changes
from r1_aqa.serving.api import add_routes
from r1_aqa.serving.asker import Asker
from r1_aqa.serving.page import CSS, make_page
from r1_aqa.serving.server import Server


def serve(config: ServeConfig) -> None:
    """Load a model and answer questions until Ctrl-C.

    Raises:
        ValueError: the port is taken, or the model is no audio LLM that is known here.
    """
    server, page, looks = make_server(load_asker(config), config)
    server.run(page, **looks)


def make_server(asker: Asker, config: ServeConfig) -> tuple[Server, gradio.Blocks, dict[str, Any]]:
    """Return a server for a model, its page, and how that looks."""
    server = Server(config)
    server.uploads.channel = config.sound.channel
    add_routes(server, asker)
    return server, make_page(server, asker, config), {"css": CSS}


def load_asker(config: ServeConfig) -> Asker:
    """Return the model that a page asks."""
    llm = load_for_answers(config.model, dtype=config.dtype, device=config.device, family=config.family)
    say_sound_changes(config.model, asdict(config.sound), llm.max_seconds)
    return Asker(llm, config.sound, config.prompt, config.max_new_tokens)
