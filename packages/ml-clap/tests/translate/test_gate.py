"""The gate: thresholds set and measured on human pairs, right against shuffled."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_common.config import CEDConfig
from ml_clap import MLCLAP
from ml_clap.cli import main
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.translate.gate import (
    Gate,
    Pairs,
    best_threshold,
    measure,
    read_gate,
    remove_centre,
    shuffle_pairs,
    write_gate,
)
from ml_clap.translate.judge import load_judge

E5, STAMPS = "ML_CLAP_TEST_E5", "ML_CLAP_TEST_TUXPAINT"
"""Variables that name the folders of the real judge and of the real human translations."""


def make_pairs(number: int = 40, noise: float = 0.1, dim: int = 16) -> Pairs:
    """Vectors of texts and of their translations around two centres that are far from one another."""
    rng = np.random.default_rng(0)
    meaning = rng.normal(size=(number, dim))
    source = remove_centre(meaning + 10 * np.eye(dim)[0], np.zeros(dim))
    moved = meaning + noise * rng.normal(size=(number, dim))
    target = remove_centre(moved + 10 * np.eye(dim)[1], np.zeros(dim))
    texts = [f"text {n}" for n in range(number)]
    return Pairs(source, target, texts, [f"texte {n}" for n in range(number)])


def test_the_best_threshold_by_hand() -> None:
    assert best_threshold(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == pytest.approx(0.5)
    # 0.3 is lost either way; between 0.4 and 0.8 nothing wrong passes
    assert best_threshold(np.array([0.3, 0.8, 0.9]), np.array([0.1, 0.4])) == pytest.approx(0.6)
    every = np.array([0.5, 0.5])
    assert best_threshold(every, every) in (pytest.approx(0.5), pytest.approx(np.nextafter(0.5, 2)))


def test_shuffles_never_pair_a_text_with_one_that_says_the_same() -> None:
    pairs = make_pairs(12)
    texts = ["a dog", "a dog", *pairs.source_texts[2:]]
    targets = [*pairs.target_texts[:3], pairs.target_texts[2], *pairs.target_texts[4:]]
    wrong = shuffle_pairs(Pairs(pairs.source, pairs.target, texts, targets), 30, np.random.default_rng(0))
    for number, row in enumerate(wrong):
        assert all(texts[other] != texts[number] and targets[other] != targets[number] for other in row)
    same = Pairs(pairs.source, pairs.target, ["a dog"] * 12, targets)
    with pytest.raises(ValueError, match="all captions are translations of 'a dog'"):
        shuffle_pairs(same, 3, np.random.default_rng(0))


def test_pairs_are_told_from_shuffles_though_the_languages_lie_apart() -> None:
    measured = measure(make_pairs(), num_shuffles=10, num_folds=5, seed=0)
    assert measured.accuracy > 99
    assert measured.interval[0] <= measured.accuracy <= measured.interval[1]
    assert measured.false_rejects < 5
    assert measured.ranked_first > 95
    raw = (make_pairs().source * make_pairs().target).sum(axis=1)
    assert raw.max() < measured.similarity  # without the centres no pair of these is alike


def test_noise_is_chance_and_both_failures_are_counted() -> None:
    rng = np.random.default_rng(1)
    pairs = make_pairs(60)
    noise = Pairs(pairs.source, rng.normal(size=pairs.target.shape), pairs.source_texts, pairs.target_texts)
    measured = measure(noise, num_shuffles=20, num_folds=5, seed=0)
    assert 35 < measured.accuracy < 62  # held-out clips: a threshold that fits noise does not help
    assert measured.accuracy == pytest.approx(100 - (measured.false_rejects + measured.false_accepts) / 2)
    assert measured.ranked_first < 15  # chance is 1 of 60
    assert measure(noise, num_shuffles=20, num_folds=5, seed=0) == measured


def test_a_gate_is_read_as_written_and_damage_is_named(tmp_path: Path) -> None:
    pairs = make_pairs()
    measured = measure(pairs, num_shuffles=4, num_folds=4, seed=0)
    gate = Gate(
        judge="judge",
        fingerprint="f",
        source_language="eng_Latn",
        source_centre=pairs.source.mean(axis=0).tolist(),
        languages={"fra_Latn": measured},
    )
    path = tmp_path / "gate.json"
    write_gate(path, gate)
    found = read_gate(path)
    np.testing.assert_allclose(
        found.similarity(pairs.source, pairs.target, "fra_Latn"),
        (
            remove_centre(pairs.source, pairs.source.mean(axis=0))
            * remove_centre(pairs.target, pairs.target.mean(axis=0))
        ).sum(axis=1),
    )
    assert found.threshold("fra_Latn") == found.threshold("deu_Latn") == measured.similarity
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"source_centre": [1.0]}))
    with pytest.raises(ValueError, match="centres of several sizes"):
        read_gate(path)
    path.write_text(json.dumps(record | {"languages": {"fra_Latn": {}}}))
    with pytest.raises(ValueError, match="damaged translation gate"):
        read_gate(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="is no translation gate; `ml-clap gate` makes one"):
        read_gate(path)


@pytest.fixture
def human(tmp_path: Path) -> Path:
    """Twelve clips with captions in three languages, of which two have few."""
    clips = [
        Clip(
            f"c{number}",
            tmp_path / f"{number}.wav",
            {"eng_Latn": (f"A dog barks {number} times.",), "fra_Latn": (f"Un chien aboie {number} fois.",)}
            | ({"deu_Latn": ("Ein Hund bellt.",)} if number < 3 else {}),
        )
        for number in range(12)
    ]
    write_manifest(tmp_path / "human.jsonl", clips)
    return tmp_path / "human.jsonl"


def test_the_verb_measures_every_language_with_enough_pairs(
    human: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "gate.json", tmp_path / "gate.png"
    words = ["gate", str(human), "--judge", str(judge), "--out", str(out), "--device", "cpu"]
    main([*words, "--min_pairs", "10", "--plot", str(plot), "-q"])
    gate = read_gate(out)
    assert list(gate.languages) == ["fra_Latn"]
    assert gate.languages["fra_Latn"].num_pairs == 12
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "fra_Latn" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*words, "--min_pairs", "10", "--languages", "de", "-q"])
    assert "has 3 clips with captions in eng_Latn and deu_Latn; at least 10" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "-q"])
    assert "has no language with 30 clips" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_e5_small_tells_human_translations_from_shuffled_ones(tmp_path: Path) -> None:
    for name, tool in ((E5, "small_models.py e5-small"), (STAMPS, "tuxpaint.py")):
        if name not in os.environ:
            pytest.skip(f"{name} names no folder: shared/tools/{tool} makes one")
    e5, stamps = os.environ[E5], os.environ[STAMPS]
    manifest, out = tmp_path / "manifest.jsonl", tmp_path / "gate.json"
    main(["prepare", "tuxpaint", stamps, "--out", str(manifest), "-q"])
    words = ["gate", str(manifest), "--judge", e5, "--judge_prefix", "query: ", "--out", str(out), "-q"]
    main([*words, "--languages", "fra", "deu", "spa", "nld", "cat", "jpn", "zho"])
    found = read_gate(out).languages
    assert found["deu_Latn"].accuracy > 85
    assert found["fra_Latn"].accuracy > 80
    assert all(one.accuracy > 60 for one in found.values())


def test_a_model_of_ours_judges_with_its_text_tower_and_a_text_encoder_with_its_mean(
    judge: Path, tmp_path: Path
) -> None:
    model = MLCLAP(
        ModelConfig(audio=CEDConfig(embed_dim=16, depth=1, num_heads=2), text_encoder=str(judge), embed_dim=8)
    ).eval()
    model.save_pretrained(tmp_path / "model")
    texts = ["a dog barks twice and rain falls", "un chien", "birds"]
    found = load_judge(str(tmp_path / "model"))
    with torch.inference_mode():
        expected = model.embed_text(texts, "fra_Latn")
    np.testing.assert_allclose(found.embed(texts, "fra_Latn", batch_size=2), expected, atol=1e-5)
    encoder = load_judge(str(judge))
    np.testing.assert_allclose(np.linalg.norm(encoder.embed(texts, "fra_Latn"), axis=1), 1, atol=1e-5)
    assert (
        len({found.fingerprint, encoder.fingerprint, load_judge(str(judge), prefix="query: ").fingerprint})
        == 3
    )
    assert [cut.text for cut in encoder.find_cut(["a dog " * 400, "a dog"])] == ["a dog " * 400]
    with pytest.raises(ValueError, match="has a prefix of its own"):
        load_judge(str(tmp_path / "model"), prefix="query: ")
