"""Lines and clips of a file are read where they are."""

from pathlib import Path

import numpy as np
import pytest
from ml_clap.search import lines
from ml_clap.search.lines import Entries, Lines
from ml_clap.search.store import AudioIndexError, Entry, IndexSettings, IndexWriter, json_line


@pytest.mark.parametrize(
    "data", [b"", b"a", b"a\n", b"\n", b"one\n\ntwo\nhalf", b"x" * 50 + b"\n" + b"y\n" * 9]
)
@pytest.mark.parametrize("scanned", [4, 2**24])
def test_they_are_what_splitting_gives(
    tmp_path: Path, data: bytes, scanned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "SCANNED", scanned)  # with 4, the line ends are kept in a file as well
    path = tmp_path / "lines"
    path.write_bytes(data)
    wanted = data.split(b"\n")[:-1]
    for _ in range(2):
        found = Lines(path)
        assert (list(found), len(found), found[:], found[1:3]) == (wanted, len(wanted), wanted, wanted[1:3])
        assert [found[n] for n in range(len(found))] == wanted
        if wanted:
            assert found[-1] == wanted[-1]
    with pytest.raises(IndexError):
        found[len(wanted)]


def test_kept_line_ends_are_of_this_very_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SCANNED", 4)
    path = tmp_path / "entries-000000.jsonl"
    path.write_bytes(b"one\ntwo\n")
    assert list(Lines(path)) == [b"one", b"two"]
    kept = tmp_path / "entries-000000.ends.npy"
    assert np.load(kept)[2:].tolist() == [3, 7]
    path.write_bytes(b"three\n4\n")  # as long as before
    assert list(Lines(path)) == [b"three", b"4"]
    kept.write_bytes(b"damaged")
    assert list(Lines(path)) == [b"three", b"4"]


def test_a_clip_is_parsed_when_it_is_asked_for_and_an_error_names_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "entries"
    clips = [Entry(str(n), f"{n}.wav", 1, 1, "", float(n)) for n in range(9)]
    path.write_bytes(b"".join(map(json_line, clips)) + b"{}\n")
    entries = Entries(Lines(path), path)
    assert (len(entries), entries[3], entries[2:4]) == (10, clips[3], clips[2:4])
    assert entries[3] is entries[3]
    for kept in (100, 5):  # remembered, or read one after another
        monkeypatch.setattr(lines, "KEPT", kept)
        given = iter(Entries(Lines(path), path))
        assert [next(given) for _ in range(9)] == clips
        with pytest.raises(AudioIndexError, match="entries:10: "):
            next(given)


def test_an_index_that_is_written_forgets_its_line_ends(tmp_path: Path) -> None:
    settings = IndexSettings(
        model="m",
        fingerprint="f",
        dim=2,
        dtype="float32",
        window_seconds=1,
        hop_seconds=1,
        source="/r",
        root="/r",
    )
    IndexWriter.create(tmp_path, settings).close()
    kept = [tmp_path / f"entries-000000.{ending}" for ending in ("ends.npy", "kinds.json")]
    for path in kept:
        path.touch()
    IndexWriter(tmp_path).close()
    assert not any(path.exists() for path in kept)
