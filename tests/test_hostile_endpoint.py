"""Whatever a language model's service answers costs that answer alone: no caption is lost or made worse.

`aac-llm correct` is the only command that asks a service (`metrics/fluency.py` downloads one fixed file). It
must end in seconds with exit code 1 or 0, keep every caption, and let no control character through.
"""

import json
import random
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hostile_endpoint import Behavior, HostileServer, behaviors
from isolated import Ended, run_program

pytestmark = pytest.mark.skipif(find_spec("aac_llm") is None, reason="aac-llm is not installed here")
CAPTIONS = ["a dog dog barks and a a", "rain rain falls falls on on a"]
"""Held back by the gate `rules`: the service is asked about each."""
TIMEOUT = 0.7
SECONDS = 15.0
MEGABYTES = 250
DRAWN = 25
WORST = ("silent", "resets", "for ever", "while", "1 GB", "bomb", "nested", "half a char", "terminal", "page")


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    rows = [{"id": f"{n}", "audio": f"{n}.wav", "caption": text} for n, text in enumerate(CAPTIONS)]
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults_of(lambda c: c.answer(b"{}"), path, seconds=120.0)  # what it imports is imported once
    return path


def faults_of(behavior: Behavior, captions: Path, *, seconds: float = SECONDS) -> list[str]:
    """Let a service answer; return what was wrong about how the command took it."""
    out = captions.with_name("out.jsonl")
    with HostileServer(behavior) as server:
        words = ["correct", str(captions), "--llm", "m", "--endpoint", server.url, "--out", str(out)]
        words += ["--request_timeout", str(TIMEOUT), "--max_retries", "1", "--overwrite", "true"]
        main = import_module("aac_llm.cli").main
        ended = run_program(main, words, captions.parent, seconds=seconds, megabytes=4 * MEGABYTES)
        asked = server.num_requests
    return [*faults_in(ended), *lost(out, ended), *([] if asked else ["was not asked"])]


def faults_in(ended: Ended) -> Iterator[str]:
    if ended.timed_out:
        yield f"not done in {SECONDS:g} s"
    elif ended.code not in (0, 1):
        yield f"exit code {ended.code}"
    elif ended.megabytes > MEGABYTES:
        yield f"{ended.megabytes:.0f} MB"
    if any(code in ended.out + ended.err for code in ("\x1b", "\x9b", "\u202e", "\x07", "\0")):
        yield "control characters came through"
    if "Traceback" in ended.err:
        yield "a traceback"


def lost(out: Path, ended: Ended) -> Iterator[str]:
    """Yield what is lost of the captions."""
    if ended.code not in (0, 1):
        return
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    if [row["id"] for row in rows] != [str(number) for number in range(len(CAPTIONS))]:
        yield "captions are lost"
    for row in rows:
        if not row["caption"].isprintable() or len(row["caption"]) > 200:
            yield f"the caption became {row['caption'][:40]!r}"
    no_answers = [row for row in rows if "no answer" in json.dumps(row.get("correction") or {})]
    if bool(no_answers) != (ended.code == 1):
        yield f"{len(no_answers)} captions without an answer, and exit code {ended.code}"


def check(chosen: list[tuple[str, Behavior]], captions: Path) -> None:
    wrong = [
        f"{name}: {', '.join(faults)}"
        for name, behavior in chosen
        if (faults := faults_of(behavior, captions))
    ]
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_a_hostile_service_costs_its_answers_alone(captions: Path) -> None:
    every = list(behaviors())
    worst = [each for each in every if any(word in each[0] for word in WORST)]
    check([*worst, *random.Random(12).sample(every, DRAWN)], captions)


@pytest.mark.nightly
def test_every_hostile_answer(captions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = list(behaviors())
    check(every, captions)
    with capsys.disabled():
        print(f"\naac-llm correct: {len(every)} hostile services", flush=True)


def test_a_good_service_is_used(captions: Path) -> None:
    body = {"choices": [{"message": {"content": "a dog barks"}, "finish_reason": "stop"}]}
    assert not faults_of(lambda c: c.answer(json.dumps(body).encode()), captions)
    rows = [json.loads(line) for line in captions.with_name("out.jsonl").read_bytes().splitlines()]
    assert rows[0]["caption"] == "a dog barks"
