"""The server that every package has: who may ask, how much, how many at once, and what is left behind."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

gradio = pytest.importorskip("gradio", reason="the extra serve is not installed")

from r1_aqa.config.server import ServerConfig  # noqa: E402
from r1_aqa.serving.request import Form  # noqa: E402
from r1_aqa.serving.server import Server  # noqa: E402
from r1_aqa.serving.uploads import plain_name  # noqa: E402
from r1_aqa.serving.work import BusyError, Work  # noqa: E402
from serving_kit import running, wait_until  # noqa: E402

TOKEN = "a long password"
FORM = {"content-type": "multipart/form-data; boundary=x"}
FIELD = b'--x\r\ncontent-disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'


def make_server(**settings: object) -> tuple[Server, gradio.Blocks]:
    """Return a server whose model tells a sound's length, and its page."""
    server = Server(ServerConfig(port=0, max_upload_megabytes=1, max_seconds=3, **settings))  # type: ignore[arg-type]

    def tell(form: Form) -> dict[str, object]:
        return {
            "text": form.text("text"),
            "sounds": [[sound.name, round(sound.seconds, 2)] for sound in form.sounds("audio")],
        }

    server.route("/api/tell", tell, texts=("text",), sounds=("audio",))
    server.route("/api/break", lambda form: {"never": 1 / 0})
    with gradio.Blocks() as page:
        text, told = gradio.Textbox(), gradio.Textbox()

        def shout(text: str) -> str:
            if not text:
                raise ValueError("no <b>text</b>")
            return server.work.run(text.upper)

        text.submit(server.event(shout), text, told, api_name="shout")
    return server, page


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Server]]:
    server, page = make_server()
    with running(server, page) as url:
        yield url, server


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "dog 1.wav"
    soundfile.write(path, np.sin(np.arange(16_000) / 9) / 2, 16_000)
    return path


def post(url: str, path: str = "api/tell", **fields: object) -> httpx.Response:
    return httpx.post(url + path, timeout=60, **fields)  # type: ignore[arg-type]


def test_a_form_of_texts_and_sounds_is_answered(served: tuple[str, Server], sound: Path) -> None:
    url, server = served
    files = [("audio", (name, sound.read_bytes())) for name in ("dog 1.wav", "../../b.wav")]
    answer = post(url, data={"text": "hé"}, files=files)
    assert answer.json() == {"text": "hé", "sounds": [["dog 1.wav", 1.0], ["b.wav", 1.0]]}
    assert not list(server.uploads.folder.rglob("*.wav")), "an upload outlives its request"


def test_a_path_that_there_is_not_and_a_wrong_method_are_told(served: tuple[str, Server]) -> None:
    answer = post(served[0], "api/tel")
    known = "there are /api/break, /api/health, /api/tell"
    assert (answer.status_code, answer.json()) == (404, {"error": f"there is no /api/tel; {known}"})
    answer = httpx.get(served[0] + "api/tell")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "/api/tell is asked by POST, and this was GET"}
    assert httpx.get(served[0] + "api/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"data": {"txt": "x"}}, 400, "unknown text field 'txt'; texts: text; files: audio"),
        ({"files": {"audio": ("notes.wav", b"no sound at all")}}, 400, "notes.wav cannot be read"),
        ({"files": {"audio": ("long.wav", "LONG")}}, 400, "long.wav"),
        ({"files": {"audio": ("big.wav", bytes(2 << 20))}}, 413, "more than 1 MB"),
        ({"content": (FIELD + bytes(1 << 16) for _ in range(40)), "headers": FORM}, 413, "more than 1 MB"),
        ({"json": {"text": "x"}}, 400, "curl -F"),
        ({"content": b"garbage", "headers": FORM}, 400, "cannot be read"),
        ({"content": b"garbage", "headers": {"content-type": "multipart/form-data"}}, 400, "cannot be read"),
        (
            {"data": {f"field{number}": "x" for number in range(101)}, "files": {"audio": ("a.wav", b"x")}},
            400,
            "Too many",
        ),
        ({"headers": {"host": "evil.example"}}, 403, "not called 'evil.example'"),
        ({"headers": {"origin": "http://evil.example"}}, 403, "evil.example"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    served: tuple[str, Server], tmp_path: Path, fields: dict, status: int, words: str
) -> None:
    if fields.get("files", {}).get("audio", ("", ""))[1] == "LONG":
        soundfile.write(tmp_path / "long.wav", np.zeros(64_000), 16_000)
        fields = {"files": {"audio": ("long.wav", (tmp_path / "long.wav").read_bytes())}}
    answer = post(served[0], **fields)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert str(served[1].uploads.folder) not in answer.text


def test_a_fault_of_ours_tells_no_secrets(served: tuple[str, Server]) -> None:
    answer = post(served[0], "api/break")
    assert answer.status_code == 500
    assert "division" not in answer.text


def test_of_200_requests_at_once_none_is_lost_or_mixed_up(served: tuple[str, Server]) -> None:
    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            posts = (client.post(served[0] + "api/tell", data={"text": str(n)}) for n in range(200))
            return await asyncio.gather(*posts)

    answers = asyncio.run(ask_all())
    answered = [n for n, answer in enumerate(answers) if answer.status_code == 200]
    assert all(answers[n].json()["text"] == str(n) for n in answered)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.status_code for answer in refused} <= {503}
    assert all("requests are waiting" in answer.json()["error"] for answer in refused)
    assert len(answered) >= 33  # one is answered while 32 wait
    assert post(served[0], data={"text": "after"}).json()["text"] == "after"


def test_the_queue_is_bounded_and_its_places_come_back() -> None:
    work = Work(max_waiting=1)
    first, second = work.place(), work.place()
    with pytest.raises(BusyError, match="1 requests are waiting"):
        work.run(str)
    with first, second:
        assert second.submit(int, "7").result() == 7
    assert [work.run(int, "8"), work.run(int, "9")] == [8, 9]
    with pytest.raises(ValueError, match="invalid literal"):
        work.run(int, "x")
    assert work.run(int, "1") == 1
    work.close()


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    server, page = make_server(token_file=tmp_path / "token")
    with running(server, page) as url:
        assert post(url, data={"text": "x"}).status_code == 401
        assert httpx.get(url).status_code == 401
        assert httpx.get(url + "?token=wrong").status_code == 401
        assert post(url, data={"text": "x"}, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        with httpx.Client() as browser:
            assert TOKEN not in str(browser.get(url, params={"token": TOKEN}, follow_redirects=True).url)
            assert browser.get(url).status_code == 200
    assert not server.uploads.folder.exists()


def test_the_page_is_also_an_api_and_its_mistakes_are_sentences(served: tuple[str, Server]) -> None:
    client = pytest.importorskip("gradio_client").Client(served[0], verbose=False, analytics_enabled=False)
    assert client.predict("hello", api_name="/shout") == "HELLO"
    with pytest.raises(Exception, match=re.escape("no &lt;b&gt;text&lt;/b&gt;")):
        client.predict("", api_name="/shout")


def test_files_outside_the_uploads_are_not_given(served: tuple[str, Server]) -> None:
    for path in ("/etc/passwd", "../../../etc/passwd", str(Path(__file__).resolve())):
        answer = httpx.get(f"{served[0]}gradio_api/file={path}")
        assert answer.status_code in (403, 404), path
    with pytest.raises(ValueError, match="is no upload"):
        served[1].uploads.hear(__file__)


def test_old_uploads_are_deleted_and_a_full_folder_is_noticed(served: tuple[str, Server]) -> None:
    uploads = served[1].uploads
    (uploads.new_folder() / "old.wav").write_bytes(bytes(21 << 20))
    assert uploads.is_full()
    uploads.delete_old(seconds=-1)
    assert not uploads.is_full()


def test_a_taken_port_is_said(served: tuple[str, Server]) -> None:
    port = int(served[0].rstrip("/").rsplit(":", 1)[1])
    server, _ = make_server()
    server.config = ServerConfig(port=port)
    with pytest.raises(ValueError, match="another --port"):
        server.listen()
    server.close()


@pytest.mark.parametrize(
    ("sent", "plain"), [("../../etc/rain 1.wav", "rain 1.wav"), ("C:\\a\\b.wav", "b.wav"), ("..", "upload")]
)
def test_a_senders_name_leads_nowhere(sent: str, plain: str) -> None:
    assert plain_name(sent) == plain


PROGRAM = """
import gradio
from r1_aqa.config.server import ServerConfig
from r1_aqa.serving.server import Server
server = Server(ServerConfig(port=0))
print(server.uploads.folder, flush=True)
with gradio.Blocks() as page:
    pass
server.run(page)
"""


def is_up(url: str) -> bool:
    try:
        return httpx.get(url + "api/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_leaves_no_upload(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        url = process.stdout.readline().split()[2]
        wait_until(lambda: is_up(url), "the server to answer")
        assert folder.is_dir()
        process.send_signal(number)
        assert process.wait(60) != 0
    assert not folder.exists()
