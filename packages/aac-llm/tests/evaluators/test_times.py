"""`evaluate --metrics timestamps`: events with their times against those of the references."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.data.manifest import Clip, write_manifest
from aac_llm.data.predictions import Prediction, write_predictions
from aac_llm.data.timestamps import TimedEvent
from aac_llm.evaluators.evaluate import evaluate, evaluate_predictions
from aac_llm.models.captioner_model import CaptionModel

DOG, RAIN = TimedEvent("a dog barks", 0.0, 1.0), TimedEvent("rain falls", 2.0, 4.0)
TIMES = {"a": (DOG, RAIN), "b": (RAIN,), "c": ()}
CAPTIONS = {id: ["a dog barks"] for id in "abcd"}


def predict(**events: tuple[TimedEvent, ...]) -> list[Prediction]:
    return [Prediction(id, None, "a dog barks", timestamps=events.get(id, ())) for id in CAPTIONS]


def test_counts_of_all_clips_give_the_score_and_its_interval() -> None:
    late = replace(RAIN, onset=2.5)
    said = predict(a=(DOG, late), b=(RAIN,), c=(DOG,), d=(DOG, DOG))
    found = evaluate_predictions(
        said, CAPTIONS, metrics=("timestamps",), timestamps=TIMES, compare=predict(a=(DOG,)), bootstrap=40
    )
    # d's times are not known: its two events count nowhere. Found: 2 of 4 written, 2 of 3 there.
    assert found.corpus["timed_event_precision"] == pytest.approx(2 / 4)
    assert found.corpus["timed_event_recall"] == pytest.approx(2 / 3)
    assert found.corpus["timed_event_f1"] == pytest.approx(4 / 7)
    # Segments: 0 and 2, 3 of a, 2, 3 of b are found, 0 of c is not there.
    assert found.corpus["timed_segment_f1"] == pytest.approx(2 * 5 / (6 + 5))
    assert found.corpus["hallucination"] == pytest.approx(1 / 4)
    assert found.corpus["empty_hallucination"] == 1.0
    low, high = found.intervals["timed_event_f1"]
    assert 0 <= low <= found.corpus["timed_event_f1"] <= high <= 1
    assert found.comparison["timed_event_f1"].other == pytest.approx(2 / 4)
    assert "timestamps are of 3 of 4 clips, whose events are known" in found.notes
    # Clips without a value would spoil the page's order, so then none has one.
    assert not any(clip.scores for clip in found.clips)
    assert (found.clips[0].timestamps, found.clips[0].reference_timestamps) == ((DOG, late), (DOG, RAIN))


def test_clips_have_scores_where_all_times_are_known() -> None:
    found = evaluate_predictions(
        predict(a=(DOG,), b=(RAIN,), c=(DOG,)),
        CAPTIONS,
        metrics=("timestamps",),
        timestamps=TIMES | {"d": ()},
        bootstrap=0,
    )
    scores = [clip.scores["timed_event_f1"] for clip in found.clips]
    assert scores == [pytest.approx(2 / 3), 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("events", "times", "reason"),
    [
        ({}, TIMES, "no caption has timestamps; let a captioner"),
        ({"a": (DOG,)}, {}, "the references have no timestamps; name a manifest"),
    ],
)
def test_without_times_it_says_what_to_do(
    events: dict, times: dict, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluate_predictions(
        predict(**events), CAPTIONS, metrics=("timestamps",), timestamps=times, bootstrap=0
    )
    assert reason in str(found.unavailable["timestamps"])
    # Who does not ask for times is not told of them.
    monkeypatch.setattr("aac_llm.evaluators.score_table.METRICS", ("diversity", "timestamps"))
    found = evaluate_predictions(predict(**events), CAPTIONS, timestamps=times, bootstrap=0)
    assert not found.unavailable


def test_the_verb_scores_files_and_a_model(
    tiny_model: CaptionModel, scene_clips: list[Clip], tmp_path: Path
) -> None:
    manifest, captions, report = (tmp_path / name for name in ("m.jsonl", "c.jsonl", "r.json"))
    clips = [replace(clip, timestamps=(DOG,)) for clip in scene_clips[:2]]
    write_manifest(manifest, clips)
    write_predictions(captions, [Prediction(clip.id, None, "a dog", timestamps=(DOG,)) for clip in clips])
    found = evaluate(
        EvaluateConfig(data=captions, references=manifest, metrics=("timestamps",), bootstrap=0, json=report)
    )
    assert found.corpus["timed_event_f1"] == 1.0
    assert json.loads(report.read_text())["results"]["clips"][0]["scores"]["timed_event_f1"] == 1.0
    tiny_model.config = replace(tiny_model.config, timestamps=True)
    tiny_model.save_pretrained(tmp_path / "model")
    settings = EvaluateConfig(
        data=manifest,
        model=str(tmp_path / "model"),
        metrics=("timestamps",),
        timestamps=True,
        max_new_tokens=2,
        num_beams=1,
        bootstrap=0,
        device="cpu",
    )
    # Random weights write no events; what matters is that they were asked for.
    assert "no caption has timestamps" in str(evaluate(settings).unavailable["timestamps"])
    with pytest.raises(ValueError, match="holds them itself"):
        EvaluateConfig(data=captions, timestamps=True)
