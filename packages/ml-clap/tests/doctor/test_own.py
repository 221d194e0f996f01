"""What only ml-clap's doctor looks at: indexes, models, manifests."""

import json
from importlib.metadata import metadata, requires
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ml_clap.doctor.doctor import _places
from ml_clap.doctor.own import EXTRAS, look_at
from ml_clap.files import write_json
from ml_clap.search.store import Entry, IndexSettings, IndexWriter, writing
from ml_clap.search.vectors import NpyLog
from safetensors.numpy import save_file


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
    assert finding.command == f"mv {index} {index}.broken"


@pytest.mark.parametrize("damage", ["vectors", "spans", "header", "entries", "values"])
def test_vectors_windows_and_clips_must_fit_each_other(index: Path, damage: str) -> None:
    vectors, spans = index / "vectors-000000.npy", index / "spans-000000.npy"
    whole = vectors.read_bytes()
    if damage == "vectors":
        vectors.write_bytes(whole[:-1])
    elif damage == "spans":
        spans.write_bytes(spans.read_bytes()[:-1])
    elif damage == "header":  # of an index with fewer windows
        NpyLog.create(vectors, np.dtype("float32"), (2,)).close()
    elif damage == "entries":
        (index / "entries-000000.jsonl").write_bytes(b"")
    else:
        vectors.write_bytes(whole[:-8] + b"\xff" * 8)
    [finding] = look_at(index)
    expected = {
        "vectors": "vectors-000000.npy is cut off, 0 of 1 rows are there",
        "spans": "spans-000000.npy is cut off, 0 of 1 rows are there",
        "header": "it has 0 vectors for 1 windows",
        "entries": "a window is of clip 1, and 0 clips are there",
        "values": "vector 1 is not finite",
    }
    assert finding.kind == "fault"
    assert f"is damaged: {expected[damage]}; put it aside, and `ml-clap index " in finding.text
    assert finding.command == f"mv {index} {index}.broken"


def test_vectors_that_a_stopped_run_left_are_no_damage(index: Path) -> None:
    vectors = NpyLog(index / "vectors-000000.npy")
    vectors.append(np.ones((3, 2), np.float32))
    vectors.close()
    assert [one.kind for one in look_at(index)] == ["fault"]
    change(index, complete=False)
    assert [one.kind for one in look_at(index)] == ["note", "ok"]


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


def write_weights(folder: Path, **config: object) -> None:
    folder.mkdir(parents=True)
    save_file({"weight": np.ones(4, np.float32)}, folder / "model.safetensors")
    if config:
        write_json(folder / "config.json", config)


def test_a_text_encoder_is_a_part_and_no_fault(tmp_path: Path) -> None:
    write_weights(tmp_path / "text_encoder", model_type="m2m_100")
    [finding] = look_at(tmp_path / "text_encoder")
    assert finding.kind == "ok"
    assert "a 'm2m_100' of transformers, a part of a model" in finding.text


def test_a_model_without_its_settings_is_named_and_not_its_text_encoder(tmp_path: Path) -> None:
    write_weights(tmp_path / "best")
    write_weights(tmp_path / "best" / "text_encoder", model_type="m2m_100")
    [finding] = [one for place in _places(tmp_path / "best") for one in look_at(place)]
    assert finding.text == f"config.json is missing in {tmp_path / 'best'}"
    assert finding.command == f"ls -l {tmp_path / 'best'}"


def test_a_damaged_model_is_put_aside(tmp_path: Path) -> None:
    write_weights(tmp_path / "encoder", model_type="m2m_100")
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"x")
    assert look_at(tmp_path / "encoder")[0].command == f"mv {tmp_path}/encoder {tmp_path}/encoder.broken"


def test_a_run_of_another_package_is_none_of_this(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"out": "x", "data": {}, "bridge_learning_rate": 1.0})
    [finding] = look_at(tmp_path)
    assert (finding.kind, finding.command) == ("fault", f"ls -l {tmp_path}")
    assert "is no run of ml-clap: `ml-clap train` has no setting bridge_learning_rate" in finding.text


def test_torch_of_sonars_extra_is_told() -> None:
    [pin] = [one for one in requires("ml-clap") or () if one.startswith("torch==")]
    version = pin.partition(";")[0].strip().removeprefix("torch==")
    assert EXTRAS["sonar"].endswith(f"puts torch back to {version}")


def test_every_extra_is_known() -> None:
    assert set(metadata("ml-clap").get_all("Provides-Extra") or ()) == set(EXTRAS)
