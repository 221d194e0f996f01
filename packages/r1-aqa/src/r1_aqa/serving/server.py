"""A model behind a page and an HTTP API: what both need, the routes, and the server itself.

    server = Server(config)
    server.route("/api/answer", lambda form: {...}, texts=("question",), sounds=("audio",))
    server.run(page)

The page is Gradio's, mounted at `/`; each route answers a form (`curl -F`) with JSON. The model works in one
thread, in the order of arrival, for both (`Work`); whoever finds the queue full is told so at once (503).
"""

from __future__ import annotations

import asyncio
import functools
import html
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

import gradio
import uvicorn
from audio_common.workers import DecodeLimits
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from r1_aqa.config.server import ServerConfig
from r1_aqa.serving.guard import LOOPBACK, Guard, TooLargeError
from r1_aqa.serving.request import Form, received
from r1_aqa.serving.uploads import KEPT_SECONDS, Uploads
from r1_aqa.serving.work import BusyError, Work

logger = logging.getLogger(__name__)
T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
FONTS = ("system-ui", "sans-serif")
SHOWN_SECONDS = 20
"""An event's mistake stands on the page for so long, or until it is closed."""
OUR_FAULT = "a fault of this program; the server's output says more"


class Server:
    """The queue, the uploads and the routes.

    Args:
        config: limits and address.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.work = Work(config.max_waiting)
        self.uploads = Uploads(
            config.max_upload_megabytes << 20,
            config.max_seconds,
            DecodeLimits(config.decode_seconds, config.decode_megabytes),
        )
        # Where Gradio puts what its page uploads; read when a page is made.
        os.environ["GRADIO_TEMP_DIR"] = str(self.uploads.folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        self.app = FastAPI(title=PACKAGE, docs_url=None, redoc_url=None, openapi_url=None)
        self.app.add_api_route("/api/health", self._health, methods=["GET"])

    def route(
        self,
        path: str,
        answer: Callable[[Form], Mapping[str, Any]],
        *,
        texts: Sequence[str] = (),
        sounds: Sequence[str] = (),
    ) -> None:
        """Answer POST requests at a path.

        Args:
            path: `/api/...`.
            answer: from the form to what becomes JSON, called in the model's thread; its ValueErrors are the
                sender's mistakes (400).
            texts: fields of text that the form may have.
            sounds: fields of files.
        """

        async def respond(request: Request) -> Response:
            try:
                with self.work.place() as place:
                    async with received(request, self.uploads) as form:
                        form.check(texts=texts, sounds=sounds)
                        return JSONResponse(await asyncio.wrap_future(place.submit(answer, form)))
            except BusyError as error:
                await _drain(request)
                return JSONResponse({"error": str(error)}, 503, headers={"Retry-After": "5"})
            except TimeoutError:
                return JSONResponse({"error": "the request took too long to arrive"}, 408)
            except (ValueError, FileNotFoundError) as error:
                return JSONResponse({"error": str(error)}, 400)
            except HTTPException as error:  # Starlette's: no form, too many fields, too long a text
                return JSONResponse({"error": f"the form cannot be read: {error.detail}"}, error.status_code)
            except (TooLargeError, ClientDisconnect):
                raise
            except Exception:
                logger.exception("a request failed")
                return JSONResponse({"error": OUR_FAULT}, 500)

        self.app.add_api_route(path, respond, methods=["POST"])

    def event(self, function: Callable[..., T]) -> Callable[..., T]:
        """Wrap a handler of the page's events: its mistakes become sentences on the page.

        The handler runs in a thread of its own; the model's part of it goes through `self.work.run`.
        """

        @functools.wraps(function)
        def shown(*arguments: Any) -> T:
            try:
                return function(*arguments)
            except (BusyError, ValueError, FileNotFoundError) as error:
                raise gradio.Error(
                    html.escape(str(error)), duration=SHOWN_SECONDS, print_exception=False
                ) from error
            except gradio.Error:
                raise
            except Exception as error:
                logger.exception("an event of the page failed")
                raise gradio.Error(OUR_FAULT, duration=SHOWN_SECONDS, print_exception=False) from error

        return shown

    def mount(self, page: gradio.Blocks, *, css: str = "", head: str = "", js: str | None = None) -> FastAPI:
        """Put the page at `/`, and the guard before all; return the whole app."""
        self.app.add_api_route("/api/{rest:path}", self._explain, methods=METHODS)
        waiting = self.config.max_waiting
        # Our queue decides who waits; Gradio's hands on what it gets.
        page.queue(max_size=waiting, default_concurrency_limit=waiting + 1)
        page.delete_cache = (60, KEPT_SECONDS)
        app = gradio.mount_gradio_app(
            self.app,
            page,
            "/",
            theme=gradio.themes.Base(font=FONTS, font_mono=("ui-monospace", "monospace")),
            css=css,
            head=head,
            js=js,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            max_file_size=self.uploads.max_bytes,
            enable_monitoring=False,
        )
        app.add_middleware(
            Guard,
            hosts=self._hosts(),
            token=self.token(),
            max_bytes=self.uploads.max_bytes + 65_536,  # a form is larger than its file
            has_room=lambda: not self.uploads.is_full(),
        )
        return app

    def run(self, page: gradio.Blocks, **looks: Any) -> None:
        """Serve until Ctrl-C or SIGTERM; then delete all uploads."""
        app = self.mount(page, **looks)
        with closing(self), self.listen() as listening:
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{port}/"
            print(f"Serving at {address} (Ctrl-C ends it)", flush=True)
            if self.token() is None and host not in LOOPBACK:
                logger.warning("Everybody who can reach this machine can use it: see --token_file")
            if self.config.open_browser:
                import webbrowser

                webbrowser.open(address)
            # uvicorn ends, and then raises the signal again: its own action would end us before we clean up.
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
            uvicorn.Server(settings(app)).run(sockets=[listening])

    def listen(self) -> socket.socket:
        """Open the port.

        Raises:
            ValueError: it is taken, or not ours to take.
        """
        family = socket.AF_INET6 if ":" in self.config.host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.config.host, self.config.port))
        except OSError as error:
            listening.close()
            raise ValueError(
                f"cannot listen at {self.config.host}:{self.config.port} ({error.strerror}); "
                "another --port, or 0 for any free one"
            ) from None
        return listening

    def token(self) -> str | None:
        """Return the password, if there is one.

        Raises:
            ValueError: its file is empty.
        """
        if self.config.token_file is None:
            return os.environ.get(f"{PACKAGE.upper()}_TOKEN") or None
        if not (token := self.config.token_file.read_text(encoding="utf-8").strip()):
            raise ValueError(f"{self.config.token_file} is empty; write a password into it")
        return token

    def close(self) -> None:
        """End the work and delete all uploads."""
        self.work.close()
        self.uploads.close()

    def _hosts(self) -> tuple[str, ...]:
        host = self.config.host
        if host in LOOPBACK:
            return (*LOOPBACK, *self.config.allowed_hosts)
        # Reachable from outside: by which names is not known here.
        return self.config.allowed_hosts or ("*",)

    async def _health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def _explain(self, request: Request) -> Response:
        """Answer a path that there is not, or one that is asked in another way."""
        routes = [route for route in self.app.routes if isinstance(route, APIRoute)]
        known = {route.path: " or ".join(sorted(route.methods or ())) for route in routes}
        del known["/api/{rest:path}"]
        path = request.url.path
        if path in known:
            error = f"{path} is asked by {known[path]}, and this was {request.method}"
            return JSONResponse({"error": error}, 405, headers={"Allow": known[path]})
        return JSONResponse({"error": f"there is no {path}; there are {', '.join(sorted(known))}"}, 404)


def settings(app: FastAPI) -> uvicorn.Config:
    """Return how an app is served: quietly, and without waiting long for open pages at its end."""
    return uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )


async def _drain(request: Request) -> None:
    """Read what is still being sent: a sender whose connection ends while it sends misses the answer."""
    async for _ in request.stream():
        pass
