"""What is asked of the hub; nothing is downloaded."""

from pathlib import Path

import pytest
from audio_common.hub import fetch


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    calls: list = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **kw: calls.append((name, kw)) or str(tmp_path)
    )
    return calls


def test_a_folder_is_taken_as_it_is(tmp_path: Path, asked: list) -> None:
    assert fetch(tmp_path, ["*.json"], kind="dataset") == tmp_path
    assert asked == []


def test_a_data_set_is_asked_for_as_one_and_a_model_as_before(tmp_path: Path, asked: list) -> None:
    assert fetch("owner/name@1a2b", ["*.parquet"], kind="dataset") == tmp_path
    fetch("owner/name", ["*.json"])
    data = {"revision": "1a2b", "allow_patterns": ["*.parquet"], "repo_type": "dataset"}
    assert asked == [("owner/name", data), ("owner/name", {"revision": None, "allow_patterns": ["*.json"]})]
