"""What only ml-clap's doctor looks at: indexes, models, manifests."""

import json
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ml_clap.doctor.own import EXTRAS, look_at
from ml_clap.search.store import Entry, IndexSettings, IndexWriter, writing


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600) + 0.1, 16_000)
    return tmp_path / "a.wav"


@pytest.fixture
def index(tmp_path: Path, sound: Path) -> Path:
    """An index of one sound and one window."""
    folder = tmp_path / "index"
    settings = IndexSettings(
        model=str(tmp_path),
        fingerprint="f",
        dim=2,
        dtype="float32",
        window_seconds=10.0,
        hop_seconds=10.0,
        source=str(tmp_path),
        root=str(tmp_path),
        complete=True,
    )
    with writing(folder):
        writer = IndexWriter.create(folder, settings)
        writer.add_entries([Entry("a", "a.wav", sound.stat().st_size, 0, "", 0.1)])
        writer.add_windows([(0, 0.0, 0.1)], np.array([[1.0, 0.0]], np.float32))
        writer.close()
    return folder


def change(index: Path, **settings: object) -> None:
    path = index / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_whole_index_is_well(index: Path) -> None:
    [finding] = look_at(index)
    assert finding.kind == "ok"
    assert "1 clips, 1 windows of 10 s" in finding.text


def test_what_does_not_fit_an_index_any_more_is_named(index: Path, sound: Path) -> None:
    change(index, complete=False, model="/gone/model", format=1)
    sound.write_bytes(b"other")
    texts = [one.text for one in look_at(index)]
    assert "is not complete" in texts[0]
    assert "its model /gone/model is not there" in texts[1]
    assert "has format 1" in texts[2]
    assert "1 of 1 sounds were changed since" in texts[3]
    sound.unlink()
    assert "1 of 1 sounds are not there" in look_at(index)[3].text
    assert look_at(index)[0].command == f"ml-clap index {index.parent} --out {index}"


@pytest.mark.parametrize("damage", ["index.json", "vectors-000000.npy", "entries-000000.jsonl"])
def test_a_damaged_index_is_made_anew(index: Path, damage: str) -> None:
    (index / damage).write_bytes(b"{}\n")
    [finding] = look_at(index)
    assert finding.kind == "fault"
    assert finding.command.startswith("rm -r ")


def test_an_index_that_is_being_written_is_left_alone(index: Path) -> None:
    with writing(index):
        [finding] = look_at(index)
    assert "is writing" in finding.text


def test_rows_and_sounds_of_a_manifest_are_looked_at(tmp_path: Path, sound: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    row = {"id": "a", "audio": "a.wav", "captions": {"fra": ["Un chien."]}, "split": "test"}
    rows = [row, row, row | {"id": "b", "audio": "gone.wav"}]
    manifest.write_text("".join(json.dumps(one) + "\n" for one in rows))
    bad, good, missing = look_at(manifest)
    assert "m.jsonl:2: id 'a' is already that of line 1" in bad.text
    assert good.text.endswith("2 clips can be read; splits: test; captions: fra_Latn")
    assert "1 of 2 sounds are missing" in missing.text
    assert missing.command == f"ml-clap prepare jsonl {manifest} --out {tmp_path}/m.checked.jsonl"
    manifest.write_text("")
    assert look_at(manifest)[0].kind == "fault"


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "has no space for sounds and texts" in look_at(tmp_path)[0].text


def test_every_extra_is_known() -> None:
    assert set(metadata("ml-clap").get_all("Provides-Extra") or ()) == set(EXTRAS)
