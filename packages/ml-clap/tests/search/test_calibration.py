"""A threshold keeps the rate of false positives that was asked for, on data that it has not seen, too."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_common.config import CEDConfig
from ml_clap import Retriever
from ml_clap.checks import check_calibrate
from ml_clap.config.calibrate import CalibrateConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.search import SearchConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.answers import SearchResult, choose_thresholds, say_rejected
from ml_clap.search.calibrate import calibrate, score_clips
from ml_clap.search.calibration import (
    Calibration,
    CalibrationError,
    LanguageCalibration,
    calibrate_scores,
    false_positive_rate,
)
from ml_clap.search.queries import Query
from ml_clap.search.search import search, search_verb
from ml_clap.search.updating import update_index

RATE = 16_000


def scores_of(num_texts: int, num_sounds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Right pairs score 1 above wrong ones, which are normal."""
    generator = np.random.default_rng(seed)
    right = np.arange(num_texts)[:, None] == np.arange(num_sounds)
    return generator.normal(size=(num_texts, num_sounds)).astype(np.float32) / 8 + 0.4 * right, right


@pytest.fixture(scope="module")
def calibrated() -> LanguageCalibration:
    scores, right = scores_of(400, 400, 0)
    return calibrate_scores(scores, right, range(400), 0.05, num_samples=30)


@pytest.mark.parametrize("size", [1, 16, 256, 399])
def test_the_rate_holds_on_other_data_at_every_size(calibrated: LanguageCalibration, size: int) -> None:
    scores, right = scores_of(400, 400, 1)
    threshold, is_extrapolated = calibrated.threshold(size)
    measured = false_positive_rate(np.where(right, -np.inf, scores), threshold, size).mean()
    assert 0.02 < measured < 0.09, measured
    assert not is_extrapolated


def test_the_rate_on_its_own_data_is_at_most_what_was_asked_for(calibrated: LanguageCalibration) -> None:
    scores, right = scores_of(400, 400, 0)
    wrong = np.where(right, -np.inf, scores)
    for point in calibrated.points:
        rate = false_positive_rate(wrong, point.threshold, point.num_windows).mean()
        assert 0.04 < rate <= 0.05 + 1e-9, point
        assert point.low <= point.threshold <= point.high
    # the share of wrong pairs, counted plainly
    assert (wrong >= calibrated.points[0].threshold).sum() / (~right).sum() <= 0.05


def test_the_rate_of_a_size_is_that_of_drawn_archives(calibrated: LanguageCalibration) -> None:
    scores, right = scores_of(60, 60, 2)
    generator = np.random.default_rng(0)
    drawn = []
    for row, is_right in zip(scores, right, strict=True):
        wrong = row[~is_right]
        drawn += [(generator.permutation(wrong)[:10] >= 0.2).any() for _ in range(300)]
    exact = false_positive_rate(np.where(right, -np.inf, scores), 0.2, 10).mean()
    assert exact == pytest.approx(np.mean(drawn), abs=0.01)


def test_thresholds_rise_with_the_archive_and_beyond_it(calibrated: LanguageCalibration) -> None:
    values = [calibrated.threshold(size)[0] for size in (1, 3, 64, 399, 10_000)]
    assert values == sorted(values)
    threshold, is_extrapolated = calibrated.threshold(10_000)
    assert is_extrapolated
    other, right = scores_of(40, 10_001, 3)
    measured = false_positive_rate(np.where(right, -np.inf, other), threshold, 10_000).mean()
    assert measured < 0.2  # the line over log n is near enough for 25 times the sounds


def test_too_few_texts_or_sounds_are_refused() -> None:
    scores, right = scores_of(10, 10, 0)
    with pytest.raises(CalibrationError, match=r"10 texts are too few for a rate of 0\.05: at least 20"):
        calibrate_scores(scores, right, range(10), 0.05)
    with pytest.raises(CalibrationError, match="two wrong sounds"):
        calibrate_scores(scores[:, :2], right[:, :2], range(10), 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `model`, 24 tones of a manifest in two languages and two splits, an index of the first."""
    folder = tmp_path_factory.mktemp("calibration")
    texts = [f"a tone number {n}" for n in range(12)] + ["un ton"]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=60, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).eval()
    model.save_pretrained(folder / "model")
    clips = []
    for n in range(24):
        path = folder / "sounds" / f"{n:02d}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.3 * np.sin(np.arange(RATE) * 0.02 * (n + 2)), RATE)
        captions = {"eng_Latn": (f"a tone number {n % 12}",), "fra_Latn": (f"un ton {n}", f"le ton {n}")}
        clips.append(Clip(id=f"{n}", audio=path, captions=captions, split="validation" if n < 12 else "test"))
    write_manifest(folder / "all.jsonl", clips)
    write_manifest(folder / "one.jsonl", clips[:12])
    update_index(model, folder / "one.jsonl", folder / "index", model_name=str(folder / "model"))
    return folder


def test_equal_captions_and_labels_are_right_answers(folder: Path) -> None:
    from ml_clap.data.manifest import read_manifest

    clips = read_manifest(folder / "all.jsonl")
    clips[1] = dataclasses.replace(clips[1], label="x")
    clips[5] = dataclasses.replace(clips[5], label="x")
    scored, bad = score_clips(MLCLAP.from_pretrained(folder / "model"), clips, ["eng_Latn", "fra_Latn"])
    right = scored["eng_Latn"].right
    assert right[0].nonzero()[0].tolist() == [0, 12]
    assert right[1].nonzero()[0].tolist() == [1, 5, 13]
    assert scored["fra_Latn"].scores.shape == (48, 24)
    assert not bad


def test_the_command_writes_what_a_search_then_uses(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    place = folder / "model" / "calibration.json"
    settings = {"data": folder / "all.jsonl", "model": str(folder / "model"), "device": "cpu"}
    try:
        report = calibrate(
            CalibrateConfig(
                **settings, split="validation", held_out="test", false_positives=0.25, languages=("fr",)
            )  # type: ignore[arg-type]
        )
        printed = capsys.readouterr().out
        assert "Thresholds for 25 % false positives" in printed
        assert str(place) in printed.replace("\n", "")
        record = json.loads(place.read_text())
        assert record["fingerprint"] == report.calibration.fingerprint
        language = report.calibration.languages["fra_Latn"]
        assert (language.num_texts, language.num_clips) == (24, 12)
        assert (language.num_right_pairs, language.num_wrong_pairs) == (24, 24 * 11)
        held = report.held_out["fra_Latn"]
        assert held.num_windows == 11
        assert held.low <= held.false_positives <= held.high

        queries = ("un ton", "un ton 3")
        config = SearchConfig(index=folder / "index", query=queries, lang="fr", device="cpu")
        search(config)  # the first one notes that NumPy embeds texts as torch does, and the others use it
        low, high = search(dataclasses.replace(config, threshold="none"))
        threshold = language.threshold(12)[0]
        for found, all_hits in zip(search(config), (low, high), strict=True):
            assert found == [hit for hit in all_hits if hit.score >= threshold]
        (result,) = Retriever.from_pretrained(folder / "model").search(folder / "index", "un ton", lang="fr")
        assert result.threshold == pytest.approx(threshold)
        retriever = Retriever.from_pretrained(folder / "model")
        (fixed,) = retriever.search(folder / "index", "un ton", lang="fr", threshold=1.0)
        assert (fixed.hits, fixed.num_rejected) == ([], 10)
        with pytest.raises(ValueError, match="threshold: a number"):
            retriever.search(folder / "index", "un ton", threshold="high")
        caplog.clear()
        search(dataclasses.replace(config, lang="en", audio=(folder / "sounds" / "00.wav",)))
        assert "not calibrated, so every score is a hit: eng_Latn, sounds and composed queries" in caplog.text

        elsewhere = place.rename(tmp_path / "moved.json")
        assert search(dataclasses.replace(config)) == [low, high]
        moved = search(dataclasses.replace(config, calibration=elsewhere))
        assert moved == [[hit for hit in hits if hit.score >= threshold] for hits in (low, high)]

        place.write_text(json.dumps(record | {"fingerprint": "another"}))
        with pytest.raises(CalibrationError, match=r"calibration\.json is of another model .*another"):
            search(config)
        assert search(dataclasses.replace(config, threshold="none")) == [low, high]
        place.write_text('{"format": 1}')
        with pytest.raises(CalibrationError, match=r"calibration\.json is no calibration"):
            search(config)
    finally:
        place.unlink()


def test_nothing_found_is_said_with_the_best_score_and_no_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hits.json"
    config = SearchConfig(
        index=folder / "index", query=("a tone",), threshold="0.9999", device="cpu", json=out, top_k=3
    )
    assert search_verb(config) == 0
    assert "nothing found: the best score is " in capsys.readouterr().out
    (query,) = json.loads(out.read_text())["queries"]
    assert (query["hits"], query["threshold"], query["num_rejected"]) == ([], 0.9999, 3)
    (best,) = search(dataclasses.replace(config, threshold="none", json=None))
    assert query["best_rejected"] == best[0].score
    between = (best[0].score + best[1].score) / 2
    (found,) = search(dataclasses.replace(config, threshold=str(between), json=None))
    assert found == best[:1]
    assert "2 more clips not shown: the best scores" in capsys.readouterr().out


def test_what_cannot_be_calibrated_is_refused(folder: Path, tmp_path: Path) -> None:
    settings = {"data": folder / "all.jsonl", "model": str(folder / "model")}
    with pytest.raises(ValueError, match="false_positives must be between 0 and 1, got 5"):
        CalibrateConfig(**settings, false_positives=5.0)  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match=r"no clip has captions in deu_Latn; .* eng_Latn, fra_Latn"):
        calibrate(CalibrateConfig(**settings, split="all", languages=("de",)))  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match="owner/name is no folder to keep the calibration in"):
        calibrate(CalibrateConfig(**(settings | {"model": "owner/name"}), split="all"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has the splits test, validation"):
        calibrate(CalibrateConfig(**settings))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        check_calibrate(CalibrateConfig(**(settings | {"data": Path("nowhere.jsonl")})))  # type: ignore[arg-type]
    out = tmp_path / "few.json"
    calibrate(
        CalibrateConfig(**settings, split="all", limit=12, false_positives=0.5, out=out, bootstrap=2)  # type: ignore[arg-type]
    )
    assert json.loads(out.read_text())["languages"]["fra_Latn"]["num_clips"] == 12


@pytest.mark.parametrize("threshold", ["high", "1.5", "nan", ""])
def test_a_threshold_that_is_none_is_refused(threshold: str) -> None:
    with pytest.raises(ValueError, match="threshold: a number from -1 to 1, auto or none"):
        SearchConfig(index=Path("i"), query=("a",), threshold=threshold)


def test_what_is_said_of_thresholds(calibrated: LanguageCalibration) -> None:
    whole = Calibration(
        model="m", fingerprint="f", data="d", false_positives=0.05, languages={"eng_Latn": calibrated}
    )
    composed = Query("a", plus=(Query("b"),))
    thresholds, notices = choose_thresholds([Query("a"), composed], whole, 5000)
    assert (thresholds[1], len(notices)) == (None, 2)
    assert math.isclose(thresholds[0] or 0, calibrated.threshold(5000)[0])
    assert "extrapolated from 399 windows to 5,000" in notices[1]
    assert choose_thresholds([Query("a")], None, 10) == ([None], [])
    assert say_rejected(SearchResult(Query("a"), [])) == "nothing found: no clip passes the filter"
