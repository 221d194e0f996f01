"""Training of a fluency detector: it learns, resumes exactly, and keeps clips aside to be judged by."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from aac_llm import cli
from aac_llm.config.fluency import FluencyConfig
from aac_llm.metrics.fluency import FluencyDetector
from aac_llm.metrics.fluency_errors import KINDS
from aac_llm.metrics.fluency_folder import is_detector, threshold_of
from aac_llm.models.card_parts import read_scores
from aac_llm.trainers import fluency_trainer
from aac_llm.trainers.fluency import fluency, train_fluency
from aac_llm.trainers.fluency_examples import Example, broken_captions, draw_examples, split_clips
from aac_llm.trainers.fluency_trainer import detection_loss, targets
from audio_common.strict_json import read_records
from hub_kit import page_faults

SOURCES = ("dog barks", "man speaks", "bell rings", "car passes by", "bird sings", "door creaks")
CLIPS = [
    (
        f"a {first} loudly and a {second} in the distance",
        f"the {first} while a {second} slowly number {number}",
    )
    for number, (first, second) in enumerate(
        (one, other) for one in SOURCES for other in SOURCES if one != other
    )
]


class StoppedError(Exception):
    """Stands for a kill."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    update = fluency_trainer.FluencyTrainer._update

    def stop(self: fluency_trainer.FluencyTrainer, number: int) -> torch.Tensor:
        if number == step:
            raise StoppedError
        return update(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(fluency_trainer.FluencyTrainer, "_update", stop)
        with pytest.raises(StoppedError):
            yield


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captions") / "captions.json"
    rows = [{"image_id": clip, "caption": text} for clip, texts in enumerate(CLIPS) for text in texts]
    path.write_text(json.dumps({"annotations": rows}))
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder of 16 dimensions."""
    from aac_llm.models.tiny_encoder import create_tiny_encoder

    folder = tmp_path_factory.mktemp("encoder")
    texts = [text for clip in CLIPS for text in clip]
    model, tokenizer = create_tiny_encoder(texts, vocab_size=200, hidden_size=16, num_layers=2, num_heads=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def config(captions: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> FluencyConfig:
    return FluencyConfig(
        captions=(captions,),
        encoder=str(encoder),
        out=tmp_path_factory.mktemp("detector") / "detector",
        steps=8,
        batch_size=4,
        save_steps=3,
        logging_steps=2,
        device="cpu",
    )


def test_a_killed_training_ends_as_an_undisturbed_one(
    config: FluencyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = replace(config, out=tmp_path / "whole"), replace(config, out=tmp_path / "stopped")
    expected = train_fluency(whole)
    for step in (5, 7):  # after the checkpoints of 3 and 6 updates
        with killed_at(step, monkeypatch):
            train_fluency(stopped)
        assert not is_detector(stopped.out)
    found = train_fluency(stopped)
    assert (found.standard, found.detection) == (expected.standard, expected.detection)
    for name in ("model.safetensors", "log.jsonl", "fluency.json"):
        assert (whole.out / name).read_bytes() == (stopped.out / name).read_bytes(), name
    assert [row["step"] for row in read_records(stopped.out / "log.jsonl")] == [2, 4, 6, 8]
    assert not (stopped.out / "checkpoint").exists()


def test_the_folder_is_a_detector_that_scores_as_the_trained_one(
    config: FluencyConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fluency(config) == 0
    printed = capsys.readouterr().out
    assert "wrong order: found" in printed
    assert "false alarms" in printed
    detector = FluencyDetector.from_pretrained(config.out)
    assert detector.kinds == KINDS
    assert detector.threshold == threshold_of(config.out)
    texts = [CLIPS[0][0], "a dog and and"]
    together = detector.class_probabilities(texts)
    assert together.shape == (2, len(KINDS) + 1)
    alone = np.concatenate([detector.class_probabilities([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert detector.standard == train_fluency(config).standard
    assert detector.threshold == 0.5
    assert ((detector.fault_score(texts) >= 0) & (detector.fault_score(texts) <= 1)).all()
    assert page_faults(config.out) == []
    found = {score.metric: score for score in read_scores(config.out)}
    assert set(found) >= {"found_wrong_order", "false_alarms"}
    assert all(score.low <= score.value <= score.high for score in found.values())  # type: ignore[operator]
    card = (config.out / "README.md").read_text()
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("aac-llm fluency")))
    assert cli.read(command[1:]) == replace(config, out=Path("AGAIN"))


def test_a_finished_training_is_not_repeated_and_other_settings_are_refused(config: FluencyConfig) -> None:
    first = train_fluency(config)
    before = (config.out / "model.safetensors").stat().st_mtime_ns
    assert train_fluency(replace(config, save_steps=5)) == first
    assert (config.out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"learning_rate: None -> 0\.1"):
        train_fluency(replace(config, learning_rate=0.1))


def test_a_folder_of_another_model_is_left_alone(config: FluencyConfig, encoder: Path) -> None:
    with pytest.raises(ValueError, match="holds a model of another kind"):
        train_fluency(replace(config, out=encoder))


def test_a_detector_without_an_encoder_learns(captions: Path, tmp_path: Path) -> None:
    config = FluencyConfig(
        captions=(captions,),
        out=tmp_path / "detector",
        steps=40,
        batch_size=16,
        learning_rate=2e-3,
        held_out=0.3,
        false_alarms=0.1,
        device="cpu",
    )
    result = train_fluency(config)
    losses = [row["loss"] for row in read_records(config.out / "log.jsonl")]
    assert losses[-1] < 0.8 * losses[0]
    assert result.detection.recall["repeated_adverb"] > 0.5


def test_the_opinion_of_another_detector_is_learned(config: FluencyConfig, tmp_path: Path) -> None:
    scores = tmp_path / "scores.jsonl"
    rows = [{"caption": text, "error_probability": 1.0} for texts in CLIPS[:8] for text in texts]
    scores.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [text for clip in CLIPS[:8] for text in clip]
    means = []
    for scored in (None, scores):
        out = tmp_path / f"out{len(means)}"
        settings = replace(config, out=out, scores=scored, steps=30, learning_rate=1e-2)
        train_fluency(settings)
        means.append(FluencyDetector.from_pretrained(out).error_probability(texts).mean())
    assert means[1] > means[0] + 0.05


def test_clips_are_kept_aside_whole_and_what_training_has_seen_is_left_out() -> None:
    clips = [*CLIPS, *CLIPS[:3]]  # three clips of the same captions
    parts = split_clips(clips, 0.4, 0)
    aside = {text for half in parts.held_out for text in half}
    assert not aside & set(parts.train)
    assert len(parts.train) + sum(map(len, parts.held_out)) + parts.num_shared == 2 * len(clips)
    for texts in CLIPS:
        assert len({text in aside for text in texts}) == 1
    with pytest.raises(ValueError, match="expected captions of at least 3 clips, got 2"):
        split_clips(CLIPS[:2], 0.2, 0)


def test_an_update_has_every_caption_and_as_many_errors() -> None:
    texts = [text for clip in CLIPS for text in clip]
    examples = draw_examples(texts, 3, 16, seed=1)
    assert examples == draw_examples(texts, 3, 16, seed=1)
    assert [bool(example.kinds) for example in examples] == [False] * 8 + [True] * 8
    seen = [example.text for step in range(15) for example in draw_examples(texts, step, 8, 0)[:4]]
    assert sorted(seen) == sorted(texts)  # a pass over 60 captions
    assert set(broken_captions(texts, 0)) == set(KINDS)


def test_of_another_detectors_opinion_only_the_log_odds_of_any_error_count() -> None:
    examples = [Example("a"), Example("b", frozenset({"wrong_order"})), Example("c", opinion=0.25)]
    wanted, is_opinion = targets(examples, KINDS, 0.125, "cpu")
    assert wanted[:, -1].tolist() == [0.125, 1, 0.25]
    assert wanted[1].tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert is_opinion.tolist() == [False, False, True]
    logits = torch.zeros(3, 7)
    # All outputs say one half; the opinion is 3 to 1 against.
    expected = (2 * np.log(2) + np.log(3) ** 2) / 3 + np.log(2)
    assert float(detection_loss(logits, wanted, is_opinion)) == pytest.approx(expected)
    logits[2, 0] = 100  # does not count
    assert float(detection_loss(logits, wanted, is_opinion)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": ()}, "expected at least one file"),
        ({"batch_size": 3}, "batch_size must be an even number, got 3"),
        ({"held_out": 1.0}, "held_out must be above 0 and below 1"),
        ({"num_layers": 2, "encoder": None}, "num_layers goes with encoder"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"device": "gpu"}, "device must be auto"),
    ],
)
def test_impossible_settings_are_refused(config: FluencyConfig, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)
