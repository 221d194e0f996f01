"""Captions of sounds in tar shards are those of the same sounds as files, here and by Ray."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm.captioning import groups
from aac_llm.captioning.caption import caption_sources
from aac_llm.captioning.run import CaptionRun
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.ray import RayConfig
from aac_llm.data import shards as listing
from aac_llm.data.predictions import Prediction, read_predictions
from aac_llm.data.sounds import find_sounds


@pytest.fixture(scope="session")
def sounds(scene_files, tmp_path_factory):
    """Six sounds as files."""
    place = tmp_path_factory.mktemp("files")
    for number, file in enumerate(scene_files):
        (place / f"{number}.wav").write_bytes(file.audio.read_bytes())
    return place


@pytest.fixture(scope="session")
def shards(sounds, tmp_path_factory):
    """The same in two shards, with one that is no sound and one that has no bytes."""
    place = tmp_path_factory.mktemp("shards")
    files = sorted(sounds.iterdir())
    rows = {"0.json": {"captions": ["rain"], "duration": 4.0, "split": "test"}}
    pack(
        place / "a-0.tar", files[:3], {"bad.wav": b"no sound", "0.json": json.dumps(rows["0.json"]).encode()}
    )
    pack(place / "a-1.tar", files[3:], {"3.txt": b"a bell rings", "empty.wav": b""})
    return place


def pack(path, files, others):
    with tarfile.open(path, "w") as tar:
        for file in files:
            tar.add(file, file.name)
        for name, content in others.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def config(shards, tiny_model_folder, tmp_path):
    return CaptionConfig(
        files=(shards,),
        model=str(tiny_model_folder),
        out=tmp_path / "out.jsonl",
        max_new_tokens=4,
        device="cpu",
        ray=RayConfig(num_workers=2, block_seconds=5.0),
    )


@pytest.fixture(scope="session")
def expected(sounds, tiny_model_folder, tmp_path_factory):
    """Captions of the files."""
    out = tmp_path_factory.mktemp("captions") / "files.jsonl"
    config = CaptionConfig(
        files=(sounds,), model=str(tiny_model_folder), out=out, max_new_tokens=4, device="cpu"
    )
    return [one.caption for one in caption_sources(config).predictions]


def assert_captions_of(found: list[Prediction], place: str, expected: list[str]) -> None:
    assert [one.id for one in found] == ["0", "1", "2", "3", "4", "5"]
    assert [one.audio for one in found] == [f"{place}/a-{int(n > 2)}.tar/{n}.wav" for n in range(6)]
    assert [one.references for one in found] == [("rain",), (), (), ("a bell rings",), (), ()]
    assert [one.caption for one in found] == expected


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_captions_are_those_of_the_files(config, shards, expected, here, engine, monkeypatch):
    monkeypatch.setattr(groups, "GROUP_SIZE", 2)
    report = caption_sources(replace(config, engine=engine))
    assert_captions_of(report.predictions, str(shards), expected)
    assert read_predictions(config.out) == report.predictions
    (bad,) = report.bad_files
    assert str(bad.path) == f"{shards}/a-0.tar/bad.wav"
    assert bad.reason.startswith(f"{shards}/a-0.tar/bad.wav cannot be read")
    assert report.bad_rows == [f"{shards}/a-1.tar/empty.wav: empty.wav has no bytes"]
    told = json.loads(Path(f"{config.out}.report.json").read_text())
    assert told["bad_rows"] == report.bad_rows
    assert [file["audio"] for file in told["bad_files"]] == [str(bad.path)]
    if engine == "ray":
        assert len(here) > 2


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_shards_at_urls_are_captioned_alike(config, shards, expected, here, engine, monkeypatch):
    import fsspec

    def killed(self):
        raise KeyboardInterrupt

    bucket = fsspec.filesystem("memory")
    for path in shards.iterdir():
        bucket.pipe_file(f"/tars/{path.name}", path.read_bytes())
    pattern = Path("memory://tars/a-{0..1}.tar")
    with monkeypatch.context() as patch:
        patch.setattr(CaptionRun, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            caption_sources(replace(config, files=(pattern,), engine=engine))
    kept = Path(f"{config.out}.shards")
    assert len(list(kept.iterdir())) == 2
    # What was listed is not listed again.
    monkeypatch.setattr(listing, "_by_headers", None)
    report = caption_sources(replace(config, files=(pattern,), engine=engine))
    assert not kept.exists()
    assert report.num_new == 0
    assert report.bad_rows == ["memory://tars/a-1.tar/empty.wav: empty.wav has no bytes"]
    assert_captions_of(report.predictions, "memory://tars", expected)
    assert [str(file.path) for file in report.bad_files] == ["memory:/tars/a-0.tar/bad.wav"]


def test_rows_of_a_manifest_name_members(config, shards, expected, here):
    rows = [
        *[{"id": f"{n}", "audio": f"a-{int(n > 2)}.tar/{n}.wav", "captions": ["x"]} for n in range(6)],
        {"id": "lost", "audio": "a-0.tar/lost.wav", "captions": ["x"]},
    ]
    manifest = shards / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for engine in ("local", "ray"):
        report = caption_sources(replace(config, files=(manifest,), engine=engine, overwrite=True))
        assert [one.caption for one in report.predictions] == expected
        assert report.predictions[4].audio == f"{shards}/a-1.tar/4.wav"
        assert [file.reason for file in report.bad_files] == [
            f"{shards}/a-0.tar/lost.wav is not there, or not whole"
        ]
    manifest.unlink()


def test_a_killed_run_goes_on(config, expected, monkeypatch):
    kept = CaptionRun.keep

    def killed(self, predictions, *found):
        kept(self, predictions, *found)
        if predictions:
            raise KeyboardInterrupt

    monkeypatch.setattr(groups, "GROUP_SIZE", 2)
    monkeypatch.setattr(CaptionRun, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        caption_sources(config)
    monkeypatch.setattr(CaptionRun, "keep", kept)
    report = caption_sources(config)
    assert [one.caption for one in report.predictions] == expected
    assert 0 < report.num_new < 6


def test_a_split_is_of_shards_too(shards):
    assert [sound.id for sound in find_sounds([shards], "test", problems=[])] == ["0"]


def test_keys_need_not_be_unique_over_all_shards(sounds, tmp_path):
    for name in ("x.tar", "y.tar"):
        pack(tmp_path / name, [sounds / "0.wav"], {})
    found = find_sounds([tmp_path])
    assert [sound.id for sound in found] == ["0", "y.tar/0"]
    # Named twice, by itself and by its shard, a sound is captioned once.
    again = find_sounds([tmp_path / "x.tar", tmp_path / "x.tar", tmp_path / "x.tar" / "0.wav"])
    assert len({sound.place for sound in again}) == 1


def test_blocks_are_as_long_as_shards_say(config):
    sounds = find_sounds(config.files, problems=[])
    assert [sound.seconds for sound in sounds][:2] == [4.0, None]
    place = sounds[1].place
    assert place is not None
    assert sounds[1].likely_seconds == place.size / 32_000


def test_damage_is_an_error_where_nobody_reads_the_problems(shards):
    with pytest.raises(ValueError, match=r"empty\.wav has no bytes"):
        find_sounds([shards])
