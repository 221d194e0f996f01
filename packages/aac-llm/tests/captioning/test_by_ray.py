"""Captions by Ray are the local ones: block by block, after a lost worker, after a kill, and from URLs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from aac_llm.captioning import by_ray
from aac_llm.captioning.caption import caption_sources
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.ray import RayConfig
from aac_llm.data.predictions import Prediction, read_predictions


@pytest.fixture(scope="session")
def folder(scene_files, tmp_path_factory):
    """Six sounds, and one that is none."""
    place = tmp_path_factory.mktemp("sounds")
    for number, file in enumerate(scene_files):
        (place / f"{number}.wav").write_bytes(file.audio.read_bytes())
    (place / "2b.wav").write_bytes(b"no sound")
    return place


@pytest.fixture
def config(folder, tiny_model_folder, tmp_path):
    return config_of(folder, tiny_model_folder, tmp_path / "ray.jsonl")


def config_of(folder, model, out):
    return CaptionConfig(
        files=(folder,),
        model=str(model),
        out=out,
        max_new_tokens=4,
        device="cpu",
        engine="ray",
        ray=RayConfig(num_workers=2, block_seconds=5.0),
    )


@pytest.fixture(scope="session")
def local_out(tmp_path_factory):
    return tmp_path_factory.mktemp("captions") / "local.jsonl"


@pytest.fixture(scope="session")
def local(folder, tiny_model_folder, local_out):
    """What the local engine makes of the same sounds."""
    return caption_sources(replace(config_of(folder, tiny_model_folder, local_out), engine="local"))


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    """Hold captions to be the same but for the rounding of scores."""
    assert [rounded(one) for one in found] == [rounded(one) for one in expected]


def rounded(one: Prediction) -> Prediction:
    candidates = tuple(replace(c, score=round(c.score, 4)) for c in one.candidates)
    parts = tuple(replace(part, score=part.score and round(part.score, 4)) for part in one.parts)
    score = one.score and round(one.score, 4)
    return replace(one, score=score, candidates=candidates, parts=parts)


def report_of(out: Path) -> dict:
    return json.loads(Path(f"{out}.report.json").read_text())


def test_blocks_together_are_the_local_run(config, local, local_out, here):
    report = caption_sources(config)
    assert [len(block.rows) for block in here] == [2, 2, 1, 1, 1]
    assert_same(report.predictions, local.predictions)
    assert_same(read_predictions(config.out), local.predictions)
    assert report.num_new == local.num_new == 6
    assert [(file.path, file.partly) for file in report.bad_files] == [
        (file.path, file.partly) for file in local.bad_files
    ]
    assert report_of(config.out)["bad_files"] == report_of(local_out)["bad_files"]
    assert not Path(f"{config.out}.parts").exists()


@pytest.mark.parametrize("changes", [{"num_candidates": 3, "rerank": "cider"}, {"max_seconds": 2.0}])
def test_candidates_and_windows_are_the_local_ones(config, here, changes, tmp_path):
    config = replace(config, **changes)
    local = caption_sources(replace(config, engine="local", out=tmp_path / "local.jsonl"))
    assert_same(caption_sources(config).predictions, local.predictions)


def test_segments_are_the_local_ones(config, here, tmp_path):
    config = replace(config, segments=True, window_seconds=2.0, subtitles="srt")
    local = caption_sources(replace(config, engine="local", out=tmp_path / "local.jsonl"))
    found = caption_sources(config)
    assert_same(found.predictions, local.predictions)
    assert len(found.predictions) > 10
    assert {path.name for path in (tmp_path / "ray.srt").iterdir()} == {
        path.name for path in (tmp_path / "local.srt").iterdir()
    }


def test_ray_goes_on_where_a_local_run_stopped(config, local, local_out, here):
    lines = local_out.read_text().splitlines(keepends=True)
    config.out.write_text("".join(lines[:3]))
    Path(f"{config.out}.report.json").write_text(json.dumps(report_of(local_out)))
    assert_same(caption_sources(config).predictions, local.predictions)
    # The bad file lacks a caption, and is tried again as a local run would.
    assert [row["id"] for block in here for row in block.rows] == ["2b.wav", "3.wav", "4.wav", "5.wav"]


@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_kill_between_part_and_journal_loses_nothing(config, local, here, monkeypatch, engine):
    seen = []

    def killed(rows):
        seen.append(rows)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return read_results(rows)

    read_results = by_ray.read_results
    monkeypatch.setattr(by_ray, "read_results", killed)
    with pytest.raises(KeyboardInterrupt):
        caption_sources(config)
    assert len(here) == 2
    monkeypatch.setattr(by_ray, "read_results", read_results)
    made = []
    monkeypatch.setattr(by_ray.CaptionWorker, "work", counting(by_ray.CaptionWorker.work, made))
    found = caption_sources(replace(config, engine=engine))
    assert_same(found.predictions, local.predictions)
    assert len(found.predictions) - found.num_new == 2
    # The first block is in the journal, the second one's part is found: neither is made again.
    assert [row["id"] for row in made] == ([] if engine == "local" else ["3.wav", "4.wav", "5.wav"])


def counting(work, made):
    def counted(self, rows):
        made.extend(rows)
        return work(self, rows)

    return counted


def test_sampling_draws_the_same_for_a_block_that_is_done_again(config, here, tmp_path):
    config = replace(config, do_sample=True, num_beams=1)
    first = caption_sources(config).predictions
    assert_same(caption_sources(replace(config, overwrite=True)).predictions, first)


def test_what_a_worker_gives_up_is_a_bad_file(config):
    worker = object.__new__(by_ray.CaptionWorker)
    _, (bad,), _ = by_ray.read_results(worker.give_up({"audio": "s3://b/a.wav"}, "the process ended"))
    assert (str(bad.path), bad.reason, bad.partly) == ("s3:/b/a.wav", "the process ended", False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"out": None}, "give --out"), ({"out": Path("-")}, "give --out")],
)
def test_what_has_no_file_is_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_manifests_and_sounds_at_urls_are_captioned_as_local_ones(config, local, here, folder):
    import fsspec

    bucket = fsspec.filesystem("memory")
    rows = [{"id": path.name, "audio": path.name, "captions": ["rain"]} for path in sorted(folder.iterdir())]
    rows.append({"id": "gone", "audio": "gone.wav", "captions": ["rain"]})
    bucket.pipe_file("/bucket/clips.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    for path in folder.iterdir():
        bucket.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    manifest = replace(config, files=(Path("memory://bucket/clips.jsonl"),))
    report = caption_sources(manifest)
    expected = [
        replace(one, audio=f"memory://bucket/{one.id}", references=("rain",)) for one in local.predictions
    ]
    assert_same(report.predictions, expected)
    (gone, bad) = sorted(report_of(config.out)["bad_files"], key=lambda row: row["audio"], reverse=True)
    assert "memory://bucket/gone.wav cannot be fetched" in gone["reason"]
    assert bad["reason"].startswith("memory://bucket/2b.wav cannot be read")
    # A folder of sounds, in the order of their paths.
    whole = caption_sources(replace(config, files=(Path("memory://bucket"),), overwrite=True))
    assert_same(whole.predictions, [replace(one, references=()) for one in expected])
    here_again = caption_sources(replace(manifest, engine="local", overwrite=True))
    assert_same(here_again.predictions, expected)
