"""Filters: conditions and folders choose clips before the ranking, and mean the same in SQL."""

from pathlib import Path

import numpy as np
import pytest
from ml_clap.search import lines
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.filters import Condition, Filter, find_columns, parse_condition
from ml_clap.search.lines import Entries, Lines
from ml_clap.search.store import Entry, IndexSettings, IndexWriter, json_line

ENTRIES = [
    Entry("0", "dogs/a.wav", 1, 1, "", 5.0, label="dog", metadata={"take": 3, "tags": ["wet", "near"]}),
    Entry("1", "dogs/old/b.wav", 1, 1, "", 12.0, label="dog", licence="CC0", metadata={"take": 10}),
    Entry("2", "dogs2/it's.wav", 1, 1, "", 0.5, label="rain", metadata={"date": "2026-03-01", "tags": "wet"}),
    Entry("3", "c.wav", 1, 1, "", 60.0, metadata={"date": "2025-12-31", "is loud": True, "is-loud": False}),
]
ODD = [
    Entry(
        "4", 'é/"q"\\\udce9.wav', 1, 1, "", 1.0, label="été", metadata={"date": "tab\there", "mixed": 2.50}
    ),
    Entry("5", "é/x.wav", 1, 1, "", 1.0, label="été", metadata={"mixed": "b", "tags": ["neige", "é", 7]}),
]


@pytest.mark.parametrize("kept", [100, 2])
@pytest.mark.parametrize(
    ("where", "folders", "expected"),
    [
        (["label=été"], [], [4, 5]),
        (["date=tab\there"], [], [4]),
        (["mixed=2.5"], [], [4]),
        (["tags=é"], [], [5]),
        (["tags=7"], [], [5]),
        (['file=é/"q"\\\udce9.wav'], [], [4]),
        ([], ["é"], [4, 5]),
        (["label=dog", "take=3.0"], [], [0]),
        (["label!=dog"], ["dogs", "dogs2"], [2]),
        (["is loud=true"], ["."], [3]),
        (["id=9"], [], []),
    ],
)
def test_records_on_disk_are_chosen_as_those_in_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: list[str],
    folders: list[str],
    expected: list[int],
    kept: int,
) -> None:
    monkeypatch.setattr(lines, "KEPT", kept)
    path = tmp_path / "entries"
    path.write_bytes(b"".join(map(json_line, ENTRIES + ODD)))
    keep, entries = Filter.parse(where, folders), Entries(Lines(path), path)
    assert keep.select(ENTRIES + ODD, "/r") == keep.select(entries, "/r") == expected


def test_the_kinds_of_a_large_indexs_keys_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_clap.search.audio_index.KEPT", 2)
    index = made_index(tmp_path / "i", [0.1, 0.9, 0.3, 0.2], ENTRIES)
    assert index.columns == find_columns(ENTRIES)
    monkeypatch.setattr("ml_clap.search.audio_index.find_kinds", None)
    assert AudioIndex.open(tmp_path / "i").columns == find_columns(ENTRIES)
    monkeypatch.undo()
    monkeypatch.setattr("ml_clap.search.audio_index.KEPT", 2)
    writer = IndexWriter(tmp_path / "i")
    writer.add_entries(ODD)
    writer.close()
    assert AudioIndex.open(tmp_path / "i").columns == find_columns(ENTRIES + ODD)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["label=dog"], [0, 1]),
        (["label!=dog"], [2, 3]),
        (["label=dog", "duration > 10"], [1]),
        (["take<5"], [0]),  # as numbers: as texts 10 is below 3
        (["take!=3"], [1, 2, 3]),
        (["tags=wet"], [0, 2]),
        (["tags!=wet"], [1, 3]),
        (["date>=2026-01-01"], [2]),
        (["is loud=true"], [3]),
        (["is-loud=true"], []),
        (["id=3"], [3]),
        (["licence=CC0"], [1]),
        (["file=dogs2/it's.wav"], [2]),
        (["label=a=b"], []),
    ],
)
def test_conditions_choose_clips(where: list[str], expected: list[int]) -> None:
    assert Filter.parse(where).select(ENTRIES, "/r") == expected


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["dogs"], [0, 1]),
        (["dogs/"], [0, 1]),
        (["/r/dogs/old", "dogs2"], [1, 2]),
        (["."], [0, 1, 2, 3]),
        (["/r"], [0, 1, 2, 3]),
        (["dog"], []),
        (["/elsewhere"], []),
    ],
)
def test_folders_are_whole_names(folders: list[str], expected: list[int]) -> None:
    assert Filter.parse([], folders).select(ENTRIES, "/r") == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("label", "is no condition; write label=dog"),
        ("=dog", "is no condition"),
        ("colour=red", r"no clip of the index has the key 'colour'; there are id, file, duration, label"),
        ("duration=long", "duration holds numbers, got 'long'"),
        ("take=nan", "take holds numbers"),
        ("tags<b", "compared with = and != alone"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused(condition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Filter.parse([condition]).select(ENTRIES, "/r")


def test_operators_are_read_whole() -> None:
    assert parse_condition("a <= 3") == Condition("a", "<=", "3")
    assert parse_condition("label=") == Condition("label", "=", "")


def made_index(folder: Path, scores: list[float], entries: list[Entry]) -> AudioIndex:
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
    folder.mkdir(exist_ok=True)
    writer = IndexWriter.create(folder, settings)
    writer.add_entries(entries)
    vectors = np.array([[score, np.sqrt(1 - score**2)] for score in scores], np.float32)
    writer.add_windows([(number, 0.0, 1.0) for number in range(len(scores))], vectors)
    writer.close()
    return AudioIndex.open(folder)


QUERY = np.array([[1.0, 0.0]], np.float32)


@pytest.mark.parametrize("engine", ["numpy", "faiss"])
def test_a_filtered_search_is_exact_however_bad_its_clips_rank(tmp_path: Path, engine: str) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss")
    entries = [Entry(str(n), f"{n}.wav", 1, 1, "", 1.0, label="x" if n < 990 else "y") for n in range(1000)]
    index = made_index(tmp_path / "i", np.linspace(1, 0, 1000).tolist(), entries)
    keep = Filter.parse(["label=y"])
    (hits,) = index.nearest(QUERY, 4, engine=engine, keep=keep)  # type: ignore[arg-type]
    assert [hit.id for hit in hits] == ["990", "991", "992", "993"]
    (none,) = index.nearest(QUERY, 4, engine=engine, keep=Filter.parse(["id=nothing"]))  # type: ignore[arg-type]
    assert none == []


def test_hits_carry_what_the_manifest_says(tmp_path: Path) -> None:
    index = made_index(tmp_path / "i", [0.1, 0.9, 0.3, 0.2], ENTRIES)
    (hits,) = index.nearest(QUERY, 2)
    assert (hits[0].licence, hits[0].metadata) == ("CC0", {"take": 10})


def test_duplicates_are_one_hit_with_the_others_named(tmp_path: Path) -> None:
    scores = [0.9, 0.899, 0.5, 0.1, -0.2]  # 0 and 1 are near each other; 0 and 3 are one content
    entries = [Entry(str(n), f"{n}.wav", 1, 1, "same" if n in (0, 3) else f"sha {n}", 1.0) for n in range(5)]
    index = made_index(tmp_path / "i", scores, entries)
    (hits,) = index.nearest(QUERY, 3, duplicates=0.99)
    assert [(hit.id, hit.duplicates) for hit in hits] == [("0", ("1", "3")), ("2", ()), ("4", ())]
    (plain,) = index.nearest(QUERY, 3)
    assert [(hit.id, hit.duplicates) for hit in plain] == [("0", ()), ("1", ()), ("2", ())]
    (few,) = index.nearest(QUERY, 3, duplicates=0.99, keep=Filter.parse(["id!=3"]))
    assert few[0].duplicates == ("1",)  # what a filter leaves out is not named


def test_many_copies_do_not_crowd_out_others(tmp_path: Path) -> None:
    entries = [Entry(str(n), f"{n}.wav", 1, 1, f"sha {n}", 1.0) for n in range(300)]
    index = made_index(tmp_path / "i", [0.95] * 298 + [0.5, 0.0], entries)
    (hits,) = index.nearest(QUERY, 3, duplicates=0.999)
    assert [hit.id for hit in hits] == ["0", "298", "299"]
    assert len(hits[0].duplicates) == 297


def test_columns_of_odd_keys_have_plain_names_of_their_own() -> None:
    columns = find_columns(ENTRIES)
    assert columns["is loud"].name == "meta_is_loud"
    assert columns["is-loud"].name == "meta_is_loud_"
    assert (columns["take"].kind, columns["tags"].kind, columns["date"].kind) == ("number", "list", "text")
