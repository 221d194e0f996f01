"""Captions translated batch by batch, without Ray: the result is the one made here, to the letter."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ml_clap.config.ray import RayConfig
from ml_clap.config.translate import TranslateConfig
from ml_clap.translate import by_ray
from ml_clap.translate import translate as module
from ml_clap.translate.factory import Factory
from ml_clap.translate.seq2seq import Seq2SeqTranslator
from ml_clap.translate.translate import translate_manifest
from ml_clap.translate.translator import Translation

Worked = list[list[dict[str, Any]]]


def config(manifest: Path, out: Path, nllb: Path, judge: Path, **changes: Any) -> TranslateConfig:
    chosen: dict[str, Any] = {
        "languages": ("fra", "deu"),
        "translator": str(nllb),
        "judge": str(judge),
        "min_similarity": ("-1",),
        "min_agreement": ("0",),
        "max_tokens": 12,
        "batch_size": 2,
        "device": "cpu",
    }
    return TranslateConfig(data=manifest, out=out, **chosen | changes)


def outputs(out: Path) -> dict[str, str]:
    names = ("manifest.jsonl", "rejected.jsonl", "report.json", "report.html")
    return {name: (out / name).read_text() for name in names}


def journal(out: Path) -> list[str]:
    return sorted((out / "journal.jsonl").read_text().splitlines())


def test_the_files_are_those_made_here(
    manifest: Path, nllb: Path, judge: Path, tmp_path: Path, blocks_here: Callable[..., Worked]
) -> None:
    translate_manifest(config(manifest, tmp_path / "here", nllb, judge))
    worked = blocks_here(by_ray)
    ray = RayConfig(block_seconds=2)
    translate_manifest(config(manifest, tmp_path / "there", nllb, judge, engine="ray", ray=ray))
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
    assert journal(tmp_path / "there") == journal(tmp_path / "here")
    assert {row["language"] for rows in worked for row in rows} == {"fra_Latn", "deu_Latn"}
    assert len({row["stage"] for rows in worked for row in rows}) >= 3
    assert not (tmp_path / "there.parts").exists()
    # The command without Ray finds all of it done.
    again = tmp_path / "there"
    before = journal(again)
    translate_manifest(config(manifest, again, nllb, judge))
    assert journal(again) == before


def test_a_stopped_job_goes_on_and_translates_nothing_twice(
    manifest: Path, nllb: Path, judge: Path, tmp_path: Path, blocks_here: Callable[..., Worked]
) -> None:
    translate_manifest(config(manifest, tmp_path / "here", nllb, judge))
    there = config(
        manifest, tmp_path / "there", nllb, judge, engine="ray", ray=RayConfig(block_seconds=2, parts=None)
    )
    first = blocks_here(by_ray, stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        translate_manifest(there)
    # A driver killed between a part and the journal: the part is there, its line is not.
    lines = (tmp_path / "there/journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "there/journal.jsonl").write_bytes(lines[0])
    second = blocks_here(by_ray)
    translate_manifest(there)
    keys = [(row["stage"], row["language"], str(row["keys"])) for rows in first + second for row in rows]
    assert len(first) == 1
    assert len(keys) == len(set(keys))
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")


def test_one_caption_costs_itself_alone_and_is_tried_again(
    manifest: Path,
    nllb: Path,
    judge: Path,
    tmp_path: Path,
    blocks_here: Callable[..., Worked],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    translate_manifest(config(manifest, tmp_path / "here", nllb, judge))
    blocks_here(by_ray)
    there = config(manifest, tmp_path / "there", nllb, judge, engine="ray")
    translate = Seq2SeqTranslator.translate

    def fail(self: Seq2SeqTranslator, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        if "Rain falls on a roof." in texts:
            raise MemoryError("out of memory")
        return translate(self, texts, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Seq2SeqTranslator, "translate", fail)
        with pytest.raises(ValueError, match=r"2 captions could not .*Rain falls on a roof.*out of memory"):
            translate_manifest(there)
    done = [json.loads(line) for line in journal(tmp_path / "there")]
    texts = {key for row in done if row["stage"] == "translated" for key in row["keys"]}
    assert "A dog barks twice." in texts
    assert "Rain falls on a roof." not in texts
    translate_manifest(there)
    assert json.loads((tmp_path / "there/report.json").read_text())["num_clips"] == 5
    assert outputs(tmp_path / "there").keys() == outputs(tmp_path / "here").keys()


def test_a_worker_with_another_revision_is_an_error(
    manifest: Path, nllb: Path, judge: Path, tmp_path: Path
) -> None:
    worker = by_ray.TranslateWorker(config(manifest, tmp_path, nllb, judge), "eng_Latn", "another")
    with pytest.raises(ValueError, match="was of another where the job was started"):
        worker.work([{"stage": "translated", "language": "fra_Latn", "keys": ["A dog."]}])


def test_the_driver_works_at_nothing_itself(
    manifest: Path,
    nllb: Path,
    judge: Path,
    tmp_path: Path,
    blocks_here: Callable[..., Worked],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks_here(by_ray)
    made: list[Factory] = []
    make = module._make_factory

    def kept(*arguments: Any) -> Factory:
        made.append(make(*arguments))
        monkeypatch.setattr(made[0].translator, "translate", None)
        return made[0]

    monkeypatch.setattr(module, "_make_factory", kept)
    translate_manifest(config(manifest, tmp_path / "there", nllb, judge, engine="ray"))
    assert made
