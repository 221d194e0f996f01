"""An archive of odd names and long files behind a running server, with a model of random weights."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from serving_kit import browser, running

RATE = 16_000
ODD_NAME = "rain #1 ${1+1} {{value}} <b>.wav"
QUERIES = ("a dog barks", "un chien aboie", "rain falls", "ein Hund bellt")


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 4 s windows: files of 10 s in two folders, one in a format that browsers do not play."""
    import torch
    from audio_common.config import CEDConfig
    from ml_clap.config.model import ModelConfig
    from ml_clap.data.languages import SONAR_LANGUAGES
    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.models.text_encoder import create_small_text_encoder
    from ml_clap.search.updating import update_index

    folder = tmp_path_factory.mktemp("served")
    encoder = create_small_text_encoder(
        folder / "text", list(QUERIES), vocab_size=80, dim=16, layers=1, heads=2, languages=SONAR_LANGUAGES
    )
    torch.manual_seed(0)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).eval()
    model.save_pretrained(folder / "model")
    for number, name in enumerate(
        ("day/0.wav", "day/1.flac", f"day/{ODD_NAME}", "night/late/2.ogg", "night/old.aiff")
    ):
        path = folder / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).normal(size=10 * RATE)
        tone = np.sin(2 * np.pi * (200 + 300 * number) * np.arange(10 * RATE) / RATE)
        soundfile.write(path, 0.05 * noise + 0.1 * tone, RATE)
    update_index(
        model, folder / "recordings", folder / "index", model_name=str(folder / "model"), window_seconds=4.0
    )
    return folder


@pytest.fixture(scope="session")
def served(index_folder: Path) -> Iterator[SimpleNamespace]:
    """The page and the API of `serve` over that index, at a free port.

    It has the server's `address`, the `archive`, the folder of `uploads`, a folder of `sounds` to upload
    (good.wav, bad.wav, long.wav), an `odd_name` among the files, and some `queries`.
    """
    pytest.importorskip("gradio", reason="the extra serve is not installed")
    from ml_clap.config.serve import ServeConfig
    from ml_clap.serving.serve import LOOKS, make_server

    config = ServeConfig(
        index=index_folder / "index", lang="en", top_k=3, device="cpu", port=0, max_seconds=20.0
    )
    with make_server(config) as (server, page, archive):
        with running(server, page, **LOOKS) as url:
            yield SimpleNamespace(
                address=url.rstrip("/"),
                archive=archive,
                uploads=server.uploads.folder,
                sounds=_write_sounds(index_folder / "to_upload"),
                odd_name=ODD_NAME,
                queries=QUERIES,
            )
        assert not server.uploads.folder.exists(), "uploads are left behind"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, started once."""
    with browser() as started:
        yield started


def _write_sounds(folder: Path) -> Path:
    folder.mkdir()
    noise = 0.1 * np.random.default_rng(9).normal(size=3 * RATE)
    soundfile.write(folder / "good.wav", noise, RATE)
    soundfile.write(folder / "long.wav", np.tile(noise, 8), RATE)
    (folder / "bad.wav").write_bytes(b"this is no sound" * 100)
    return folder
