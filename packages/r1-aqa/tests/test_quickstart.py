"""The quickstart at a much reduced size: every stage runs, resumes and leaves what it promises."""

import json
from pathlib import Path

import pytest
from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.evaluators.statistics import Interval
from r1_aqa.quickstart import describe_gain, quickstart
from transformers import AutoTokenizer


def test_the_quickstart_leaves_models_scores_curves_and_rollouts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = QuickstartConfig(out=tmp_path, scenes=12, test_scenes=4, sft_epochs=1, grpo_steps=2)
    result = quickstart(config)
    assert 0 <= result.silent <= 1
    assert 0.2 < result.chance < 0.5
    for name in ("sft/last/model.safetensors", "grpo/last/model.safetensors", "curves.png", "rollouts.html"):
        assert (tmp_path / name).stat().st_size > 1000
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["grpo"] == result.grpo
    assert {"first_option", "chance", "official", "runs"} <= written["scores"]["grpo"].keys()
    points = 100 * (result.grpo - result.sft)
    assert f"by reinforcement: {points:+.1f} points of {written['scores']['grpo']['num_questions']}" in (
        capsys.readouterr().out
    )
    answer = AutoTokenizer.from_pretrained(tmp_path / "base").tokenize("<answer>3</answer>")
    assert answer == ["<answer>", "3", "</answer>"]  # one decision
    assert quickstart(config) == result  # all is there: nothing is trained again


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.1, "it helped"), (-0.1, -0.01, "it did harm"), (-0.02, 0.06, "none can be told")],
)
def test_the_quickstart_says_plainly_whether_reinforcement_helped(
    low: float, high: float, words: str
) -> None:
    said = describe_gain(Interval((low + high) / 2, low, high, 400))
    assert said.endswith(words)
    assert f"{100 * low:+.1f} to {100 * high:+.1f}" in said
