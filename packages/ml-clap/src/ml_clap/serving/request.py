"""A request's fields and sounds, read within the limits."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from ml_clap.serving.uploads import Sound, Uploads, plain_name

UPLOAD_SECONDS = 120.0
"""A request must have arrived by then: a slow one holds a place in the queue."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


class Form:
    """What was sent: `curl -F question="..." -F audio=@dog.wav`.

    Args:
        texts: field -> its values, in order.
        sounds: field -> its files, decoded.
    """

    def __init__(self, texts: dict[str, list[str]], sounds: dict[str, list[Sound]]) -> None:
        self._texts = texts
        self._sounds = sounds

    def check(self, *, texts: Sequence[str] = (), sounds: Sequence[str] = ()) -> None:
        """Raise ValueError for a field that is neither of these: a typo would be ignored otherwise."""
        for given, known, kind in ((self._texts, texts, "text"), (self._sounds, sounds, "file")):
            for name in given:
                if name not in known:
                    raise ValueError(
                        f"unknown {kind} field {name!r}; texts: {', '.join(texts) or 'none'}; "
                        f"files: {', '.join(sounds) or 'none'}"
                    )

    def text(self, name: str, default: str = "") -> str:
        """Return a field's last value."""
        return self._texts.get(name, [default])[-1]

    def texts(self, name: str) -> list[str]:
        """Return all values of a field that may be repeated."""
        return self._texts.get(name, [])

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Return a field as a number; ValueError where it is none, or out of bounds."""
        given = self.text(name)
        try:
            value = float(given) if given else default
        except ValueError:
            raise ValueError(f"{name} must be a number, got {given!r}") from None
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least:g} to {most:g}, got {given}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a field as yes or no; ValueError where it is neither."""
        given = self.text(name, "true" if default else "false").lower()
        if given not in TRUE + FALSE:
            raise ValueError(f"{name} must be true or false, got {given!r}")
        return given in TRUE

    def sounds(self, name: str) -> list[Sound]:
        """Return the sounds of a field."""
        return self._sounds.get(name, [])


@asynccontextmanager
async def received(request: Request, uploads: Uploads) -> AsyncIterator[Form]:
    """Read and decode a request's fields; its files are deleted when the context ends.

    Raises:
        AudioError: a file is no sound, or too long.
        TimeoutError: it takes too long to arrive.
    """
    if "form" not in request.headers.get("content-type", "form"):
        raise ValueError("send a form, as `curl -F name=value -F audio=@sound.wav` does")
    folder = uploads.new_folder()
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            form = await request.form(max_files=16, max_fields=100)
        texts: dict[str, list[str]] = {}
        sounds: dict[str, list[Sound]] = {}
        for number, (name, value) in enumerate(form.multi_items()):
            if isinstance(value, UploadFile):
                sent = plain_name(value.filename or "upload")
                path = folder / f"{number}{Path(sent).suffix}"
                await run_in_threadpool(_keep, value, path)
                sounds.setdefault(name, []).append(await run_in_threadpool(uploads.hear, path, sent))
            else:
                texts.setdefault(name, []).append(value)
        await form.close()
        yield Form(texts, sounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)
