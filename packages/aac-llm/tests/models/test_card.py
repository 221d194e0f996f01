"""Model cards: what the hub reads, and scores that are added."""

from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm.config.model import ModelConfig
from aac_llm.data.manifest import Clip
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.card import add_scores, make_card, summarize_data
from aac_llm.models.card_parts import Score, Training, read_scores
from aac_llm.models.licence import CARD_FILE
from huggingface_hub import ModelCard

SCORE = Score(metric="cider_d", value=0.5, low=0.4, high=0.6, data="d.jsonl", split="test", count=9)


def training() -> Training:
    clips = [
        Clip(id=str(number), audio=Path("a.wav"), captions=("x",), licence=licence, dataset="esc10")
        for number, licence in enumerate(["CC-BY-4.0", "CC-BY-4.0", None])
    ]
    data = summarize_data("training", ["data/m.jsonl"], clips, 7200.0)
    return Training(command="aac-llm train --config c.json", updates=12, seed=3, data=(data,))


def test_the_card_names_data_licences_command_parts_and_scores() -> None:
    config = ModelConfig(decoder="meta-llama/Llama-2-7b-hf", encoder_weights="mispeech/ced-base")
    text = make_card(config, training(), [SCORE])
    for part in (
        "| training | data/m.jsonl, esc10 | 3 | 2.00 | CC-BY-4.0 (2), unknown (1) |",
        "aac-llm train --config c.json",
        "12 updates, seed 3",
        "| cider_d | 0.500 | 0.400 to 0.600 | 9 of d.jsonl test |",
        "| language model | meta-llama/Llama-2-7b-hf | adapters of rank 8 | llama2 (Meta's licence) |",
        "| encoder | CED of width 768, mispeech/ced-base | adapters of rank 8 | Apache-2.0 (CED) |",
    ):
        assert part in text
    head = ModelCard(text).data
    assert head.base_model == ["meta-llama/Llama-2-7b-hf", "mispeech/ced-base"]
    assert head.library_name == "aac-llm"
    assert head.license == "llama2"
    further = ModelCard(make_card(config, base="us/captioner@v1")).data
    assert further.base_model[0] == "us/captioner"
    assert head.eval_results[0].metric_value == 0.5


def test_scores_are_added_and_replace_those_of_the_same_clips(tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text(make_card(ModelConfig(), training(), [SCORE]))
    other = replace(SCORE, metric="meteor", low=None, high=None, split=None)
    add_scores(tmp_path, [replace(SCORE, value=0.75), other])
    assert read_scores(tmp_path) == [replace(SCORE, value=0.75), other]
    text = (tmp_path / CARD_FILE).read_text()
    assert "| cider_d | 0.750 |" in text
    assert "| meteor | 0.500 |  | 9 of d.jsonl |" in text
    assert "0.500 | 0.400" not in text
    assert "aac-llm train --config c.json" in text
    add_scores(tmp_path, [replace(SCORE, value=0.75), other])
    assert (tmp_path / CARD_FILE).read_text() == text
    elsewhere = replace(SCORE, data="another set.jsonl")
    add_scores(tmp_path, [elsewhere])
    assert set(read_scores(tmp_path)) == {replace(SCORE, value=0.75), other, elsewhere}


def test_a_folder_without_a_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="README"):
        add_scores(tmp_path, [SCORE])


def test_a_saved_model_has_a_card_and_keeps_it(tiny_model: CaptionModel, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path / "one")
    add_scores(tmp_path / "one", [SCORE])
    CaptionModel.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")
    assert read_scores(tmp_path / "two") == [SCORE]


def test_a_damaged_head_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text("---\n: [\n---\n")
    with pytest.raises(ValueError, match=r"README\.md: its head"):
        add_scores(tmp_path, [SCORE])
