"""The endpoint, against a real server that behaves well and badly."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aac_llm.config.correct import CorrectionConfig
from aac_llm.correction.corrector import Corrector
from aac_llm.correction.endpoint import EndpointLLM
from aac_llm.correction.llm import messages
from aac_llm.models.endpoint import GIVE_UP_AFTER, Endpoint, LLMError, read_answer

KEY = "sk-secret-1234"
Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class Server(ThreadingHTTPServer):
    """Plays a list of replies, the last one again and again, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, *replies: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body | {"path": self.path})
            self.server.headers.append(dict(self.headers))
            reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        reply(self, body)

    def log_message(self, *_: object) -> None:
        pass


def send(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def answer(text: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def says(text: Any) -> Reply:
    return lambda handler, _: send(handler, 200, answer(text))


def fails(status: int, content: bytes = b"{}", **headers: str) -> Reply:
    return lambda handler, _: send(handler, status, content, **headers)


def echo(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(handler, 200, answer(body["messages"][-1]["content"].upper()))


def hang(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    time.sleep(1.5)
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Never silent for long, never done."""
    handler.send_response(200)
    handler.end_headers()
    for _piece in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def drip_headers(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(40):
        handler.wfile.write(f"X-{number}: 1\r\n".encode())
        handler.wfile.flush()
        time.sleep(0.05)


def bomb(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    send(handler, 200, gzip.compress(b" " * 3_000_000), Content_Encoding="gzip")


def hang_up(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.close_connection = True
    handler.connection.close()


def flood(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    send(handler, 200, b" " * 3_000_000)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(*replies: Reply) -> Server:
        server = Server(*replies)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def connect(server: Server | str, **settings: Any) -> tuple[EndpointLLM, list[float]]:
    """A client that waits no time, and the times it would have waited."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    options: dict[str, Any] = {"timeout": 5.0, "sleep": note} | settings
    endpoint = Endpoint(server if isinstance(server, str) else server.url, "tiny", **options)
    return EndpointLLM(endpoint), waits


def test_answers_come_in_the_order_of_the_captions(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    llm, _ = connect(server, api_key=KEY, max_new_tokens=21)
    captions = [f"caption {number}" for number in range(12)]
    assert llm(captions) == [caption.upper() for caption in captions]
    request = next(
        request for request in server.requests if request["messages"][-1]["content"] == "caption 3"
    )
    assert request["path"] == "/v1/chat/completions"
    assert request["messages"] == messages("caption 3")
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("tiny", 0, 21)
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)


def test_no_key_sends_no_authorization(serve: Callable[..., Server]) -> None:
    server = serve(echo)
    connect(server)[0](["a dog"])
    assert "Authorization" not in server.headers[0]


def test_a_busy_endpoint_is_asked_again_when_it_says(serve: Callable[..., Server]) -> None:
    llm, waits = connect(serve(fails(429, Retry_After="7"), fails(503), says("rain falls")))
    assert llm(["rain rain falls"]) == ["rain falls"]
    assert waits == [7.0, 1.0]


def test_waits_are_bounded_and_grow(serve: Callable[..., Server]) -> None:
    llm, waits = connect(serve(fails(500)), max_retries=3)
    (found,) = llm(["a dog"])
    assert str(found) == "HTTP 500"
    assert waits == [0.5, 1.0, 2.0]
    llm, waits = connect(serve(fails(429, Retry_After="86400")), max_retries=1)
    llm(["a dog"])
    assert waits == [60.0]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (fails(200, b"<html>"), "endpoint's answer.* not JSON"),
        (fails(200, b"\xff\xfe"), "endpoint's answer"),
        (fails(200, b"[" * 100_000), "endpoint's answer.* deep"),
        (fails(200, b'{"a": ' + b"9" * 5000 + b"}"), "endpoint's answer.* digits"),
        (fails(200, answer("x").replace(b'"x"', b'"\\ud800"')), "endpoint's answer.* half a character"),
        (fails(200, answer("x").replace(b'"x"', b'"\\udc80"')), "no file can hold"),
        (bomb, "compressed"),
        (fails(200, b'{"error": "none"}'), "no choices"),
        (fails(200, b'{"choices": []}'), "no choices"),
        (fails(200, b"[]"), "no choices"),
        (says(None), "no text, but NoneType"),
        (says(["a"]), "no text, but list"),
        (fails(401, b'{"error": "bad key sk-secret-1234"}'), r"HTTP 401.*bad key \[key\]"),
        (fails(404, b"no such model"), "HTTP 404: no such model"),
        (fails(301, Location="http://elsewhere"), "HTTP 301"),
        (flood, "more than 1,000,000 bytes"),
    ],
)
def test_a_wrong_answer_is_a_reason_and_not_asked_again(
    serve: Callable[..., Server], reply: Reply, reason: str
) -> None:
    server = serve(reply)
    llm, waits = connect(server, api_key=KEY)
    (found,) = llm(["a dog"])
    assert isinstance(found, LLMError)
    with pytest.raises(LLMError, match=reason):
        raise found
    assert KEY not in str(found)
    assert (waits, len(server.requests)) == ([], 1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(hang, "longer than 0.3 s"), (drip, "longer than 0.3 s"), (drip_headers, "longer than 0.3 s")],
)
def test_a_slow_answer_is_given_up(serve: Callable[..., Server], reply: Reply, reason: str) -> None:
    llm, _ = connect(serve(reply), timeout=0.3, max_retries=0)
    began = time.monotonic()
    (found,) = llm(["a dog"])
    assert reason in str(found)
    assert time.monotonic() - began < 1.4


def test_a_closed_connection_is_tried_again(serve: Callable[..., Server]) -> None:
    llm, waits = connect(serve(hang_up, says("a dog barks")))
    assert llm(["a dog dog barks"]) == ["a dog barks"]
    assert waits == [0.5]


def test_a_dead_endpoint_is_given_up_soon() -> None:
    llm, waits = connect("http://127.0.0.1:9/v1", max_retries=1, concurrency=1)
    found = llm(["a dog"] * 50)
    assert all(isinstance(answer, LLMError) for answer in found)
    assert len(waits) == GIVE_UP_AFTER
    assert "given up after 5 failures: ConnectError" in str(found[-1])


def test_an_answer_in_between_forgets_failures(serve: Callable[..., Server]) -> None:
    llm, _ = connect(serve(*[fails(400)] * 4, says("ok"), fails(400)), concurrency=1)
    found = llm(["a dog"] * 9)
    assert found[4] == "ok"
    assert [str(answer)[:8] for answer in found[5:]] == ["HTTP 400"] * 4


def test_a_malformed_address_is_a_reason() -> None:
    (found,) = Endpoint("http://[::1", "m", max_retries=0).ask([messages("a dog")])
    assert isinstance(found, LLMError)


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="characters") as caught:
        Endpoint("http://localhost/v1", "m", api_key="sk\nsecret")
    assert "secret" not in str(caught.value)


def test_the_corrector_asks_the_endpoint_with_the_key_of_the_environment(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(says('Here is the corrected caption: "A dog barks."'))
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    config = CorrectionConfig(llm="tiny", endpoint=server.url, api_key_variable="MY_KEY")
    results = Corrector(config).correct(["a dog dog barks", "a cat meows"])
    assert [result.after for result in results] == ["a dog barks", "a cat meows"]
    assert [result.reason for result in results] == ["accepted", "fluent"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert len(server.requests) == 1


def test_an_endpoint_that_fails_keeps_the_captions(serve: Callable[..., Server]) -> None:
    config = CorrectionConfig(llm="tiny", endpoint=serve(fails(400)).url)
    (result,) = Corrector(config).correct(["a dog dog barks"])
    assert (result.after, result.accepted) == ("a dog dog barks", False)
    assert result.reason == "kept: no answer (HTTP 400: {})"


def test_answers_of_the_protocol_are_read() -> None:
    assert read_answer(answer(" a dog ")) == " a dog "
