"""Model folders that anybody may have made are refused in one line that names the file, and at once."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audio_common.config import CEDConfig
from ml_clap.config.model import ModelConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    texts = ["a dog barks", "rain on a roof"]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=40, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(
        folder / "model"
    )
    return folder / "model"


def changed(path: Path, keys: str, value: Any) -> None:
    """Set a value in a JSON file, by the dotted name of its place."""
    content = json.loads(path.read_text())
    *outer, last = keys.split(".")
    place = content
    for key in outer:
        place = place[key]
    place[last] = value
    path.write_text(json.dumps(content))


OWN = "config.json"
TEXT = "text_encoder/config.json"


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        *(
            (OWN, "model.audio.depth", value)
            for value in (10**6, 2**62, 10**99, 0, -1, "12", None, [], 2.5, True)
        ),
        *((OWN, "model.audio.embed_dim", value) for value in (10**6, "32", {})),
        *((OWN, "model.embed_dim", value) for value in (10**9, "24", None)),
        (OWN, "model.audio.num_classes", 1.5),
        *((OWN, "format_version", value) for value in ("1", None, 99)),
        *((OWN, "omitted", value) for value in ("text", [["x"]], None)),
        (OWN, "channel", "left"),
        (OWN, "model.audio.labels", [1, 2]),
        (OWN, "model.text_prefix", 3),
        *((TEXT, "encoder_layers", value) for value in (10**6, 10**99, 0, -1, "1", None, [])),
        *((TEXT, "d_model", value) for value in (10**6, 0, -1, "16")),
        *((TEXT, "encoder_attention_heads", value) for value in (0, "2", 10**9)),
        *((TEXT, "pad_token_id", value) for value in (10**6, -1, None, "1", [])),
        (TEXT, "max_position_embeddings", 2**62),
    ],
)
def test_a_setting_of_another_kind_or_size_is_named(
    model: Path, tmp_path: Path, file: str, key: str, value: Any
) -> None:
    shutil.copytree(model, tmp_path / "m")
    changed(tmp_path / "m" / file, key, value)
    with pytest.raises(ValueError, match=key.rpartition(".")[2]) as error:
        MLCLAP.from_pretrained(tmp_path / "m")
    assert str(tmp_path / "m") in str(error.value)


@pytest.mark.parametrize("file", [OWN, TEXT, "text_encoder/sonar_languages.json", "model.safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"null", b'"text"', b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe\0", b"\0" * 64],
    ids=["empty", "null", "text", "deep", "nan", "twice", "utf-16", "zeros"],
)
def test_a_damaged_file_is_named(model: Path, tmp_path: Path, file: str, content: bytes) -> None:
    shutil.copytree(model, tmp_path / "m")
    (tmp_path / "m" / file).write_bytes(content)
    with pytest.raises(ValueError, match="m"):
        MLCLAP.from_pretrained(tmp_path / "m")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("text_encoder/sentencepiece.bpe.model", lambda path: path.write_bytes(b"noise")),
        ("text_encoder/sonar_languages.json", make_pipe),
        ("text_encoder/sonar_languages.json", lambda path: path.write_bytes(b"[]")),
        ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-100])),
        ("model.safetensors", lambda path: path.write_bytes((2**60).to_bytes(8, "little") + b"{}")),
    ],
)
def test_other_damage_is_named(
    model: Path, tmp_path: Path, file: str, damage: Callable[[Path], object]
) -> None:
    shutil.copytree(model, tmp_path / "m")
    damage(tmp_path / "m" / file)
    with pytest.raises(ValueError, match=file.rpartition("/")[2].partition(".")[0]):
        MLCLAP.from_pretrained(tmp_path / "m")


def test_weights_that_do_not_fit_are_named_before_memory_is_taken(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "m")
    changed(tmp_path / "m" / OWN, "model.audio.embed_dim", 64)
    with pytest.raises(ValueError, match=r"do not fit the model: audio_encoder.*; and \d+ more"):
        MLCLAP.from_pretrained(tmp_path / "m")
