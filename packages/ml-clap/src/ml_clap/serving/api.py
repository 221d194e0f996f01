"""The HTTP API of `serve`, for programs and for the page's players.

curl -F text="a dog barks" -F lang=en localhost:7860/api/search
curl -F sound=@query.wav -F top_k=3 localhost:7860/api/search
curl -F window=12 localhost:7860/api/search
curl localhost:7860/api/archive
"""

from __future__ import annotations

from typing import Any

from audio_common.reader import AudioError
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, Response

from ml_clap.config.serve import MOST_HITS
from ml_clap.files import to_plain
from ml_clap.serving.archive import Archive, Found, Wanted
from ml_clap.serving.render import record_found
from ml_clap.serving.request import Form
from ml_clap.serving.server import Server
from ml_clap.serving.sound import TYPES, cut_excerpt, is_playable

TEXTS = ("text", "lang", "window", "folder", "top_k", "show_all")


def add_routes(server: Server, archive: Archive) -> None:
    """Add the routes of an archive."""

    def search(form: Form) -> dict[str, Any]:
        found = answer(archive, form)
        complaints = [line for sound in form.sounds("sound") for line in sound.complaints]
        record = record_found(archive, found)
        return to_plain(record | {"notices": [*record["notices"], *complaints]})

    def about() -> dict[str, Any]:
        return {**to_plain(archive.about), "languages": list(archive.languages), "folders": archive.folders}

    async def sound(row: int, name: str) -> Response:
        return await run_in_threadpool(send_sound, archive, row)

    server.route("/api/search", search, texts=TEXTS, sounds=("sound",))
    server.app.add_api_route("/api/archive", about, methods=["GET"])
    server.app.add_api_route("/api/sound/{row}/{name}", sound, methods=["GET", "HEAD"], response_model=None)


def answer(archive: Archive, form: Form) -> Found:
    """Search for what a form asks: a text, a sound, or a window of the index.

    Raises:
        ValueError: it asks for none of them, or for several.
    """
    wanted = Wanted(
        top_k=int(form.number("top_k", 5, least=1, most=MOST_HITS)),
        folder=form.text("folder"),
        show_all=form.flag("show_all"),
    )
    sounds = form.sounds("sound")
    asked = [name for name in ("text", "window") if form.text(name)] + ["sound"] * len(sounds)
    if len(asked) != 1:
        raise ValueError(f"send one of text, sound and window, got {' and '.join(asked) or 'none'}")
    if sounds:
        return archive.by_sound(sounds[0].path, sounds[0].name, wanted)
    if form.text("window"):
        return archive.like(
            int(form.number("window", 0, least=0, most=archive.index.num_windows - 1)), wanted
        )
    return archive.by_text(form.text("text"), form.text("lang", "eng_Latn"), wanted)


def send_sound(archive: Archive, row: int) -> Response:
    """Return the file of a window where browsers play it, which may be asked for in parts; else an excerpt.

    Only files of the index can be asked for, by the numbers of their windows.
    """
    try:
        file, _, _ = archive.span_of(row)
        if not is_playable(file):
            return Response(cut_excerpt(archive, row), media_type="audio/wav")
    except AudioError as error:
        return JSONResponse({"error": str(error)}, 410)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 404)
    if not file.is_file():
        return JSONResponse({"error": "the file of this hit is not there any more"}, 410)
    return FileResponse(file, media_type=TYPES[file.suffix.lower()])
