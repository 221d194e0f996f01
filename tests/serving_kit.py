"""Run a package's server on loopback, and look at its page with Debian's Chromium.

    with running(server, page) as url, browser() as chromium:
        tab = chromium.new_page(viewport=PHONE)

Every request of a page to another host than its own fails the test that made it: pages work offline.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def running(server: Any, page: Any, **looks: Any) -> Iterator[str]:
    """Serve a page by a package's `Server` in a thread, and yield its address."""
    import uvicorn

    settings = uvicorn.Config(
        server.mount(page, **looks), log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    uvicorn_server = uvicorn.Server(settings)
    with server.listen() as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(
            target=uvicorn_server.run, kwargs={"sockets": [listening]}, name="uvicorn", daemon=True
        )
        thread.start()
        try:
            wait_until(lambda: uvicorn_server.started or not thread.is_alive(), "the server to start")
            yield f"http://127.0.0.1:{port}/"
        finally:
            uvicorn_server.should_exit = True
            thread.join(30)
            server.close()


def wait_until(is_true: Any, what: str, seconds: float = 60.0) -> None:
    """Wait for something; TimeoutError says for what."""
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


@contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium; skips, saying what to install, where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium (Debian, Ubuntu)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the group dev")
    with playwright.sync_playwright() as driver:
        # As root, and without a sound card.
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def tab(chromium: Any, url: str, size: dict[str, int] = DESKTOP) -> Iterator[Any]:
    """Open a page in a window of this size; afterwards, fail for scripts' errors and foreign requests."""
    page = chromium.new_page(viewport=size)
    page.set_default_timeout(60_000)  # a busy machine
    foreign: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: is_ours(request.url, url) or foreign.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(url)
        yield page
    finally:
        page.close()
    assert not foreign, f"the page asks other hosts: {foreign[:3]}"
    assert not errors, errors[:3]


def is_ours(address: str, url: str) -> bool:
    """Tell whether a request stays on the page's own server, or in the browser."""
    return address.startswith((url.rstrip("/"), f"blob:{url.rstrip('/')}", "data:"))


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than its window: 0 where nothing is cut off."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
