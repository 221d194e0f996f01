"""Who may ask, and how much: the check of every request before anything else sees it.

A page on localhost can be reached by any web page that the user has open: requests that call the server by
another name (DNS rebinding) or come from another page (Origin) are refused. With a token, every request
brings it as `Authorization: Bearer TOKEN`, or as the cookie that `/?token=TOKEN` sets.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "serve-token"
HEADERS = {
    # The page asks nothing of any other host; inline scripts and styles are Gradio's.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class TooLargeError(Exception):
    """A request's body is larger than may be."""


class Guard:
    """Check every request, then pass it on.

    Args:
        app: what answers it.
        hosts: names that this server may be called by; `*` admits any.
        token: the password, or None.
        max_bytes: of a request's body.
        has_room: tells whether another upload can be kept.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Sequence[str],
        token: str | None,
        max_bytes: int,
        has_room: Callable[[], bool],
    ) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.token = token
        self.max_bytes = max_bytes
        self.has_room = has_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is not None:
            return await refusal(scope, receive, send)
        try:
            await self.app(scope, _limited(receive, self.max_bytes), _with_headers(send))
        except TooLargeError:
            await self._too_large()(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = _host(f"//{headers.get('host', '')}")
        origin = headers.get("origin")
        if "*" not in self.hosts and host not in self.hosts:
            return _error(403, f"this server is not called {host!r}; see --allowed_hosts")
        if origin and _netloc(origin) != headers.get("host", "") and "*" not in self.hosts:
            return _error(403, f"requests from the page of {origin} are not answered")
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        if not self._is_known(headers, asked):
            return self._ask_for_token()
        # A browser's address bar keeps what was asked for: the token goes into a cookie.
        if self.token and asked:
            return self._remember(asked[-1])
        if int(headers.get("content-length") or 0) > self.max_bytes:
            return self._too_large()
        if scope.get("method") == "POST" and scope["path"].endswith("/upload") and not self.has_room():
            return _error(503, "too many uploads are kept; try again in some minutes", retry=60)
        return None

    def _is_known(self, headers: Headers, asked: Sequence[str]) -> bool:
        if self.token is None:
            return True
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        given = [headers.get("authorization", "").removeprefix("Bearer "), *asked]
        given += [cookie.value] if cookie else []
        return any(hmac.compare_digest(one.encode(), self.token.encode()) for one in given)

    def _ask_for_token(self) -> Response:
        return _error(
            401, "a token is needed: `Authorization: Bearer TOKEN`, or open the page as /?token=TOKEN"
        )

    def _remember(self, token: str) -> Response:
        answer = RedirectResponse("./", status_code=303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer

    def _too_large(self) -> Response:
        return _error(413, f"more than {self.max_bytes >> 20} MB; send less, or see --max_upload_megabytes")


def _error(status: int, message: str, retry: int | None = None) -> Response:
    return JSONResponse(
        {"error": message}, status, headers={"Retry-After": str(retry)} if retry is not None else None
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """Count a body that does not say its length."""
    left = max_bytes

    async def count() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLargeError
        return message

    return count


def _with_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return add
