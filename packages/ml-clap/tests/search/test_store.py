"""An index on disk survives a kill between any two writes, and has one writer at a time."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_clap.lock import BusyError
from ml_clap.search import store
from ml_clap.search.store import AudioIndexError, Entry, IndexSettings, IndexWriter, json_line, writing

SETTINGS = IndexSettings(
    model="m",
    fingerprint="f",
    dim=2,
    dtype="float32",
    window_seconds=10,
    hop_seconds=10,
    source="/a",
    root="/a",
)


def entry(name: str) -> Entry:
    return Entry(name, name, 3, 4, "hash of " + name, 12.0, {"fra_Latn": ["un chien"]})


def filled(folder: Path) -> IndexWriter:
    """Three clips of two windows each; a window's vector is (clip, start)."""
    folder.mkdir(exist_ok=True)
    writer = IndexWriter.create(folder, SETTINGS)
    for clip in range(3):
        (number,) = writer.add_entries([entry(str(clip))])
        writer.add_windows([(number, 0.0, 10.0), (number, 2.0, 12.0)], np.array([[clip, 0], [clip, 2]], "f4"))
    return writer


def content(folder: Path) -> list[tuple[str, float, tuple[float, float]]]:
    """What an index says, checked for consistency: (clip, start, vector) of each window."""
    writer = IndexWriter(folder)
    vectors = store.open_rows(store.vectors_path(folder, writer.settings.generation))
    windows = writer.windows()
    assert len(vectors) == len(windows)
    writer.close()
    rows = zip(windows.tolist(), vectors.tolist(), strict=True)
    return [(writer.entries[number].id, start, tuple(vector)) for (number, start, _), vector in rows]


WHOLE = [(str(clip), float(start), (clip, start)) for clip in range(3) for start in (0, 2)]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    filled(tmp_path)
    assert content(tmp_path) == WHOLE
    assert IndexWriter(tmp_path).entries[1] == entry("1")


def test_clips_taken_out_leave_with_their_vectors(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    writer.replace_entries([(0, writer.entries[0]), (2, entry("renamed"))])
    assert writer.settings.generation == 1
    writer.add_windows([(1, 5.0, 6.0)], np.array([[9, 9]], "f4"))
    writer.close()
    expected = [*WHOLE[:2], ("renamed", 0.0, (2, 0)), ("renamed", 2.0, (2, 2)), ("renamed", 5.0, (9, 9))]
    assert content(tmp_path) == expected
    assert not list(tmp_path.glob("*-000000.*"))


def test_changed_records_alone_leave_the_vectors_in_place(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    writer.replace_entries([(0, entry("zero")), (1, entry("1")), (2, entry("2"))])
    writer.add_entries([entry("3")])
    writer.close()
    assert [each.id for each in IndexWriter(tmp_path).entries] == ["zero", "1", "2", "3"]
    assert IndexWriter(tmp_path).settings.generation == 0


class KilledError(Exception):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop the writer at its `step`-th sync: what is in its buffers may be lost, what is on disk stays."""
    steps = iter(range(10**6))
    sync = os.fsync

    def fsync(number: int) -> None:
        if next(steps) == step:
            raise KilledError
        sync(number)

    monkeypatch.setattr(store.os, "fsync", fsync)


@pytest.mark.parametrize("step", range(24))
def test_a_kill_at_any_sync_while_adding_leaves_a_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with contextlib.suppress(KilledError):
            filled(tmp_path / "index")
    if (tmp_path / "index" / "index.json").exists():
        found = content(tmp_path / "index")
        assert found == WHOLE[: len(found)]
        assert len(found) % 2 == 0


@pytest.mark.parametrize("step", range(16))
def test_a_kill_at_any_sync_while_taking_out_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    writer = filled(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with contextlib.suppress(KilledError):
            writer.replace_entries([(0, writer.entries[0]), (2, writer.entries[2])])
    assert content(tmp_path) in (WHOLE, WHOLE[:2] + WHOLE[4:])
    assert len(list(tmp_path.glob("vectors-*"))) == 1


@pytest.mark.parametrize("name", ["entries-000000.jsonl", "spans-000000.npy", "vectors-000000.npy"])
@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_file_cut_short_costs_its_last_rows(tmp_path: Path, name: str, cut: int) -> None:
    filled(tmp_path / "index").close()
    # The entries are written first: cut them only together with the rows that name them.
    for other in [name] if name != "entries-000000.jsonl" else ["spans-000000.npy", name]:
        path = tmp_path / "index" / other
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - (2 * store.SPAN.itemsize if other != name else cut))
    found = content(tmp_path / "index")
    assert found == WHOLE[: len(found)]
    assert len(found) >= 2


def test_a_second_writer_is_refused_and_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from ml_clap.search.store import writing\n"
        "with writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "i")], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BusyError, match="another process"), writing(tmp_path / "i"):
        pass
    holder.kill()
    holder.communicate()
    with writing(tmp_path / "i"):
        pass


def test_someone_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(AudioIndexError, match=r"holds thesis.doc"), writing(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    filled(tmp_path).update(format=99)
    with pytest.raises(AudioIndexError, match="got 99"):
        IndexWriter(tmp_path)


def test_names_that_are_not_unicode_survive_json() -> None:
    import json

    name = os.fsdecode(b"caf\xe9.wav")
    assert json.loads(json_line({"file": name}))["file"] == name
    assert "café" in json_line({"file": "café"}).decode()


def test_an_index_can_be_copied_elsewhere(tmp_path: Path) -> None:
    filled(tmp_path / "a").close()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert content(tmp_path / "b") == WHOLE
