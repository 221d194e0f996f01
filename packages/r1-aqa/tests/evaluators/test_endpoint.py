"""A model behind an endpoint is asked with its sounds, and what it does not answer ends nothing."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.evaluators.evaluate import evaluate, evaluate_verb
from r1_aqa.evaluators.predictions import read_predictions
from r1_aqa.models.endpoint import GIVE_UP_AFTER, Endpoint, read_answer
from r1_aqa.models.remote import sound_part

pytest.importorskip("httpx", reason="httpx is not installed here")
KEY = "sk-secret-1234"
Reply = Callable[[dict[str, Any]], tuple[int, Any]]


class Service(ThreadingHTTPServer):
    """Answers as `reply` says, and keeps what it was asked."""

    daemon_threads = True
    reply: Reply

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["Authorization"])
        status, choice = self.server.reply(body)
        content = json.dumps({"choices": [choice]} if status == 200 else {"error": choice}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Service()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def says(text: str | None, end: str = "stop") -> tuple[int, Any]:
    return 200, {"message": {"role": "assistant", "content": text}, "finish_reason": end}


def text_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"][-1]["text"]


def sounds_of(body: dict[str, Any]) -> list[np.ndarray]:
    parts = [part["input_audio"] for part in body["messages"][-1]["content"] if part["type"] == "input_audio"]
    assert all(part["format"] == "wav" for part in parts)
    read = [soundfile.read(io.BytesIO(base64.b64decode(part["data"])), dtype="float32") for part in parts]
    assert all(rate == 16_000 for _, rate in read)
    return [samples for samples, _ in read]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound, two sounds, a sound of 40 s, one that is none, and another one."""
    folder, rng = tmp_path_factory.mktemp("remote"), np.random.default_rng(0)
    for name, seconds in (("a", 1), ("b", 2), ("long", 40)):
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, 16_000 * seconds), 16_000)
    (folder / "bad.wav").write_bytes(b"no sound")
    asked = {"1": ("a",), "2": ("b", "a"), "3": ("long",), "4": ("bad",), "5": ("b",)}
    questions = [
        Question(
            id=name,
            audio=folder / f"{sounds[0]}.wav",
            further_audio=tuple(folder / f"{sound}.wav" for sound in sounds[1:]),
            question=f"What is {name}?",
            choices=("rain", "a dog"),
            answer="a dog",
        )
        for name, sounds in asked.items()
    ]
    write_questions(folder / "q.jsonl", questions)
    return folder / "q.jsonl"


def config(data: Path, service: Service, out: Path, **changes: Any) -> EvaluateConfig:
    settings = {"max_retries": 0, "batch_size": 2, "max_new_tokens": 9, "bootstrap": 50} | changes
    return EvaluateConfig(
        data=str(data), out=out, endpoint=service.url, endpoint_model="gpt-hears", **settings
    )


def test_questions_go_with_their_sounds_and_failures_are_asked_again(
    data: Path,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("R1_AQA_API_KEY", f"{KEY}\n")
    service.reply = lambda body: (
        (400, "too long") if "What is 3?" in text_of(body) else says("<answer>a dog</answer>")
    )
    with caplog.at_level("INFO", "r1_aqa"):
        assert evaluate_verb(config(data, service, tmp_path)) == 1
    first = json.loads((tmp_path / "scores.json").read_text())
    assert (first["num_questions"], first["num_missing"], first["num_unreadable"]) == (5, 2, 2)
    assert (first["model"], first["engine"], first["heard"]) == ("gpt-hears", service.url, "not checked")
    assert first["first_prompt"] in caplog.text
    assert "What is 1? Please choose" in first["first_prompt"]
    assert "whether the model hears cannot be checked here" in caplog.text
    rows = {row.id: row for row in read_predictions(tmp_path / "predictions.jsonl")}
    assert "HTTP 400" in (rows["3"].error or "")
    assert "1 of 5 questions got no answer from the model, the first: 3 (HTTP 400: " in caplog.text
    assert "bad.wav" in (rows["4"].error or "")
    assert service.keys == [f"Bearer {KEY}"] * 4
    assert KEY not in "".join(file.read_text() for file in tmp_path.glob("*.json*"))
    request = next(body for body in service.requests if "What is 2?" in text_of(body))
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("gpt-hears", 0, 9)
    (turn,) = request["messages"]
    assert [part.get("text", "") for part in turn["content"]][:3] == ["Audio 1: ", "", "\nAudio 2: "]
    b, a = sounds_of(request)
    np.testing.assert_allclose(b, soundfile.read(data.with_name("b.wav"))[0], atol=1e-4)
    assert len(a) == 16_000
    # The same command asks what failed, no more, and nothing is cut: a service may hear minutes.
    service.requests.clear()
    service.reply = lambda body: says("<answer>rain</answer>")
    second = evaluate(config(data, service, tmp_path))
    assert [text_of(body)[:10] for body in service.requests] == ["What is 3?"]
    assert len(sounds_of(service.requests[0])[0]) == 40 * 16_000
    assert (second["num_missing"], second["num_cut"]) == (1, 0)
    assert second["strict"]["value"] == pytest.approx(0.6)


def test_silence_and_a_limit_are_sent_and_a_cut_answer_is_kept(
    data: Path, service: Service, tmp_path: Path
) -> None:
    service.reply = lambda body: says("I hear\na", "length") if sounds_of(body)[0].any() else says("rain")
    template = tmp_path / "mine.jinja"
    template.write_text("{% set system %}Listen.{% endset %}{{ question }} ({{ lettered[1][0] }})")
    scores = evaluate(
        config(
            data,
            service,
            tmp_path / "out",
            silent=True,
            template=template,
            sound=SoundConfig(max_seconds=30.0),
        )
    )
    assert {len(sounds_of(body)[-1]) / 16_000 for body in service.requests} == {1.0, 2.0, 30.0}
    assert service.requests[0]["messages"][0] == {"role": "system", "content": "Listen."}
    assert text_of(service.requests[0]).endswith("? (B)")
    assert (scores["num_cut"], scores["num_truncated"]) == (1, 4)
    assert scores["template"] == template.read_text()
    assert scores["first_prompt"] == "Listen.\n\nWhat is 1? (B)"
    runs = {(row.run, row.output) for row in read_predictions(tmp_path / "out" / "predictions.jsonl")}
    assert {("given", "I hear\na"), ("silent", "rain")} <= runs
    template.write_text("{{ question }}")
    with pytest.raises(ValueError, match=r"template_version: .*give another --out"):
        evaluate(config(data, service, tmp_path / "out", template=template, silent=True))


def test_a_dead_endpoint_ends_the_job_and_keeps_what_there_is(
    data: Path, service: Service, tmp_path: Path
) -> None:
    questions = [json.loads(line) for line in data.read_text().splitlines()]
    many = data.with_name("many.jsonl")
    rows = [questions[0] | {"id": str(n), "question": f"What is {n}?"} for n in range(20)]
    many.write_text("".join(json.dumps(row) + "\n" for row in rows))
    service.reply = lambda body: (
        says("a dog") if text_of(body)[:10] in ("What is 0?", "What is 1?") else (500, "")
    )
    with pytest.raises(ConnectionError, match=r"given up after 5 failures: HTTP 500; .*the same command"):
        evaluate(config(many, service, tmp_path, concurrency=1))
    assert len(service.requests) == 7
    assert not (tmp_path / "scores.json").exists()
    service.reply = lambda body: says("a dog")
    assert evaluate(config(many, service, tmp_path))["strict"]["value"] == 1.0
    assert len(service.requests) == 7 + 18


def test_an_endpoint_that_was_given_up_stays_so() -> None:
    endpoint = Endpoint("http://localhost:1/v1", "m")
    for _ in range(GIVE_UP_AFTER):
        endpoint._note("HTTP 500")
    endpoint._note(None)  # an answer to a request that was on its way
    assert "given up after 5 failures: HTTP 500" in (endpoint.given_up or "")


def test_an_answer_may_come_in_parts_of_text() -> None:
    parts = [{"type": "text", "text": "B"}, {"type": "text", "text": "."}]
    assert read_answer(json.dumps({"choices": [{"message": {"content": parts}}]}).encode()) == "B."


def test_a_loud_sound_is_not_clipped() -> None:
    loud = np.array([0.0, 2.0, -4.0], dtype=np.float32)
    wav = base64.b64decode(sound_part(loud)["input_audio"]["data"])
    np.testing.assert_allclose(soundfile.read(io.BytesIO(wav))[0], [0.0, 0.5, -1.0], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give model, or endpoint and endpoint_model"),
        ({"model": "m", "endpoint": "http://x/v1", "endpoint_model": "m"}, "give model, or endpoint"),
        ({"endpoint": "http://x/v1"}, "endpoint and endpoint_model go together"),
        ({"endpoint": "x:8000", "endpoint_model": "m"}, "must begin with http"),
        (
            {"endpoint": "http://x/v1", "endpoint_model": "m", "engine": "vllm"},
            "engine vllm runs a model here",
        ),
        ({"endpoint": "http://x/v1", "endpoint_model": "m", "request_timeout": 0.0}, "must be above 0"),
        ({"model": "m", "max_retries": -1}, "max_retries must not be negative"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EvaluateConfig(data="q.jsonl", out=Path("out"), **settings)
