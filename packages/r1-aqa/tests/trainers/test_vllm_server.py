"""What a vLLM server is sent: chat and sound of each question once; its answers in their places."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import soundfile
from accelerate import PartialState
from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.finite import TrainingError
from r1_aqa.trainers.grpo import grpo_arguments
from r1_aqa.trainers.train import trainer_arguments
from r1_aqa.trainers.vllm import sample
from trl.generation.vllm_client import VLLMClient


class FakeServer(ThreadingHTTPServer):
    """Answers as `vllm serve` does, two rollouts of two tokens, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent: list[dict[str, Any]] = []
        self.prompts: dict[str, list[int]] = {}


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.sent.append(sent | {"path": self.path})
        text = sent["messages"][-1]["content"][-1]["text"]
        number = list(self.server.prompts).index(text)
        choices = [
            {
                "token_ids": [10 * number + rollout, 7],
                "logprobs": {"content": [entry(10 * number + rollout), entry(7)]},
            }
            for rollout in range(sent["n"])
        ]
        self._answer({"prompt_token_ids": self.server.prompts[text], "choices": choices})

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def entry(token: int) -> dict[str, Any]:
    # A likelier token beside the one that was sampled, as vLLM may return it.
    more = [{"token": "token_id:99", "logprob": -0.01}]
    return {"token": f"token_id:{token}", "logprob": -1.0 - token, "top_logprobs": more}


class Client(VLLMClient):
    """TRL's client, but for its start, which wants vLLM, and its transport, which wants requests."""

    def __init__(self, base_url: str) -> None:
        self.base_url, self.model = base_url, "served"

    def _post(self, url: str, **given: Any) -> dict[str, Any]:
        request = Request(url, json.dumps(given["json"]).encode(), {"Content-Type": "application/json"})
        with urlopen(request) as response:
            return json.loads(response.read())


@pytest.fixture
def server() -> Iterator[FakeServer]:
    found = FakeServer()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def trainer(server: FakeServer, tiny_audio_llm: AudioLLM, tmp_path: Path) -> Any:
    PartialState(cpu=True)
    questions = []
    for number in range(2):
        path = tmp_path / f"{number}.wav"
        soundfile.write(
            path, np.full(1600 * (2 + number), 0.1 * (1 + number), np.float32), 16_000, subtype="FLOAT"
        )
        questions.append(
            Question(id=f"q{number}", audio=path, question=f"What is it, {number}?", choices=("a", "b"))
        )
    prompts = EncodedPrompts(
        tiny_audio_llm, questions, sound=SoundConfig(), style="choices", frozen=True, cache_bytes=2**20
    )
    host, port = server.server_address[:2]
    config = GRPOTrainConfig(
        out=tmp_path / "o",
        init_from="m",
        data=DataConfig(train=(Path("q"),)),
        prompt="choices",
        num_rollouts=2,
        max_new_tokens=5,
        top_p=0.9,
        device="cpu",
        vllm="server",
        vllm_host=str(host),
        vllm_port=int(port),
        trl={"min_p": 0.1, "generation_kwargs": {"frequency_penalty": 0.5}},
    )
    args = grpo_arguments(config, **trainer_arguments(config, 2))
    assert (args.vllm_mode, args.vllm_server_port) == ("server", port)
    client = Client(f"http://{args.vllm_server_host}:{args.vllm_server_port}")
    texts = [
        f"What is it, {n}? Please choose the answer from the following options: ['a', 'b']." for n in range(2)
    ]
    server.prompts = {text: prompts.input_ids(row) for row, text in enumerate(texts)}
    synced: list[int] = []
    return SimpleNamespace(
        state=SimpleNamespace(global_step=3),
        _last_loaded_step=2,
        config=config,
        args=args,
        prompts=prompts,
        ends=[1, 2],
        accelerator=PartialState(),
        vllm_generation=SimpleNamespace(vllm_client=client, sync_weights=lambda: synced.append(3)),
        synced=synced,
    )


def test_a_server_is_sent_each_question_once_with_its_sound(trainer: Any, server: FakeServer) -> None:
    ids, log_probs = sample(trainer, [1, 1, 0, 0])
    assert ids == [[10, 7], [11, 7], [0, 7], [1, 7]]
    assert log_probs == [[-11.0, -8.0], [-12.0, -8.0], [-1.0, -8.0], [-2.0, -8.0]]
    assert (trainer.synced, trainer._last_loaded_step) == ([3], 3)
    assert len(server.sent) == 2
    for sent in server.sent:
        assert sent["path"] == "/v1/chat/completions"
        (message,) = sent["messages"]
        sound, text = message["content"]
        row = list(server.prompts).index(text["text"])
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound["input_audio"]["data"])))
        np.testing.assert_allclose(samples, np.full(1600 * (2 + row), 0.1 * (1 + row)), atol=1e-4)
        assert (rate, sound["type"], sound["input_audio"]["format"]) == (16_000, "input_audio", "wav")
        wanted = {"n": 2, "max_tokens": 5, "temperature": 1.0, "top_p": 0.9, "min_p": 0.1, "model": "served"}
        wanted |= {"stop_token_ids": [1, 2], "frequency_penalty": 0.5, "return_token_ids": True}
        assert {name: sent[name] for name in wanted} == wanted
    sample(trainer, [0, 0])
    assert trainer.synced == [3]  # the weights are the same


def test_a_server_with_another_template_stops_training(trainer: Any, server: FakeServer) -> None:
    server.prompts = {text: [*ids, 5] for text, ids in server.prompts.items()}
    with pytest.raises(
        TrainingError, match=r"vllm server: it reads question q1 as \d+ tokens that are not the"
    ):
        sample(trainer, [1, 1])
    with pytest.raises(ValueError, match="expected the 2 rollouts of each question side by side"):
        sample(trainer, [1, 0])
