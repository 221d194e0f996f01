"""The HTTP API: `POST /api/answer`.

    curl -F audio=@street.wav -F question="What is heard?" -F choices="a dog" -F choices=rain \\
        http://127.0.0.1:7860/api/answer
"""

from __future__ import annotations

from typing import Any

from r1_aqa.serving.asker import Asker, as_json
from r1_aqa.serving.request import Form
from r1_aqa.serving.server import Server

TEXTS = ("question", "choices", "letters", "prompt", "max_new_tokens", "controls")


def add_routes(server: Server, asker: Asker) -> None:
    """Add the routes of the API to a server."""
    server.route("/api/answer", lambda form: answer(asker, form), texts=TEXTS, sounds=("audio",))


def answer(asker: Asker, form: Form) -> dict[str, Any]:
    """Return the answer to the question of a form.

    Raises:
        ValueError: it cannot be asked.
    """
    sounds, most = form.sounds("audio"), asker.max_new_tokens
    found = asker.ask(
        sounds,
        form.text("question"),
        form.texts("choices"),
        letters=form.flag("letters"),
        prompt=form.text("prompt") or None,  # type: ignore[arg-type]
        max_new_tokens=int(form.number("max_new_tokens", most, least=1, most=most)),
        controls=form.flag("controls", default=True),
    )
    return as_json(found, [sound.name for sound in sounds])
