"""Archives from elsewhere: only sounds, only below the folder, whole or not at all."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from r1_aqa.data import archive as archives
from r1_aqa.data.archive import ArchiveError, is_any_unpacked, is_unpacked, unpack

SOUND = b"RIFF" + bytes(range(256)) * 4


def tar(path: Path, files: dict[str, bytes], *odd: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        for member in odd:
            opened.addfile(member)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.wav"))


@pytest.mark.parametrize("make", [tar, zipped])
def test_sounds_are_unpacked_and_nothing_else(make, tmp_path: Path) -> None:
    files = {"./audio/1.wav": SOUND, "audio/2.WAV": SOUND, "audio/._1.wav": b"x", "run.py": b"print()"}
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar.gz"), files)
    into = tmp_path / "into"
    assert not is_unpacked(archive, into)
    unpack(archive, into)
    assert is_unpacked(archive, into)
    assert is_any_unpacked(into)
    assert (into / "audio/1.wav").read_bytes() == SOUND
    found = sorted(path.name for path in into.rglob("*") if path.is_file() and path.suffix != ".json")
    assert found == ["1.wav", "2.WAV"]


@pytest.mark.parametrize(
    "name", ["../out.wav", "/out.wav", "audio/../../out.wav", "..\\out.wav", "C:/out.wav"]
)
@pytest.mark.parametrize("make", [tar, zipped])
def test_a_path_out_of_the_folder_is_refused(make, name: str, tmp_path: Path) -> None:
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar.gz"), {name: SOUND})
    with pytest.raises(ArchiveError, match=r"leads out of the folder.*--audio"):
        unpack(archive, tmp_path / "place" / "into")
    assert names(tmp_path) == []
    assert not is_any_unpacked(tmp_path / "place" / "into")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    odd = tarfile.TarInfo("audio/2.wav")
    odd.type, odd.linkname = kind, "/etc/passwd"
    with pytest.raises(ArchiveError, match=r"2.wav' is no plain file"):
        unpack(tar(tmp_path / "a.tar.gz", {"audio/1.wav": SOUND}, odd), tmp_path / "into")
    assert not is_any_unpacked(tmp_path / "into")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("audio/2.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveError, match="is no plain file"):
        unpack(tmp_path / "a.zip", tmp_path / "into")


def test_a_link_that_is_there_is_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.mkdir()
    (into / "audio").symlink_to(outside)
    with pytest.raises(ArchiveError, match="leads out of"):
        unpack(tar(tmp_path / "a.tar.gz", {"audio/1.wav": SOUND}), into)
    assert names(outside) == []


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("name", ["audio/1.wav", "notes.txt"])
def test_more_data_than_sound_can_be_is_refused(
    make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MIN_TOTAL_BYTES", 1 << 16)
    monkeypatch.setattr(archives, "MAX_RATIO", 2)
    files = {"audio/0.wav": SOUND, name: bytes(1 << 20)}
    archive = make(tmp_path / ("a.zip" if make is zipped else "a.tar.gz"), files)
    if make is zipped and name == "notes.txt":
        unpack(archive, tmp_path / "into")  # what is no sound is never opened in a zip
        return
    with pytest.raises(ArchiveError, match="more than 2 times the archive's size"):
        unpack(archive, tmp_path / "into")
    assert not (tmp_path / "into" / name).exists()


@pytest.mark.parametrize("make", [tar, zipped])
def test_half_an_archive_is_told_and_never_taken_for_the_whole(make, tmp_path: Path) -> None:
    import random

    noise = [random.Random(seed).randbytes(40_000) for seed in range(6)]
    archive = make(
        tmp_path / ("a.zip" if make is zipped else "a.tar.gz"),
        {f"audio/{number}.wav": content for number, content in enumerate(noise)},
    )
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArchiveError, match=r"damaged or not whole.*delete it"):
        unpack(archive, tmp_path / "into")
    assert not is_unpacked(archive, tmp_path / "into")
    # What is there is whole; the rest comes with the whole archive.
    for path in (tmp_path / "into").rglob("*.wav"):
        assert path.read_bytes() == noise[int(path.stem)]
    archive.write_bytes(whole)
    unpack(archive, tmp_path / "into")
    assert [(tmp_path / f"into/audio/{n}.wav").read_bytes() for n in range(6)] == noise


def test_a_killed_unpacking_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"audio/{number}.wav": SOUND + bytes([number]) for number in range(5)}
    archive, into, written = tar(tmp_path / "a.tar.gz", files), tmp_path / "into", []
    write = archives.write_sound

    def write_until_killed(path: Path, content: object) -> None:
        if len(written) == 3:
            path.with_name(f".{path.name}.77.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, content)

    monkeypatch.setattr(archives, "write_sound", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, into)
    assert not is_any_unpacked(into)
    (into / "audio/0.wav").write_bytes(b"cut short")
    monkeypatch.setattr(
        archives, "write_sound", lambda path, content: (written.append(path.name), write(path, content))
    )
    unpack(archive, into)
    assert written == ["0.wav", "1.wav", "2.wav", "0.wav", "3.wav", "4.wav"]
    assert {path.name: path.read_bytes() for path in (into / "audio").iterdir()} == {
        Path(name).name: content for name, content in files.items()
    }


def test_a_full_disk_is_told_before_a_zip_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "a.zip", {"audio/1.wav": SOUND})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(OSError, match=r"are needed, 0\.0 GB free"):
        unpack(archive, tmp_path / "into")
    assert names(tmp_path) == []
