"""The machine, the decoders and the hub, with what a test can break of them."""

import threading
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from r1_aqa.doctor import decoders, hub, machine
from r1_aqa.doctor.decoders import decoder_findings
from r1_aqa.doctor.hub import cache_finding, hub_findings, reach, token_finding
from r1_aqa.doctor.machine import GIB, disk_finding, gpu_findings, memory, processor_finding

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free", "kind"), [(0.5, "fault"), (5, "note"), (50, "ok")])
def test_a_disk_with_little_room_is_told(
    free: float, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage(0, 0, int(free * GIB)))
    finding = disk_finding("this folder", tmp_path / "not" / "yet", "cd elsewhere")
    assert (finding.kind, finding.command) == (kind, "" if kind == "ok" else "cd elsewhere")


def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    free, total = memory()
    assert 0 < free <= total
    monkeypatch.setattr(machine, "memory", lambda: (GIB, 8 * GIB))
    assert processor_finding().kind == "note"
    monkeypatch.setattr(machine, "memory", lambda: (4 * GIB, 8 * GIB))
    assert processor_finding().kind == "ok"


def test_why_there_is_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_findings()[0].command == "unset CUDA_VISIBLE_DEVICES"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert gpu_findings()[0].kind == "ok"
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built for no GPU" in gpu_findings()[0].text
    assert "--torch-backend auto" in gpu_findings()[0].command
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert (gpu_findings()[0].kind, gpu_findings()[0].command) == ("fault", "nvidia-smi")


def test_a_gpu_is_told_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Toy")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (1 * GIB, 24 * GIB))
    [finding] = gpu_findings()
    assert finding.kind == "note"
    assert "Toy, 1.0 of 24.0 GiB free, no bf16" in finding.text


def test_decoders_decode_and_one_that_does_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.kind for finding in decoder_findings("r1-aqa")} == {"ok"}
    monkeypatch.setattr(decoders, "FORMATS", ("WAV",))
    monkeypatch.setattr(decoders, "write_tone", lambda name: b"no sound at all")
    found = decoder_findings("r1-aqa")[0]
    assert found.kind == "fault"
    assert "does not decode: AudioError" in found.text
    assert "install" in found.command


@pytest.fixture
def address() -> Iterator[str]:
    """A server that stands for the hub: 200, but 500 below /broken."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_hub_is_reached_or_not(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reach(address) == ""
    assert reach(f"{address}/broken") == "HTTP 500"
    assert "refused" in reach("http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_findings()[-1].command == "unset HF_HUB_OFFLINE"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert [(one.kind, one.subject) for one in hub_findings()[1:]] == [("ok", "hub"), ("note", "hub token")]
    monkeypatch.setattr(hub, "reach", lambda address: pytest.fail("it was asked"))
    assert "not asked" in hub_findings(offline=True)[-1].text


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        def __init__(self, token: str) -> None:
            self.token = token

        def whoami(self) -> dict[str, str]:
            if self.token == "hf_old":
                import httpx
                from huggingface_hub.errors import HfHubHTTPError

                raise HfHubHTTPError(
                    "no", response=httpx.Response(401, request=httpx.Request("GET", "http://x"))
                )
            return {"name": "somebody"}

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert token_finding("hf_good").text == "accepted, of somebody"
    refused = token_finding("hf_old")
    assert (refused.kind, refused.command) == ("fault", "hf auth login")
    assert "hf_old" not in refused.line()


def test_interrupted_downloads_are_counted(tmp_path: Path) -> None:
    (tmp_path / "models--a--b" / "blobs").mkdir(parents=True)
    assert cache_finding(tmp_path).text.startswith("1 models")
    (tmp_path / "models--a--b" / "blobs" / "x.incomplete").write_bytes(b"")
    assert "-delete" in cache_finding(tmp_path).command
