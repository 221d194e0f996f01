"""What a source is, and that each kind loads by its real names; weights are synthetic."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ml_clap.models.loading import check_model, kind_of, load_model

Writer = Callable[..., Path]


@pytest.fixture(scope="module")
def clap(write_clap: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clap(tmp_path_factory.mktemp("clap"))


def test_a_clap_loads_and_its_licence_is_logged(clap: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ml_clap"):
        model = load_model(clap, device="cpu")
    assert model.kind == "CLAP of transformers"
    assert f"{clap} (CLAP of transformers): licence of the weights: unknown" in caplog.text


def test_a_folder_is_known_by_the_authors_file_names(tmp_path: Path) -> None:
    patches = {"audio_encoder.model.patch_embed.proj.weight": torch.zeros(2, 1, 64, 4)}
    (tmp_path / "glap").mkdir()
    torch.save({"model": patches}, tmp_path / "glap" / "glap_checkpoint.pt")
    assert kind_of(tmp_path / "glap") == "glap"
    (tmp_path / "both").mkdir()
    for name in ("pretrain.pt", "clotho_finetune_le_mixture.pt"):
        torch.save({"temperature": torch.zeros(1)}, tmp_path / "both" / name)
    assert kind_of(tmp_path / "both" / "pretrain.pt") == "ml-clap"
    with pytest.raises(ValueError, match=r"holds several models \(pretrain.pt, clotho_finetune"):
        check_model(tmp_path / "both")


def test_a_name_of_the_authors_that_is_missing_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"zenodo\.org/records/15493136/files/glap_checkpoint\.pt"):
        load_model(tmp_path / "glap_checkpoint.pt", device="cpu")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "is not a model folder of ml-clap"),
        ({"config.json": '{"model_type": "bert"}'}, "'bert' of transformers, which has no space for sounds"),
        ({"config.json": '{"format": "ml-clap", "format_version": 99}'}, "update ml-clap"),
    ],
)
def test_what_is_no_model_is_refused_before_its_weights(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        check_model(tmp_path)


def test_the_mode_is_of_ml_clap_alone(clap: Path) -> None:
    with pytest.raises(ValueError, match="mode is of ML-CLAP alone"):
        load_model(clap, device="cpu", mode="reference")


def test_a_repository_of_the_hub_is_told_by_its_small_files(
    clap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def fetch(source: str, patterns: Any) -> Path:
        asked.append(tuple(patterns))
        return clap

    monkeypatch.setattr("ml_clap.models.text_source.fetch", fetch)
    assert load_model("laion/clap-htsat-unfused@main", device="cpu").kind == "CLAP of transformers"
    assert asked[0] == ("config.json", "modules.json")
    assert "preprocessor_config.json" in asked[1]
