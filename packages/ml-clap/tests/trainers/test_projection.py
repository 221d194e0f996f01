"""`ml-clap project`: the map is the exact one, and what does not belong together is refused."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audio_common.config import CEDConfig
from hub_kit import page_faults
from ml_clap import cli
from ml_clap.config.distill import ProjectConfig
from ml_clap.config.model import ModelConfig
from ml_clap.data.texts import Text
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.models.tower import open_tower
from ml_clap.models.tower_folder import TextTowerError
from ml_clap.trainers.projection import fit_projection, make_pairs, project_verb, ridge_regression

WORDS = ["dog", "cat", "bird", "bell", "horn", "rain", "wind", "sea", "car", "train"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `model`, another encoder in `encoder`, a hundred texts in `texts.txt`."""
    folder = tmp_path_factory.mktemp("project")
    texts = [f"{one} and {other}" for one in WORDS for other in WORDS]
    (folder / "texts.txt").write_text("\n".join(texts))
    for name, dim in (("text", 16), ("encoder", 24)):
        create_small_text_encoder(folder / name, texts, vocab_size=60, dim=dim, layers=1, heads=2, seed=dim)
    torch.manual_seed(0)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(folder / "text"), embed_dim=8))
    model.save_pretrained(folder / "model")
    return folder


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> ProjectConfig:
    return ProjectConfig(
        texts=(folder / "texts.txt",),
        out=tmp_path / "projection",
        encoder=str(folder / "encoder"),
        model=str(folder / "model"),
        validation_share=0.2,
        device="cpu",
    )


def test_a_linear_map_is_found_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 6, generator=generator)
    weight, bias = torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)
    found = ridge_regression(features, features @ weight.T + bias, 1e-9)
    torch.testing.assert_close(found[0], weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], bias, atol=1e-4, rtol=1e-4)


def test_the_ridge_is_that_of_its_equation() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(20, 3, generator=generator).double(), torch.randn(20, 2, generator=generator).double()
    x_c, y_c = x - x.mean(0), y - y.mean(0)
    strength = 0.5 * (x_c.T @ x_c).diagonal().mean()
    # The same least squares with the ridge as further rows.
    rows = torch.cat([x_c, strength.sqrt() * torch.eye(3, dtype=torch.float64)])
    expected = torch.linalg.lstsq(rows, torch.cat([y_c, torch.zeros(3, 2, dtype=torch.float64)])).solution
    torch.testing.assert_close(ridge_regression(x, y, 0.5)[0], expected.T.float())


def test_the_projection_answers_in_the_models_space(
    config: ProjectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    project_verb(config)
    said = capsys.readouterr().out
    assert f"projection: {config.out} (" in said
    tower = open_tower(config.out)
    assert tower.settings.scores is not None
    assert tower.settings.scores["mean"] > 50.0
    assert f"eng_Latn {tower.settings.scores['eng_Latn']:.1f}" in said
    model = MLCLAP.from_pretrained(config.model)
    assert tower.settings.fingerprint == model.fingerprint()
    texts = ["dog and rain", "bell and sea"]
    cosines = (tower.encode(texts) * model.encode_text(texts).numpy()).sum(axis=1)
    assert np.all(cosines > 0.8)
    # The encoder stays where it is: a few thousand numbers are all that is written.
    written = [path for path in config.out.rglob("*") if path.is_file() and path.name != "README.md"]
    assert sum(path.stat().st_size for path in written) < 5000
    assert page_faults(config.out) == []
    card = (config.out / "README.md").read_text()
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("ml-clap project")))
    assert cli.read(command[1:]) == replace(config, out=Path("AGAIN"))


def test_another_encoder_in_its_place_is_refused(folder: Path, config: ProjectConfig, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder / "encoder", tmp_path / "encoder")
    fit_projection(replace(config, encoder=str(tmp_path / "encoder")))
    create_small_text_encoder(tmp_path / "encoder", WORDS, vocab_size=60, dim=24, layers=1, heads=2, seed=5)
    with pytest.raises(TextTowerError, match="weights or tokenizer are others now"):
        open_tower(config.out)


def test_translations_pair_with_what_the_model_reads() -> None:
    texts = [
        Text("a dog", "eng_Latn", "1", 0),
        Text("a hound", "eng_Latn", "1", 1),
        Text("un chien", "fra_Latn", "1", 0),
        Text("ein Hund", "deu_Latn", "2", 0),
    ]
    pairs = [(pair.source.text, pair.text.text) for pair in make_pairs(texts, "en")]
    assert pairs == [("a dog", "a dog"), ("a hound", "a hound"), ("a dog", "un chien")]
    assert [pair.source for pair in make_pairs(texts, None)] == texts


def test_a_folder_of_something_else_is_not_replaced(config: ProjectConfig) -> None:
    config.out.mkdir()
    (config.out / "precious.txt").write_text("x")
    with pytest.raises(TextTowerError, match="holds something else"):
        fit_projection(config)
    assert (config.out / "precious.txt").read_text() == "x"


def test_a_projection_is_replaced_by_a_new_one(config: ProjectConfig) -> None:
    fit_projection(config)
    before = json.loads((config.out / "text_tower.json").read_text())
    fit_projection(replace(config, seed=1))
    assert json.loads((config.out / "text_tower.json").read_text())["scores"] != before["scores"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"texts": ()}, "texts: name at least one"),
        ({"validation_share": 1.0}, "validation_share must be between"),
        ({"max_text_tokens": 600}, "max_text_tokens must be 3 to 512"),
    ],
)
def test_impossible_settings_are_refused(config: ProjectConfig, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(config, **changed)


def test_no_pairs_is_an_error(config: ProjectConfig) -> None:
    with pytest.raises(ValueError, match="no clip has captions in jpn_Jpan"):
        fit_projection(replace(config, source_language="jpn_Jpan"))
