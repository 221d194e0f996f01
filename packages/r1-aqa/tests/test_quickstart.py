"""The quickstart at a much reduced size: every stage runs, resumes and leaves what it promises."""

import json
from pathlib import Path

from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.quickstart import quickstart


def test_the_quickstart_leaves_models_scores_curves_and_rollouts(tmp_path: Path) -> None:
    config = QuickstartConfig(out=tmp_path, scenes=12, test_scenes=4, sft_epochs=1, grpo_steps=2)
    result = quickstart(config)
    assert 0 <= result.silent <= 1
    assert 0.2 < result.chance < 0.5
    for name in ("sft/last/model.safetensors", "grpo/last/model.safetensors", "curves.png", "rollouts.html"):
        assert (tmp_path / name).stat().st_size > 1000
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["grpo"] == result.grpo
    assert {"first_option", "chance", "official", "runs"} <= written["scores"]["grpo"].keys()
    assert quickstart(config) == result  # all is there: nothing is trained again
