"""Weights from an address, against a server of this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ml_clap.models import published
from ml_clap.models.download import DownloadError, download, read_address

CONTENT = bytes(range(256)) * 9_000


class Server(ThreadingHTTPServer):
    """Serves `CONTENT` at any path; `cut` ends an answer early, `elsewhere` sends to another address."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut: int | None = None
        self.elsewhere: str | None = None
        self.asked: list[str | None] = []

    def url(self, name: str = "pretrain.pt") -> str:
        return f"http://127.0.0.1:{self.server_port}/files/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.elsewhere is not None:
            self.send_response(302)
            self.send_header("Location", server.elsewhere)
            self.end_headers()
            return
        stamp = f'"{hashlib.md5(server.content).hexdigest()}"'
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.headers.get("If-Range") != stamp:
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", stamp)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start : None if server.cut is None else start + server.cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ml-clap"


def test_a_file_is_fetched_once(server: Server, cache: Path) -> None:
    path = download(server.url())
    assert path.read_bytes() == CONTENT
    assert path.relative_to(cache).parts[1:] == ("files", "pretrain.pt")
    assert download(server.url()) == path
    assert server.asked == [None]
    assert [each.name for each in path.parent.iterdir()] == ["pretrain.pt"]


def test_a_stopped_download_goes_on_where_it_stopped(server: Server) -> None:
    server.cut = 1_500_000
    with pytest.raises(
        DownloadError, match="ended after 1,500,000 of 2,304,000 bytes; 1,500,000 bytes are kept"
    ):
        download(server.url())
    server.cut = None
    assert download(server.url()).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1500000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server) -> None:
    server.cut = 1_500_000
    with pytest.raises(DownloadError):
        download(server.url())
    server.cut, server.content = None, CONTENT[::-1]
    assert download(server.url()).read_bytes() == CONTENT[::-1]


def test_size_and_hash_are_checked(server: Server) -> None:
    good = f"size={len(CONTENT)}&sha256={hashlib.sha256(CONTENT).hexdigest()}"
    assert download(f"{server.url()}#{good}").read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="is not what was asked for"):
        download(f"{server.url()}#sha256={'0' * 64}")  # also of a file that is there
    other = server.url("other.pt")
    with pytest.raises(DownloadError, match="should have 5"):
        download(f"{other}#size=5")
    with pytest.raises(DownloadError, match="is not what was asked for"):
        download(f"{other}#sha256={'0' * 64}")
    assert download(other).read_bytes() == CONTENT  # nothing wrong was kept


def test_another_server_than_https_is_refused(server: Server) -> None:
    with pytest.raises(DownloadError, match="is not https"):
        download("http://example.org/pretrain.pt")
    server.elsewhere = "http://example.org/pretrain.pt"
    with pytest.raises(DownloadError, match="is not https"):
        download(server.url())
    server.elsewhere = "file:///etc/hostname"
    with pytest.raises(DownloadError, match="is not allowed"):
        download(server.url())


def test_an_address_does_not_lead_out_of_the_cache(server: Server, cache: Path) -> None:
    path = download(f"http://127.0.0.1:{server.server_port}/a/../../../%2e%2e/b/x.pt")
    assert path.resolve().is_relative_to(cache)


@pytest.mark.parametrize(
    "address",
    ["https://example.org/", "https://example.org/a.pt#sha256=12", "https://example.org/a.pt#md5=1"],
)
def test_an_address_that_says_too_little_is_refused(address: str) -> None:
    with pytest.raises(DownloadError):
        read_address(address)


def test_nobody_there_is_told(server: Server) -> None:
    url = server.url()
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="cannot be fetched"):
        download(url)


def test_the_tokenizer_comes_with_a_checkpoint(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(published.ADDRESSES, published.SONAR_TOKENIZER, server.url("sentencepiece.model"))
    path, tokenizer = published.fetch_weights(server.url(), None)
    assert (path.name, tokenizer.name if tokenizer else None) == ("pretrain.pt", "sentencepiece.model")
