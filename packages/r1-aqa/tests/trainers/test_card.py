"""The cards of a training: what made the model, how good it is, and a page on the hub."""

import shlex
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hub_kit import folder_hub, page_faults
from r1_aqa import cli, push_to_hub
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, SFTTrainConfig, ValidationConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.evaluators.evaluate import evaluate
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.models.card_parts import read_scores
from r1_aqa.models.lora import merge
from r1_aqa.trainers.train import train_sft


@pytest.fixture(scope="module")
def config(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model_folder: Path,
    ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]],
) -> SFTTrainConfig:
    """A training that has ended."""
    folder = tmp_path_factory.mktemp("card")
    found = ask_about_scenes(folder, range(4))
    licensed = [replace(q, dataset="scenes", extra={"licence": "CC0-1.0"}) for q in found[:5]]
    write_questions(folder / "train.jsonl", [*licensed, found[5]])
    write_questions(folder / "validation.jsonl", found[6:])
    config = SFTTrainConfig(
        out=folder / "run",
        init_from=str(tiny_model_folder),
        data=DataConfig(train=(folder / "train.jsonl",), validation=(folder / "validation.jsonl",)),
        model=ModelConfig(dtype="float32", lora=LoRAConfig(rank=4, dropout=0.0)),
        max_steps=2,
        save_steps=2,
        eval_steps=2,
        validation=ValidationConfig(max_new_tokens=4),
        check_heard=False,
        device="cpu",
        seed=7,
    )
    train_sft(config)
    return config


def test_the_card_says_what_made_the_model_and_its_command_trains_it_again(config: SFTTrainConfig) -> None:
    best, last = config.out / "best", config.out / "last"
    card = (last / "README.md").read_text()
    assert "| training | train.jsonl, scenes | 6 |  | CC0-1.0 (5), unknown (1) |" in card
    assert "2 updates, seed 7" in card
    assert "adapters of rank 4 in the language model; encoder and projector frozen" in card
    (score,) = read_scores(best)
    assert (score.metric, score.count, score.unit) == ("accuracy_strict", 2, "questions")
    assert score.low is not None
    assert score.high is not None
    assert score.low <= score.value <= score.high
    assert read_scores(last) == []
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("r1-aqa train")))
    assert cli.read(command[1:]) == replace(config, out=Path("AGAIN"))
    # Where things lie on this machine is said in the command alone.
    assert card.count(str(config.out.parent)) == 1
    for folder in (best, last, config.out / "checkpoint-2"):
        assert page_faults(folder) == []


def test_adapters_are_a_folder_of_peft(config: SFTTrainConfig) -> None:
    from peft import PeftModel
    from r1_aqa.models.audio_llm import AudioLLM

    base: AudioLLM = load_audio_llm(config.init_from, ModelConfig(dtype="float32"))
    plain = PeftModel.from_pretrained(base.model, str(config.out / "last"))  # type: ignore[arg-type]
    ours = load_audio_llm(config.out / "last", ModelConfig(dtype="float32")).model.state_dict()
    assert all(ours[name].equal(value) for name, value in plain.state_dict().items())


def test_a_merged_model_has_its_adapters_card(config: SFTTrainConfig, tmp_path: Path) -> None:
    merge(MergeConfig(source=config.out / "best", out=tmp_path / "merged", dtype="float32"))
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "holds a whole model" in card
    assert "holds adapters" not in card
    assert read_scores(tmp_path / "merged") == read_scores(config.out / "best")
    assert page_faults(tmp_path / "merged") == []


def test_scores_of_a_benchmark_are_added(config: SFTTrainConfig, tmp_path: Path) -> None:
    asked = EvaluateConfig(
        data=str(config.data.train[0]),
        model=str(config.out),
        out=tmp_path,
        max_new_tokens=4,
        check_heard=False,
        device="cpu",
        card=True,
    )
    before = read_scores(config.out / "best")
    scores = evaluate(asked)
    added = [score for score in read_scores(config.out / "best") if score not in before]
    assert {score.metric: score.value for score in added} == {
        f"accuracy_{name}": scores[name]["value"] for name in ("strict", "official")
    }
    assert all(score.count == 6 and score.low is not None for score in added)
    assert {score.data for score in added} == {"train.jsonl"}
    with pytest.raises(ValueError, match="card: scores go to the card of a model's folder"):
        replace(asked, model="owner/name")


def test_what_is_pushed_to_the_hub_is_a_page_and_can_be_pulled(
    config: SFTTrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = folder_hub(monkeypatch, tmp_path)
    assert push_to_hub(config.out, "adapters", revision="v1") == "https://hub/me/adapters/commit/1"
    assert hub.made == [("me/adapters", True, True), ("me/adapters@v1", None, True)]
    assert page_faults(tmp_path / "me" / "adapters") == []
    pulled = load_audio_llm(tmp_path / "me" / "adapters", ModelConfig(dtype="float32"))
    ours = load_audio_llm(config.out, ModelConfig(dtype="float32")).model.state_dict()
    assert all(ours[name].equal(value) for name, value in pulled.model.state_dict().items())
    with pytest.raises(FileNotFoundError, match="is no model"):
        push_to_hub(tmp_path, "me/none")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has no README\.md"):
        push_to_hub(tmp_path / "bare", "me/none")
