"""What docs/interoperability.md says of aac-llm, run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm import cli
from aac_llm.config.model import ModelConfig
from aac_llm.models.captioner_model import CaptionModel
from hub_kit import folder_hub, page_faults
from interoperability_kit import run_blocks


def test_every_block_of_the_page_runs(
    tiny_model_folder: Path,
    tiny_config: ModelConfig,
    scene_files: list,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    quickstart = Path("runs/quickstart-aac-llm")
    (quickstart / "data" / "audio").mkdir(parents=True)
    for scene in scene_files[:2]:
        shutil.copy(scene.audio, quickstart / "data" / "audio")
    shutil.copytree(tiny_config.decoder, "runs/language-model")
    lora = replace(
        tiny_config, decoder="runs/language-model", decoder_strategy="lora", encoder_strategy="lora"
    )
    captioner = CaptionModel.from_config(lora)
    captioner.save_pretrained("runs/captioner/best")
    captioner.save_pretrained(quickstart / "model")
    captions = quickstart / "captions.jsonl"
    assert not cli.main(
        ["caption", str(quickstart / "data"), "--model", str(quickstart / "model"), "--out", str(captions)]
    )
    lacking = run_blocks("aac-llm", cli.main)
    names = [scene.audio.name for scene in scene_files[:2]]
    for name in names:
        assert Path("heard.audacity", f"{name}.txt").read_text().count("\t") % 2 == 0
        (task,) = json.loads(Path("review.label_studio", f"{name}.json").read_text())
        assert task["data"]["audio"].endswith(name)
    if lacking:
        pytest.skip(f"blocks that need {', '.join(sorted(set(lacking)))} were not run: not installed here")


def test_what_is_pushed_to_the_hub_is_a_page_and_is_what_is_pulled(
    tiny_model: CaptionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = folder_hub(monkeypatch, tmp_path)
    assert tiny_model.push_to_hub("captioner") == "https://hub/me/captioner/commit/1"
    assert hub.made == [("me/captioner", True, True)]
    assert page_faults(tmp_path / "me" / "captioner") == []
    pulled = CaptionModel.from_pretrained("me/captioner", decoder=tiny_model.config.decoder).state_dict()
    assert all(pulled[name].equal(value) for name, value in tiny_model.state_dict().items())
