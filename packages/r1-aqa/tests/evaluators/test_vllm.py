"""What vLLM is given by `evaluate --engine vllm`, and what is made of its answers; itself it needs a GPU."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.evaluators.evaluate import evaluate
from r1_aqa.evaluators.predictions import read_predictions
from r1_aqa.models.audio_llm import AudioLLM


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A module `vllm` whose model answers by the length of a sound; its settings and prompts."""
    noted: list[dict[str, Any]] = []

    class LLM:
        def __init__(self, **settings: Any) -> None:
            noted.append(settings)

        def generate(self, prompts: list[dict[str, Any]], sampling_params: Any, use_tqdm: bool) -> list[Any]:
            if any(len(prompt["prompt_token_ids"]) > 400 for prompt in prompts):
                raise ValueError("The decoder prompt is longer than the maximum\nmodel length of 400.")
            noted.extend(prompt | {"parameters": sampling_params} for prompt in prompts)
            return [SimpleNamespace(outputs=[self._answer(prompt)]) for prompt in prompts]

        def _answer(self, prompt: dict[str, Any]) -> SimpleNamespace:
            seconds = len(prompt["multi_modal_data"]["audio"][0][0]) / 16_000
            return SimpleNamespace(text=f"{seconds:g} s", finish_reason="length" if seconds > 3 else "stop")

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    return noted


def test_vllm_is_asked_what_transformers_would_be(
    started: list[dict[str, Any]],
    ask_about_scenes: Callable[..., list[Question]],
    tiny_model_folder: Path,
    tiny_audio_llm: AudioLLM,
    tmp_path: Path,
) -> None:
    short, *_ = ask_about_scenes(tmp_path, [0], seconds=2.5)
    long, *_ = ask_about_scenes(tmp_path, [1], seconds=6.0)
    both = replace(short, id="both", further_audio=(long.audio,))
    endless = replace(short, id="endless", question="What? " * 600)
    write_questions(tmp_path / "q.jsonl", [short, both, endless, long])
    config = EvaluateConfig(
        data=str(tmp_path / "q.jsonl"),
        model=str(tiny_model_folder),
        engine="vllm",
        out=tmp_path / "out",
        max_new_tokens=7,
        bootstrap=50,
    )
    scores = evaluate(config)
    settings, *prompts = started
    assert settings["model"] == str(tiny_model_folder)
    assert settings["limit_mm_per_prompt"] == {"audio": 2}
    assert settings["trust_remote_code"] is False
    assert {(p["parameters"].temperature, p["parameters"].max_tokens) for p in prompts} == {(0.0, 7)}
    asked = {len(prompt["multi_modal_data"]["audio"]): prompt for prompt in prompts}
    assert [prompt["prompt_token_ids"].count(tiny_audio_llm.audio_token_id) for prompt in asked.values()] == [
        *asked
    ]
    expected = tiny_audio_llm.tokenizer(tiny_audio_llm.format_question(both, "answer"))["input_ids"]
    assert asked[2]["prompt_token_ids"] == expected
    # The tiny model's encoder hears 4 s.
    assert [len(samples) / 16_000 for samples, _ in asked[2]["multi_modal_data"]["audio"]] == [2.5, 4.0]
    rows = {row.id: row for row in read_predictions(tmp_path / "out" / "predictions.jsonl")}
    assert (rows[long.id].output, rows[long.id].truncated, rows[long.id].cut) == ("4 s", True, True)
    assert (rows[short.id].output, rows[short.id].truncated, rows["both"].cut) == ("2.5 s", False, True)
    assert rows["endless"].error == "The decoder prompt is longer than the maximum model length of 400."
    assert (scores["engine"], scores["heard"], scores["num_missing"]) == ("vllm", "not checked", 1)


def test_adapters_are_refused(
    started: list[dict[str, Any]], ask_about_scenes: Callable[..., list[Question]], tmp_path: Path
) -> None:
    write_questions(tmp_path / "q.jsonl", ask_about_scenes(tmp_path, [0]))
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    (adapters / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')
    config = EvaluateConfig(
        data=str(tmp_path / "q.jsonl"), model=str(adapters), engine="vllm", out=tmp_path / "out"
    )
    with pytest.raises(ValueError, match="holds adapters; make a whole model for vLLM: r1-aqa merge"):
        evaluate(config)
    assert started == []
