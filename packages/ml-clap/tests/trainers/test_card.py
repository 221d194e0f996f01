"""The cards of a training: what made the model, how good it is, and a page on the hub."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hub_kit import folder_hub, page_faults
from ml_clap import cli
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.train import TrainConfig
from ml_clap.data.manifest import read_clips
from ml_clap.evaluators.evaluate import evaluate
from ml_clap.models.card_parts import read_scores
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.train import train


@pytest.fixture(scope="module")
def config(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A training that has ended."""
    out = tmp_path_factory.mktemp("card") / "run"
    settings = cli.read(["train", "--config", str(tiny_recipe), "--out", str(out), "--max_steps", "2"])
    assert isinstance(settings, TrainConfig)
    train(settings)
    return settings


def test_the_card_says_what_made_the_model_and_its_command_trains_it_again(config: TrainConfig) -> None:
    best, last = config.out / "best", config.out / "last"
    card = (last / "README.md").read_text()
    clips = read_clips(config.data.train, config.data.train_splits)
    assert f"| training | {config.data.train[0].name} | {len(clips)} |" in card
    assert f"2 updates, seed {config.seed}" in card
    scores = {score.metric: score for score in read_scores(best)}
    assert set(scores) >= {"map10_text_to_audio", "map10_audio_to_text"}
    for score in scores.values():
        assert score.low is not None
        assert score.high is not None
        assert score.low <= score.value <= score.high
    assert read_scores(last) == []
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("ml-clap train")))
    assert cli.read(command[1:]) == replace(config, out=Path("AGAIN"))
    assert page_faults(best) == page_faults(last) == []


def test_scores_of_a_test_are_added(config: TrainConfig) -> None:
    asked = EvaluateConfig(
        data=config.data.validation[0],
        model=str(config.out),
        split=(config.data.validation_splits or (None,))[0],
        bootstrap=10,
        device="cpu",
        card=True,
    )
    report = evaluate(asked)
    added = {(score.metric, score.split): score for score in read_scores(config.out / "best")}
    for code, result in report.languages.items():
        found = added["r1_text_to_audio", " ".join(filter(None, (asked.split, code)))]
        assert found.value == result.text_to_audio.r1
        assert (found.low, found.high) == result.text_to_audio.intervals["r1"]
    with pytest.raises(ValueError, match="card: scores go to the card of a model's folder"):
        replace(asked, model="owner/name")


def test_what_is_pushed_to_the_hub_is_a_page_and_is_what_is_pulled(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = folder_hub(monkeypatch, tmp_path)
    model = MLCLAP.from_pretrained(config.out)
    assert model.push_to_hub("us/small", private=False) == "https://hub/us/small/commit/1"
    assert hub.made == [("us/small", False, True)]
    assert page_faults(tmp_path / "us" / "small") == []
    pulled = MLCLAP.from_pretrained("us/small")
    assert pulled.fingerprint() == model.fingerprint()
    assert pulled.card == model.card == (config.out / "best" / "README.md").read_text()
