"""Clips with several classes: average precision by hand, ties, and `classify` on a manifest of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from hypothesis import given
from hypothesis import strategies as st
from ml_clap import cli
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.evaluators.multi_label import average_precision, measure_ranking, tag_matrix
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

LABELS = ["dog", "rain", "bell"]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_that_of_its_definition(drawn: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in drawn], float)
    truth = np.array([is_one for _, is_one in drawn])
    if not truth.any():
        return
    ranked = sorted(zip(scores, truth, strict=True), key=lambda item: (-item[0], item[1]))
    found = [is_one for _, is_one in ranked]
    precisions = [sum(found[: place + 1]) / (place + 1) for place, is_one in enumerate(found) if is_one]
    assert average_precision(scores, truth) == pytest.approx(sum(precisions) / len(precisions))


def test_what_tells_nothing_apart_scores_about_chance_and_a_perfect_ranking_everything() -> None:
    tags = np.random.default_rng(0).random((200, 3)) < 0.2
    equal = measure_ranking(np.zeros((200, 3)), tags, LABELS)
    assert equal.mean_average_precision < equal.chance
    perfect = measure_ranking(tags.astype(float), tags, LABELS)
    assert perfect.mean_average_precision == 100.0
    assert perfect.num_clips == 200
    without = measure_ranking(tags[:, ::-1].astype(float), tags & np.array([True, False, True]), LABELS)
    assert list(without.average_precision) == ["dog", "bell"]


def test_labels_that_are_no_list_or_unknown_are_named() -> None:
    clip = Clip("a", Path("a.wav"), {"eng_Latn": ("a",)}, extra={"labels": "dog"})
    with pytest.raises(ValueError, match="labels of a must be a list"):
        tag_matrix([clip], LABELS)
    clip.extra["labels"] = ["zither"]
    with pytest.raises(ValueError, match="'zither' is none of the prompts'"):
        tag_matrix([clip], LABELS)


def test_classify_ranks_the_classes_of_clips_that_have_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = []
    for number, labels in enumerate((["dog", "rain"], ["rain"], ["bell"], [])):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.3 * np.sin(np.arange(8000) * (0.02 + number / 9)), 16_000)
        extra = {"labels": labels} if labels else {}
        clips.append(Clip(f"{number}", path, {"eng_Latn": ("a",)}, extra=extra))
    write_manifest(tmp_path / "m.jsonl", clips)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    encoder = create_small_text_encoder(
        tmp_path / "text", LABELS * 9, vocab_size=60, dim=8, layers=1, heads=1
    )
    audio = CEDConfig(embed_dim=16, depth=1, num_heads=1, num_classes=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=8)).save_pretrained(
        tmp_path / "model"
    )
    words = ["classify", str(tmp_path / "m.jsonl"), "--model", str(tmp_path / "model"), "--labels"]
    words += [str(tmp_path / "labels.txt"), "--json", str(tmp_path / "found.json"), "--device", "cpu"]
    cli.main(words)
    found = json.loads((tmp_path / "found.json").read_text())["results"]
    ranking = found["multi_label"]["eng_Latn"]
    assert ranking["num_clips"] == 3
    assert 100 / 3 <= ranking["mean_average_precision"] <= 100
    assert list(ranking["average_precision"]) == LABELS
    assert [Path(each["path"]).name for each in found["predictions"]] == ["3.wav"]
    assert found["languages"] == {}
    assert "Zero-shot ranking" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main([*words, "--plot", str(tmp_path / "x.png")])
    assert "no clip has a label of its own" in capsys.readouterr().err
