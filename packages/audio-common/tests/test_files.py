"""Which files of a folder are sound, each once whatever the links, and finding one by its name."""

import os
from pathlib import Path

import pytest
from audio_common.files import AUDIO_SUFFIXES, AudioFolder, find_audio, is_audio, walk_files
from hypothesis import given
from hypothesis import strategies as st


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_below(folder: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


@given(stem=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8))
def test_the_ending_decides_in_any_case_unless_the_file_is_hidden(stem: str) -> None:
    for suffix in AUDIO_SUFFIXES:
        assert is_audio(stem + suffix) == is_audio(stem + suffix.upper()) == (not stem.startswith("."))
    assert not is_audio(stem + ".txt")
    assert not is_audio(stem + ".wav.part")


def test_sounds_are_sorted_by_path_and_hidden_ones_left_out(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b/2.WAV",
        "b/1.flac",
        "a.ogg",
        "b.mp3",
        "notes.txt",
        ".a.wav",
        ".hidden/c.wav",
        "b/c/d.opus",
    )
    assert names_below(tmp_path, find_audio(tmp_path)) == [
        "a.ogg",
        "b/1.flac",
        "b/2.WAV",
        "b/c/d.opus",
        "b.mp3",
    ]
    assert "notes.txt" in names_below(tmp_path, walk_files(tmp_path))
    assert find_audio(tmp_path / "nowhere") == []


def test_links_up_to_each_other_and_to_themselves_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/1.wav", "x/2.wav", "y/3.wav")
    links = {
        "self": ".",
        "a/up": "..",
        "a/b/far-up": "../..",
        "x/to-y": "../y",
        "y/to-x": "../x",
        "around": "around",  # leads nowhere, like a file that is missing
    }
    links |= {f"a/b/again-{number}": "../.." for number in range(12)}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    assert names_below(tmp_path, walk_files(tmp_path)) == ["a/b/1.wav", "around", "x/2.wav", "y/3.wav"]


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/2.wav")
    for number in range(3):  # several: the paths below them would double with every level
        (tmp_path / f"a/loop{number}").symlink_to(tmp_path)
        (tmp_path / f"b/loop{number}").symlink_to(tmp_path / "a")
    assert names_below(tmp_path, walk_files(tmp_path)) == ["a/1.wav", "b/2.wav"]


def test_a_link_is_followed_but_adds_no_second_name(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.wav", "set/real/2.wav")
    (tmp_path / "set/disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/a-link-before-it").symlink_to(tmp_path / "set/real")
    (tmp_path / "set/gone.wav").symlink_to(tmp_path / "nowhere.wav")  # for a check to call it missing
    assert names_below(tmp_path / "set", walk_files(tmp_path / "set")) == [
        "disk/1.wav",
        "gone.wav",
        "real/2.wav",
    ]


def test_the_folder_given_may_be_a_link_itself(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.wav")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert find_audio(tmp_path / "link") == [tmp_path / "link/1.wav"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_access_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav", "closed/2.wav")
    (tmp_path / "closed").chmod(0)
    assert find_audio(tmp_path) == [tmp_path / "1.wav"]


def test_names_are_compared_as_lists_and_archives_differ(tmp_path: Path) -> None:
    touch(tmp_path, "one/Caf\u00e9  noise.wav", "two/b.wav", "two/c.mp3", "two/c.txt")
    folder = AudioFolder(tmp_path)
    assert folder.find("cafe\u0301 Noise.WAV") == tmp_path / "one/Caf\u00e9  noise.wav"
    assert folder.find("two/b.wav") == folder.find("wherever/B.wav") == tmp_path / "two/b.wav"
    assert folder.find_stem(["x", "c"]) == tmp_path / "two/c.mp3"
    with pytest.raises(LookupError, match=r"no file below .* is named C or d"):
        folder.find_stem(["C", "d"])


def test_a_name_that_several_files_have_is_an_error_and_not_a_guess(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.wav", "two/a.wav")
    with pytest.raises(LookupError, match="several files"):
        AudioFolder(tmp_path).find("a.wav")
    assert AudioFolder(tmp_path).find("two/a.wav") == tmp_path / "two/a.wav"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        AudioFolder(tmp_path / "gone")
