"""A language model's judgements: bad answers cost their clip only, good ones are kept and not asked again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aac_llm.config.evaluate import EvaluateConfig, MetricsConfig
from aac_llm.config.judge import JudgeConfig
from aac_llm.data.predictions import Prediction, write_predictions
from aac_llm.evaluators.evaluate import evaluate_predictions, evaluate_verb
from aac_llm.evaluators.judge import describe_judge, judge_captions
from aac_llm.evaluators.page import render_page
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.models.endpoint import LLMError

JUDGE = JudgeConfig(llm="tiny", endpoint="http://127.0.0.1:9/v1")
REFERENCES = [["a dog barks"], ["rain falls", "it rains"], ["a bell rings"]]
GOOD = '{"score": 80, "reason": "fits"}'
BAD = [
    "",
    "80",
    "about 80",
    '{"score": 80',
    '{"score": "80", "reason": "x"}',
    '{"score": 800, "reason": "x"}',
    '{"score": NaN, "reason": "x"}',
    '{"reason": "x"}',
    '{"score": 80}',
    "[[[[",
    LLMError("HTTP 500"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_bad_answer_costs_its_clip_only(bad: Any) -> None:
    answers = iter([GOOD, bad, GOOD])
    captions = ["a dog", "rain", "a bell"]
    found = judge_captions(captions, REFERENCES, JUDGE, ask=lambda texts: [next(answers) for _ in texts])
    np.testing.assert_array_equal(found.scores, [0.8, np.nan, 0.8])
    assert len(found.failures) == 1
    assert found.reasons[0] == found.reasons[2] == ""


def test_no_judgement_at_all_is_no_score() -> None:
    with pytest.raises(MissingMetricError, match=r"no judgement of 3 captions.*not JSON.*--judge\.endpoint"):
        judge_captions(["a", "b", "c"], REFERENCES, JUDGE, ask=lambda texts: ["hello"] * len(texts))
    with pytest.raises(MissingMetricError, match=r"--judge\.llm"):
        judge_captions(["a"], REFERENCES[:1], JudgeConfig())


def test_equal_questions_are_asked_once_and_kept_ones_not_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(texts):
        asked.extend(texts)
        return [GOOD if "a dog" in text else "nonsense" for text in texts]

    settings = JudgeConfig(llm="tiny", endpoint=str(JUDGE.endpoint), answers=tmp_path / "answers.jsonl")
    texts = ["a dog", "a dog", "rain"], [REFERENCES[0], REFERENCES[0], REFERENCES[1]]
    assert judge_captions(*texts, settings, ask=ask).scores[0] == 0.8
    assert len(asked) == 2
    # A kill in the midst of a line, and lines that are no judgement.
    with settings.answers.open("a") as file:
        file.write('{"llm": "tiny", "question": "x", "score": 7, "reason": "x"}\n[]\n{"llm": "ti')
    assert judge_captions(*texts, settings, ask=ask).scores[1] == 0.8
    assert len(asked) == 3, "what had no judgement is asked again"
    assert all(json.loads(line) for line in settings.answers.read_text().splitlines())
    # Another judge's answers are not this one's.
    other = JudgeConfig(llm="other", endpoint=str(JUDGE.endpoint), answers=settings.answers)
    judge_captions(*texts, other, ask=ask)
    assert len(asked) == 5


def test_another_prompt_is_named_and_needs_places_for_the_texts(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Rate {caption} by {references}, in JSON.")
    mine = JudgeConfig(llm="tiny", endpoint=str(JUDGE.endpoint), prompt=path)
    assert describe_judge(mine) != describe_judge(JUDGE)
    judge_captions(["a dog"], REFERENCES[:1], mine, ask=lambda texts: [GOOD] * (texts[0][:5] == "Rate "))
    path.write_text("Rate {caption}")
    with pytest.raises(ValueError, match=r"prompt\.txt: .*no \{references\}"):
        judge_captions(["a dog"], REFERENCES[:1], mine, ask=lambda texts: [GOOD])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llm": "x"}, "go together"),
        ({"llm": "x", "endpoint": "localhost:80"}, "must begin with http"),
        ({"concurrency": 0}, "at least 1"),
        ({"request_timeout": 0}, "above 0"),
        ({"max_retries": -1}, "not be negative"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JudgeConfig(**changes)


class Handler(BaseHTTPRequestHandler):
    """Judges captions of dogs, and talks about others."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = GOOD if "a dog" in body["messages"][0]["content"] else "I like it."
        content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def test_the_verb_judges_at_an_endpoint_and_says_what_was_not_judged(
    service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Prediction(str(n), None, text, references=("x",)) for n, text in enumerate(["rain", "a dog"])]
    write_predictions(tmp_path / "p.jsonl", rows)
    judge = JudgeConfig(llm="tiny", endpoint=service, answers=tmp_path / "answers.jsonl")
    config = EvaluateConfig(
        data=tmp_path / "p.jsonl", metrics=("clair_a",), judge=judge, bootstrap=20, json=tmp_path / "s.json"
    )
    assert evaluate_verb(config) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 captions were not judged (the first time: the judge's answer: not JSON" in printed
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    assert results["corpus"] == {"clair_a_like": 0.8}
    assert results["intervals"]["clair_a_like"][1] == 0.8
    assert results["made_by"]["clair_a_like"].startswith("tiny, prompt ")
    assert [clip["scores"] for clip in results["clips"]] == [{}, {"clair_a_like": 0.8}]
    assert json.loads((tmp_path / "answers.jsonl").read_text())["reason"] == "fits"


def test_a_dead_service_costs_the_score_and_not_the_others() -> None:
    rows = [Prediction("a", None, "a dog barks", references=("a dog barks",))]
    judge = JudgeConfig(llm="tiny", endpoint="http://127.0.0.1:9/v1", max_retries=0)
    found = evaluate_predictions(
        rows, metrics=("rouge", "clair_a"), settings=MetricsConfig(judge=judge), bootstrap=0
    )
    assert found.corpus == {"rouge_l": 1.0}
    assert "ConnectError" in found.unavailable["clair_a"].reason
    assert found.bad_answers, "so that the exit code is 1"
    assert not any("not judged" in note for note in found.notes)


def test_a_page_shows_clips_that_were_not_judged_last(service: str, tmp_path: Path) -> None:
    rows = [Prediction(str(n), None, text, references=("x",)) for n, text in enumerate(["rain", "a dog"])]
    settings = MetricsConfig(judge=JudgeConfig(llm="tiny", endpoint=service))
    found = evaluate_predictions(rows, metrics=("clair_a",), settings=settings, bootstrap=0)
    page = render_page(found, tmp_path, sort_by="clair_a_like")
    assert page.index("a dog") < page.index("rain")
