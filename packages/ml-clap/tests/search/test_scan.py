"""What a run finds to do: new, changed, moved and vanished files."""

import dataclasses
import os
from pathlib import Path

import pytest
from ml_clap.search.scan import Found, plan_update, scan, sha256
from ml_clap.search.store import Entry


def entry_of(clip: Found) -> Entry:
    return Entry(clip.id, clip.file, clip.size, clip.mtime_ns, sha256(clip.path), 1.0)


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_scan_takes_sound_files_in_order_and_leaves_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path / "é 音", b="x")
    write(tmp_path, a="y")
    for name in ("._a.wav", "notes.txt", "UPPER.FLAC"):
        (tmp_path / name).write_text("z")
    found, missing = scan(tmp_path)
    assert [clip.id for clip in found] == ["UPPER.FLAC", "a.wav", "é 音/b.wav"]
    assert not missing


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder nor a manifest"):
        scan(tmp_path / "nowhere")


def test_unchanged_files_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, a="one", b="two")
    found, _ = scan(tmp_path)
    entries = [entry_of(clip) for clip in found]
    plan = plan_update(entries, found, digest=lambda path: pytest.fail(f"read {path}"))
    assert plan.kept == list(enumerate(entries))
    assert not plan.new


def test_a_touched_file_of_the_same_content_is_kept_with_its_new_time(tmp_path: Path) -> None:
    write(tmp_path, a="one")
    entries = [entry_of(clip) for clip in scan(tmp_path)[0]]
    os.utime(tmp_path / "a.wav", ns=(5, 5))
    plan = plan_update(entries, scan(tmp_path)[0])
    assert plan.kept == [(0, dataclasses.replace(entries[0], mtime_ns=5))]


def test_other_content_of_the_same_size_is_a_change(tmp_path: Path) -> None:
    write(tmp_path, a="one")
    entries = [entry_of(clip) for clip in scan(tmp_path)[0]]
    write(tmp_path, a="two")
    os.utime(tmp_path / "a.wav", ns=(5, 5))
    plan = plan_update(entries, scan(tmp_path)[0])
    assert (plan.kept, [clip.id for clip in plan.new], plan.changed) == ([], ["a.wav"], {"a.wav"})
    assert not plan.vanished


def test_moved_and_vanished_and_new_files_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, a="one", b="two", c="the third")
    entries = [entry_of(clip) for clip in scan(tmp_path)[0]]
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wav").rename(tmp_path / "sub" / "renamed.wav")
    (tmp_path / "b.wav").unlink()
    write(tmp_path, new="six")
    plan = plan_update(entries, scan(tmp_path)[0])
    assert [(number, entry.id) for number, entry in plan.kept] == [(0, "sub/renamed.wav"), (2, "c.wav")]
    assert [clip.id for clip in plan.new] == ["new.wav"]
    assert [entry.id for entry in plan.vanished] == ["b.wav"]
    assert plan.moved == 1


def test_a_copy_of_a_vanished_file_is_used_once(tmp_path: Path) -> None:
    write(tmp_path, a="one")
    entries = [entry_of(clip) for clip in scan(tmp_path)[0]]
    (tmp_path / "a.wav").unlink()
    write(tmp_path, b="one", c="one")
    plan = plan_update(entries, scan(tmp_path)[0])
    assert [entry.id for _, entry in plan.kept] == ["b.wav"]
    assert [clip.id for clip in plan.new] == ["c.wav"]


def test_a_link_to_nothing_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to("nowhere.wav")
    (tmp_path / "clips.jsonl").write_text('{"id": "a", "audio": "gone.wav", "captions": ["A dog."]}\n')
    for source in (tmp_path, tmp_path / "clips.jsonl"):
        _, (missing,) = scan(source)
        expected = f"{tmp_path / 'gone.wav'} cannot be opened: No such file or directory"
        assert missing.reason.startswith(expected)
