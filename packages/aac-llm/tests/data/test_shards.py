"""Tar shards: what a name means, where sounds lie, and what damage costs."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path

import pytest
from aac_llm.data import shards
from aac_llm.data.members import local_sounds
from aac_llm.data.shard_names import expand_braces, list_shards, means_shards, split_member
from aac_llm.data.shards import find_places, list_samples

SOUND = b"RIFF" + bytes(range(256)) * 10
"""More than four blocks."""


def write_tar(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def offset_of(path: Path, member: str) -> int:
    with tarfile.open(path) as tar:
        return tar.getmember(member).offset


def keys_of(path: Path) -> list[str]:
    return [sample.key for sample in list_samples(str(path)).samples]


def faults_of(path: Path) -> list[str]:
    return list_samples(str(path)).describe_faults()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_each_sound_is_where_it_is_said_to_be(tmp_path, form):
    long = "deep/" * 20 + "a.wav"
    members = [
        ("./b/rain.v2.WAV", SOUND + b"1"),
        (long, SOUND + b"2"),
        ("b/rain.json", json.dumps({"captions": ["rain"], "duration": 2}).encode()),
        ("other.txt", b"of no sound"),
        ("dog.flac", SOUND + b"3"),
        ("dog.txt", b" a dog barks\n"),
        ("._hidden.wav", SOUND),
        ("picture.png", SOUND),
    ]
    shard = write_tar(tmp_path / "a.tar", members, form)
    listing = list_samples(str(shard))
    assert listing.faults == ()
    assert [sample.key for sample in listing.samples] == ["b/rain", long.removesuffix(".wav"), "dog"]
    assert listing.samples[0].row == {"captions": ["rain"], "duration": 2}
    assert listing.samples[2].text == "a dog barks"
    names = [sample.place.name for sample in listing.samples]
    assert names == [f"{shard}/{name}" for name in ("b/rain.v2.WAV", long, "dog.flac")]
    with local_sounds(names[::-1], {}) as copies:
        assert [copy.read_bytes()[-1:] for copy in copies] == [b"3", b"2", b"1"]
        assert [copy.suffix for copy in copies] == [".flac", ".wav", ".WAV"]
    assert not any(copy.exists() for copy in copies)


def test_sounds_that_share_a_key_are_samples_by_their_whole_names(tmp_path):
    members = [
        ("day/rec.2024-01-01.wav", SOUND + b"1"),
        ("day/rec.2024-01-01.json", b'{"captions": ["rain"]}'),
        ("day/rec.2024-01-02.wav", SOUND + b"2"),
        ("day/rec.2024-01-02.txt", b"wind"),
        ("day/rec.2024-01-03.wav", b""),
        ("one.wav", SOUND),
        ("one.meta.json", b"no object: another field of the sample"),
        ("two.wav", SOUND),
        ("two.flac", SOUND),
    ]
    listing = list_samples(str(write_tar(tmp_path / "a.tar", members)))
    assert [(sample.key, dict(sample.row), sample.text) for sample in listing.samples] == [
        ("day/rec.2024-01-01", {"captions": ["rain"]}, None),
        ("day/rec.2024-01-02", {}, "wind"),
        ("one", {}, None),
    ]
    assert [reason for _, reason in listing.faults] == [
        "day/rec.2024-01-03.wav has no bytes",
        "a sample needs one sound, and the key two has two.wav, two.flac",
    ]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.zst"])
def test_a_compressed_tar_is_refused_before_anything_is_loaded(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    for place in (tmp_path / name, f"s3://bucket/{name}"):
        with pytest.raises(ValueError, match=f"{name} is compressed.*uncompress it"):
            means_shards(place)


def test_a_damaged_header_costs_its_member(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [(f"{name}.wav", SOUND) for name in "abcd"])
    content = bytearray(shard.read_bytes())
    start = offset_of(shard, "b.wav")
    content[start : start + 20] = b"x" * 20
    shard.write_bytes(content)
    assert keys_of(shard) == ["a", "c", "d"]
    (fault,) = faults_of(shard)
    assert fault.startswith(f"{shard}: damaged from byte {start:,} to ")
    assert "after a.wav" in fault


def test_the_first_header_may_be_damaged_and_members_may_be_overwritten_by_zeros(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [(f"{name}.wav", SOUND * 10) for name in "abcd"])
    content = bytearray(shard.read_bytes())
    content[10] ^= 255
    start, end = offset_of(shard, "c.wav"), offset_of(shard, "d.wav")
    content[start:end] = bytes(end - start)
    shard.write_bytes(content)
    assert keys_of(shard) == ["b", "d"]
    assert ["zeros" in fault for fault in faults_of(shard)] == [False, True]


def test_a_cut_off_archive_costs_what_is_cut_off(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [(f"{name}.wav", SOUND) for name in "abc"])
    whole = shard.read_bytes()
    for cut, keys in [
        (offset_of(shard, "c.wav") + 700, ["a", "b"]),
        (offset_of(shard, "c.wav") + 200, ["a", "b"]),
        (offset_of(shard, "c.wav"), ["a", "b"]),
        (10, []),
        (0, []),
    ]:
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        assert keys_of(tmp_path / "cut.tar") == keys
        assert faults_of(tmp_path / "cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: offset_of(shard, "c.wav") + 700])
    assert faults_of(tmp_path / "cut.tar")[-1] == (
        f"{tmp_path}/cut.tar/c.wav: c.wav is cut off after 188 of 2,564 bytes"
    )


def test_what_cannot_be_used_is_named(tmp_path):
    members = [
        *[("twice.wav", SOUND), ("twice.wav", SOUND), ("two.wav", SOUND), ("two.flac", SOUND)],
        *[("none.wav", b""), ("lost.json", b"{}"), ("bad.wav", SOUND), ("bad.json", b"{")],
        *[("good.wav", SOUND)],
    ]
    shard = write_tar(tmp_path / "a.tar", members)
    with tarfile.open(shard, "a") as tar:
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.LNKTYPE, "good.wav"
        tar.addfile(link)
    assert keys_of(shard) == ["good"]
    reasons = "\n".join(faults_of(shard))
    for part in (
        "a.tar/twice.wav: a sample needs one sound, and the key twice has twice.wav, twice.wav",
        "a.tar/two.wav: a sample needs one sound, and the key two has two.wav, two.flac",
        "a.tar/none.wav: none.wav has no bytes",
        "a.tar/lost: a sample needs one sound, and the key lost has none",
        "a.tar/bad.wav: bad.json: ",
        "a.tar/link.wav: link.wav is a link",
    ):
        assert part in reasons


def test_what_is_no_tar_is_named(tmp_path):
    import gzip

    packed = tmp_path / "packed.tar"
    packed.write_bytes(gzip.compress(write_tar(tmp_path / "a.tar", [("a.wav", SOUND)]).read_bytes()))
    (tmp_path / "noise.tar").write_bytes(SOUND * 10)
    assert "is compressed" in faults_of(packed)[0]
    assert "damaged from byte 0" in faults_of(tmp_path / "noise.tar")[0]
    assert "FileNotFoundError" in faults_of(tmp_path / "none.tar")[0]


def test_a_name_whose_bytes_are_no_utf_8_is_read(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("caf\udce9.wav", SOUND)], tarfile.GNU_FORMAT)
    (sample,) = list_samples(str(shard)).samples
    assert sample.key == "caf\udce9"
    with local_sounds([sample.place.name], {sample.place.name: sample.place}) as (copy,):
        assert copy.read_bytes() == SOUND


def test_names_of_shards(tmp_path):
    for name in ("a-000.tar", "a-001.tar", "b.tar"):
        write_tar(tmp_path / name, [("a.wav", SOUND)])
    place = str(tmp_path)
    assert [Path(name).name for name in list_shards(place)] == ["a-000.tar", "a-001.tar", "b.tar"]
    assert [Path(n).name for n in list_shards(f"{place}/a-{{000..001}}.tar")] == ["a-000.tar", "a-001.tar"]
    assert list_shards(f"file://{place}/b.tar") == [f"file://{place}/b.tar"]
    assert len(list_shards(f"file://{place}")) == 3
    with pytest.raises(FileNotFoundError, match=r"a-002\.tar and 1 more"):
        list_shards(f"{place}/a-{{000..003}}.tar")
    sources = (tmp_path, f"file://{place}")
    assert all(map(means_shards, sources))
    (tmp_path / "c.wav").write_bytes(SOUND)
    assert not any(map(means_shards, sources))
    assert expand_braces("x{y}.tar") == ["x{y}.tar"]


def test_a_member_is_found_by_its_name_in_a_tar_and_not_in_a_folder(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("b.tar/c.wav", SOUND)])
    (tmp_path / "folder.tar").mkdir()
    name = f"{shard}/b.tar/c.wav"
    assert split_member(name) == (str(shard), "b.tar/c.wav")
    assert split_member(tmp_path / "folder.tar" / "a.wav") is None
    places = find_places([name, f"{shard}/none.wav", "a.wav"])
    assert {where.member for where in places.values()} == {"b.tar/c.wav"}
    with local_sounds([f"{shard}/none.wav", name, f"{tmp_path}/gone.wav"], places) as copies:
        assert "none.wav is not there" in str(copies[0])
        assert copies[1].read_bytes() == SOUND
        assert copies[2] == tmp_path / "gone.wav"


def test_a_shard_that_shrinks_after_it_was_listed_costs_what_is_missing(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("a.wav", SOUND), ("b.wav", SOUND)])
    places = {sample.place.name: sample.place for sample in list_samples(str(shard)).samples}
    shard.write_bytes(shard.read_bytes()[: places[f"{shard}/b.wav"].offset + 5])
    with local_sounds(list(places), places) as (first, second):
        assert first.read_bytes() == SOUND
        assert str(second) == f"{shard}/b.wav is cut off: 2,559 of 2,564 bytes are missing"


def test_the_index_of_ml_clap_is_read_instead_of_the_headers(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("1.wav", SOUND)])
    row = {"id": "one", "audio": "1.wav", "captions": {"eng_Latn": ["x"]}, "duration": 3.0, "offset": 512}
    head = {"samples": 1, "bytes": shard.stat().st_size, "compressed": False, "faults": [["2", "odd"]]}
    index = Path(f"{shard}.index.jsonl")
    index.write_text(json.dumps(head) + "\n" + json.dumps(row | {"size": len(SOUND)}) + "\n")
    listing = list_samples(str(shard))
    assert [(one.key, one.place.offset, one.place.size) for one in listing.samples] == [
        ("one", 512, len(SOUND))
    ]
    assert listing.describe_faults() == [f"{shard}/2: odd"]
    write_tar(shard, [("1.wav", SOUND * 10)])
    assert "of another shard" in faults_of(shard)[0]


def test_a_server_that_gives_no_parts_of_files_is_read(tmp_path, monkeypatch):
    class Stream(io.BytesIO):
        def seek(self, *place):
            raise ValueError("Cannot seek streaming HTTP file")

    write_tar(tmp_path / "a.tar", [(f"{name}.wav", SOUND + name.encode()) for name in "abc"])
    monkeypatch.setattr(shards, "open_read", lambda name: Stream())
    shard = f"file://{tmp_path}/a.tar"
    places = {sample.place.name: sample.place for sample in list_samples(shard).samples}
    with local_sounds([f"{shard}/c.wav", f"{shard}/a.wav"], places) as copies:
        assert [copy.read_bytes()[-1:] for copy in copies] == [b"c", b"a"]


def test_whatever_is_damaged_is_told_and_ends_nothing(tmp_path):
    rng = random.Random(5)
    names = [f"{number}.wav" for number in range(10)]
    whole = write_tar(
        tmp_path / "a.tar", [(name, SOUND) for name in names], tarfile.USTAR_FORMAT
    ).read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        start = rng.randrange(len(names)) * 3_584  # a header
        kind = rng.randrange(3)
        if kind == 0:
            content[start + rng.randrange(500)] ^= rng.randrange(1, 256)
        elif kind == 1:
            content[start : start + rng.randrange(1, 3_000)] = rng.randbytes(rng.randrange(1, 3_000))
        else:  # a header whose checksum is right and whose size is none
            sizes = (b"77777777777\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"\xff" * 12)
            content[start + 124 : start + 136] = rng.choice(sizes)
            content[start + 156 : start + 157] = rng.choice(b"0xLg").to_bytes()
            total = sum(content[start : start + 148]) + 256 + sum(content[start + 156 : start + 512])
            content[start + 148 : start + 156] = b"%06o\0 " % total
        (tmp_path / "b.tar").write_bytes(content)
        listing = list_samples(f"{tmp_path}/b.tar")
        # The last 12 bytes of a header say nothing, and others perhaps nothing that matters.
        assert len(listing.samples) == len(names) or listing.faults
        with local_sounds([sample.place.name for sample in listing.samples], {}) as copies:
            assert all(isinstance(copy, Path) for copy in copies)
