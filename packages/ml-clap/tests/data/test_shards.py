"""Shards: what is written, that nothing is lost, and what damage does."""

import gzip
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import load_audio
from audio_common.workers import DecodePool
from ml_clap import cli
from ml_clap.bulk.places import put, written
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.data.manifest import Clip, ManifestError, read_manifest, write_manifest
from ml_clap.data.shards import packing, series
from ml_clap.data.shards.index import ENDING, read_index
from ml_clap.data.shards.packing import prepare_shards
from ml_clap.data.shards.places import is_shards, list_shards
from ml_clap.data.shards.reading import Place, ShardReader
from ml_clap.data.shards.report import TOTALS_FILE
from ml_clap.data.sources import read_sources, unpack_sounds

webdataset = pytest.importorskip("webdataset")


LOUD = 7
"""The clip that is beyond full scale."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of 0.3 to 0.85 s in two splits, one stereo, one loud, and a file that is no sound."""
    folder = tmp_path_factory.mktemp("sounds")
    clips = []
    for number in range(12):
        sound = np.random.default_rng(number).uniform(-0.4, 0.4, int((0.3 + number / 20) * 16_000))
        path = folder / f"take.{number}.wav"
        sound = np.stack([sound, sound], 1) if number == 3 else sound * (4 if number == LOUD else 1)
        soundfile.write(path, sound, 16_000, subtype="FLOAT")
        captions = {"eng_Latn": (f"Sound {number}.", "Noise."), "fra_Latn": (f"Son {number}.",)}
        split = "test" if number >= 10 else "train"
        clips.append(
            Clip(f"clip/{number}", path, captions, split=split, label="noise", extra={"artist": "me"})
        )
    (folder / "bad.wav").write_bytes(b"this is no sound")
    clips.insert(5, Clip("bad", folder / "bad.wav", {"eng_Latn": ("x",)}, split="train"))
    write_manifest(folder / "manifest.jsonl", clips)
    return folder / "manifest.jsonl"


class ThisProcess:
    """Decodes here: starting processes for each of these tests would take a second."""

    def __init__(self, *_: Any) -> None:
        self.load_audio = load_audio

    def __enter__(self) -> "ThisProcess":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture(autouse=True)
def decode_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "DecodePool", ThisProcess)


def pack(manifest: Path, out: Path | str, **settings: Any) -> list[str]:
    settings = {"max_samples": 4} | settings
    prepare_shards(PrepareShardsConfig(source=manifest, out=Path(out), **settings))
    return list_shards(Path(out))


def members(shard: str) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def sounds_of(shards: list[str]) -> dict[str, bytes]:
    found = {}
    for index in map(read_index, shards):
        places = [
            Place(index.shard, entry.member, entry.offset, entry.size, index.is_compressed)
            for entry in index.entries
        ]
        fetched = ShardReader().fetch(list(enumerate(places)))
        assert not fetched.faults
        found |= {entry.clip.id: fetched.sounds[number] for number, entry in enumerate(index.entries)}
    return found


@pytest.mark.parametrize("compress", [False, True])
def test_shards_hold_every_clip_whole_with_all_that_the_manifest_says(
    manifest: Path, tmp_path: Path, compress: bool
) -> None:
    shards = pack(manifest, tmp_path / "out", compress=compress)
    names = ["test-000000", "train-000000", "train-000001", "train-000002"]
    assert [Path(shard).name for shard in shards] == [
        f"{name}.tar.gz" if compress else f"{name}.tar" for name in names
    ]
    told = {clip.id: clip for clip in read_manifest(manifest) if clip.id != "bad"}
    indexes = [read_index(shard) for shard in shards]
    packed = {entry.clip.id: entry.clip for index in indexes for entry in index.entries}
    assert packed.keys() == told.keys()
    for name, clip in packed.items():
        assert (clip.captions, clip.split, clip.label, clip.extra) == (
            told[name].captions,
            told[name].split,
            told[name].label,
            told[name].extra,
        )
    for name, sound in sounds_of(shards).items():
        whole = load_audio(told[name].audio)
        torch.testing.assert_close(load_audio(sound), whole, atol=2**-15, rtol=0)
        assert packed[name].duration == len(whole) / 16_000
    totals = json.loads((tmp_path / "out" / TOTALS_FILE).read_text())
    assert totals["samples"] == 12
    assert totals["bytes"] == sum(Path(shard).stat().st_size for shard in shards)
    assert totals["seconds"] == pytest.approx(sum(index.seconds for index in indexes))
    assert [each["id"] for each in totals["skipped"]] == ["bad"]
    assert totals["clipped"] == 0


def test_original_sounds_are_the_files_bytes(manifest: Path, tmp_path: Path) -> None:
    shards = pack(manifest, tmp_path / "out", audio="original", splits=("test",))
    told = {clip.id: clip.audio.read_bytes() for clip in read_manifest(manifest, split="test")}
    assert sounds_of(shards) == told


def test_webdataset_itself_reads_them_and_the_reference_layout_is_the_authors(
    manifest: Path, tmp_path: Path
) -> None:
    shards = pack(manifest, tmp_path / "out", layout="reference", compress=True, splits=("train",))
    assert [Path(shard).name for shard in shards] == [
        f"manifest_train_{number:06d}.tar.gz" for number in range(3)
    ]
    samples = [sample for shard in shards for sample in webdataset.WebDataset(shard, shardshuffle=False)]
    assert len(samples) == 10
    for sample in samples:
        stem, _, number = sample["__key__"].partition("_")
        assert stem.startswith("take-")
        assert len(number) == 36  # a uuid
        assert json.loads(sample["json"]).keys() == {"captions"}
        assert load_audio(sample["flac"]).ndim == 1
    assert json.loads((tmp_path / "out" / TOTALS_FILE).read_text())["clipped"] == 1


def make_foreign(path: Path, numbers: range) -> None:
    """Write a shard as the reference's script does: no index, no id, no duration."""
    with webdataset.TarWriter(str(path), encoder=False) as tar:
        for number in numbers:
            buffer = io.BytesIO()
            soundfile.write(buffer, np.full(4800 + number, 0.1), 16_000, format="FLAC")
            captions = {"captions": {"eng_Latn": [f"Sound {number}."]}}
            sample = {"__key__": f"rain_{number}", "flac": buffer.getvalue()}
            tar.write(sample | {"json": json.dumps(captions).encode()})


def test_shards_of_others_are_indexed_when_first_met(tmp_path: Path) -> None:
    for number in range(2):
        make_foreign(tmp_path / f"wavcaps_{number:06d}.tar.gz", range(number * 3, number * 3 + 3))
    pattern = tmp_path / "wavcaps_{000000..000001}.tar.gz"
    sources = read_sources([pattern], ())
    assert [clip.id for clip in sources.clips] == [f"rain_{number}" for number in range(6)]
    assert [clip.duration for clip in sources.clips] == [(4800 + number) / 16_000 for number in range(6)]
    assert (tmp_path / f"wavcaps_000001.tar.gz{ENDING}").exists()
    assert read_sources([pattern], ()).clips == sources.clips
    with pytest.raises(FileNotFoundError, match="wavcaps_000002"):
        read_sources([tmp_path / "wavcaps_{000000..000002}.tar.gz"], ())


def test_an_index_goes_to_the_run_where_nothing_may_be_written_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_clap.data.shards import index as module

    (tmp_path / "data").mkdir()
    make_foreign(tmp_path / "data" / "a.tar", range(2))
    write = module.write_index

    def refuse(index: module.ShardIndex, place: str | None = None) -> None:
        if place is not None and Path(place).parent == tmp_path / "data":
            raise PermissionError(place)
        write(index, place)

    monkeypatch.setattr(module, "write_index", refuse)
    clips = read_sources([tmp_path / "data"], (), spare=tmp_path / "run").clips
    assert len(list((tmp_path / "run").iterdir())) == 1
    assert read_sources([tmp_path / "data"], (), spare=tmp_path / "run").clips == clips


def test_fsspec_urls_are_written_and_read(manifest: Path, tmp_path: Path) -> None:
    for url in ("memory://packed/sounds", f"file://{tmp_path}/sounds"):
        shards = pack(manifest, url, splits=("test",))
        assert shards == [f"{url}/test-000000.tar"]
        sources = read_sources([Path(f"{url}/test-{{000000..000000}}.tar")], ("test",))
        assert sorted(clip.id for clip in sources.clips) == ["clip/10", "clip/11"]
        clips = unpack_sounds(sources, tmp_path / "unpacked")
        assert all(load_audio(clip.audio).abs().max() > 0.3 for clip in clips)
        assert pack(manifest, url, splits=("test",)) == shards  # goes on from what is there


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", False), ("a-{0..3}.tar", True), ("s3://b/x", True), ("a.tgz", True), (".", True)],
)
def test_names_of_shards_are_told_from_manifests(name: str, expected: bool) -> None:
    assert is_shards(Path(name)) is expected
    assert written(Path(name)) == name


def test_the_same_bytes_come_of_a_job_that_was_stopped(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL is tried by `tests/kill_kit`."""
    whole = pack(manifest, tmp_path / "whole", max_samples=3, compress=True)
    out = tmp_path / "stopped"
    made: list[str] = []

    def stop(local: Path, name: str) -> None:
        put(local, name)
        made.append(name)
        if len(made) == 3:  # the shard is there, its index is not
            raise KeyboardInterrupt

    monkeypatch.setattr(series, "put", stop)
    with pytest.raises(KeyboardInterrupt):
        pack(manifest, out, max_samples=3, compress=True)
    assert len(list(out.glob(f"*{ENDING}"))) == 2
    (out / ".shard.123.tmp").write_bytes(b"half")
    monkeypatch.setattr(packing, "DecodePool", DecodePool)
    words = ["prepare", "shards", str(manifest), "--out", str(out), "--max_samples", "3", "--compress"]
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 1  # one sound is damaged
    assert made[3:] == made[2:3] + [f"{out}/{Path(shard).name}" for shard in made_after(whole, made[2])]
    contents = [
        {path.name: path.read_bytes() for path in folder.iterdir() if path.name != TOTALS_FILE}
        for folder in (tmp_path / "whole", out)
    ]
    assert contents[0] == contents[1]


def made_after(shards: list[str], name: str) -> list[str]:
    """Shards of `train`, which are packed first, then of `test`, after the one of a name."""
    order = sorted(shards, key=lambda shard: ("test" in Path(shard).name, shard))
    names = [Path(shard).name for shard in order]
    return names[names.index(Path(name).name) + 1 :]


def test_shards_of_another_manifest_or_other_settings_are_not_mixed(manifest: Path, tmp_path: Path) -> None:
    pack(manifest, tmp_path, splits=("test",))
    with pytest.raises(ManifestError, match="another manifest or of other settings"):
        pack(manifest, tmp_path, splits=("test",), seed=1, max_samples=3)


def test_a_series_of_none_but_damaged_sounds_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    write_manifest(tmp_path / "m.jsonl", [Clip("a", tmp_path / "a.wav", {"eng_Latn": ("A",)})])
    with pytest.raises(ManifestError, match="not one sound can be packed"):
        pack(tmp_path / "m.jsonl", tmp_path / "out")


@pytest.mark.parametrize("compress", [False, True])
def test_of_a_damaged_shard_the_rest_is_used_and_the_damage_named(tmp_path: Path, compress: bool) -> None:
    shard = tmp_path / ("a.tar.gz" if compress else "a.tar")
    make_foreign(shard, range(6))
    content = gzip.decompress(shard.read_bytes()) if compress else shard.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        place = tar.getmembers()[6].offset  # the header of the fourth sample
    damaged = content[:place] + b"\xff" * 512 + content[place + 512 :]
    shard.write_bytes(gzip.compress(damaged) if compress else damaged)
    sources = read_sources([shard], ())
    assert [clip.id for clip in sources.clips] == ["rain_0", "rain_1", "rain_2"]
    ((_, reason),) = sources.faults.items()
    assert "is damaged after rain_2.flac: a damaged header" in reason


def test_a_shard_that_is_cut_off_is_named_wherever_the_cut_is(tmp_path: Path) -> None:
    make_foreign(tmp_path / "a.tar", range(3))
    whole = (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        ends = [info.offset for info in tar.getmembers()[2::2]]
    for number, cut in enumerate((ends[0], ends[0] + 100, ends[0] + 512, ends[1] - 1, ends[1])):
        shard = tmp_path / f"{number}.tar"
        shard.write_bytes(whole[:cut])
        sources = read_sources([shard], ())
        assert len(sources.faults) == 1, cut
        assert [clip.id for clip in sources.clips] == ["rain_0", "rain_1"][: 1 + (cut >= ends[1] - 1)]


def test_samples_that_cannot_be_used_are_named_and_the_others_kept(tmp_path: Path) -> None:
    good = io.BytesIO()
    soundfile.write(good, np.full(4800, 0.1), 16_000, format="FLAC")
    captions = json.dumps({"captions": {"eng_Latn": ["A."]}}).encode()
    files = {
        "a.flac": good.getvalue(),
        "b.flac": good.getvalue(),
        "b.json": b"{",
        "c.flac": b"no sound",
        "c.json": captions,
        "d.json": captions,
        "e.flac": good.getvalue(),
        "e.json": b'{"captions": {"klingon": ["A."]}}',
        "f.flac": good.getvalue(),
        "f.txt": b"passed over",
        "f.json": captions,
    }
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    sources = read_sources([tmp_path / "x.tar"], ())
    assert [clip.id for clip in sources.clips] == ["f"]
    assert [path.name for path in sources.faults] == list("abcde")
    assert "no a.json with captions" in next(iter(sources.faults.values()))


def test_a_shard_that_changed_after_its_index_is_refused(tmp_path: Path) -> None:
    make_foreign(tmp_path / "a.tar", range(2))
    read_sources([tmp_path / "a.tar"], ())
    make_foreign(tmp_path / "a.tar", range(40))
    with pytest.raises(ManifestError, match="remove the index"):
        read_sources([tmp_path / "a.tar"], ())
    lines = Path(f"{tmp_path}/a.tar{ENDING}").read_bytes().splitlines()
    Path(f"{tmp_path}/a.tar{ENDING}").write_bytes(b"\n".join(lines[:-1]))
    with pytest.raises(ManifestError, match="cut off"):
        read_index(str(tmp_path / "a.tar"))


def test_what_is_fetched_does_not_depend_on_what_was_fetched_before(tmp_path: Path) -> None:
    make_foreign(tmp_path / "a.tar.gz", range(8))
    places = list(read_sources([tmp_path / "a.tar.gz"], ()).places.items())
    reader = ShardReader()
    parts = [reader.fetch(places[start : start + 2]).sounds for start in (4, 0, 6, 6, 2)]
    whole = ShardReader().fetch(places).sounds
    assert Counter(len(part) for part in parts) == {2: 5}
    assert all(part[clip] == whole[clip] for part in parts for clip in part)


def test_without_the_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path
) -> None:
    from ml_clap.command_line import checks

    found = checks.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "webdataset" else found(name))
    for words in (
        ["prepare", "shards", str(manifest), "--out", str(tmp_path / "out")],
        ["train", "--data.train", "s3://bucket/sounds", "--out", str(tmp_path / "run")],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
        assert "ml-clap[webdataset]" in capsys.readouterr().err
