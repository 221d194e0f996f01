"""Answers about sounds in tar shards are those about the same sounds as files, here and by Ray."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from r1_aqa.bulk.blocks import Block
from r1_aqa.cli import check_evaluate
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.ray import RayConfig
from r1_aqa.data.benchmark import load_benchmark
from r1_aqa.evaluators.evaluate import evaluate
from r1_aqa.evaluators.predictions import read_predictions


@pytest.fixture(scope="module")
def shards(benchmark: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sounds in two shards beside a file of questions, and in `asked` with a question each."""
    place = tmp_path_factory.mktemp("shards")
    rows = [json.loads(line) for line in benchmark.read_text(encoding="utf-8").splitlines()]
    names = sorted({row["audio"] for row in rows})
    home = {name: f"b-{number % 2}.tar" for number, name in enumerate(names)}
    for shard in set(home.values()):
        members = {name: (benchmark.parent / name).read_bytes() for name in names if home[name] == shard}
        pack(place / shard, members)
    lines = [row | {"audio": f"{home[row['audio']]}/{row['audio']}"} for row in rows]
    (place / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    (place / "asked").mkdir()
    asked: dict[str, bytes] = {"empty.wav": b""}
    for number, row in enumerate(rows):
        asked[f"{number}.wav"] = (benchmark.parent / row["audio"]).read_bytes()
        asked[f"{number}.json"] = json.dumps(
            {name: row[name] for name in ("id", "question", "choices", "answer", "task") if name in row}
        ).encode()
    pack(place / "asked" / "test-000.tar", asked)
    return place


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def config_of(data: Path | str, model: Path, out: Path, **changes: Any) -> EvaluateConfig:
    return EvaluateConfig(
        data=str(data),
        model=str(model),
        out=out,
        batch_size=3,
        max_new_tokens=6,
        device="cpu",
        ray=RayConfig(num_workers=2, block_seconds=12.0),
        **changes,
    )


@pytest.fixture(scope="module")
def expected(
    benchmark: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, str | None]]:
    """Ids and answers about the files."""
    out = tmp_path_factory.mktemp("files")
    evaluate(config_of(benchmark, tiny_model_folder, out))
    return answers_of(out)


def answers_of(out: Path) -> list[tuple[str, str | None]]:
    return [(one.id, one.output) for one in read_predictions(out / "predictions.jsonl")]


@pytest.mark.parametrize("engine", ["transformers", "ray"])
def test_a_question_may_name_a_member_of_a_shard(
    shards: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    here: list[Block],
    expected: list[tuple[str, str | None]],
    engine: Any,
) -> None:
    config = config_of(shards / "questions.jsonl", tiny_model_folder, tmp_path / "out", engine=engine)
    scores = evaluate(config)
    assert answers_of(config.out) == expected
    assert scores["num_unreadable"] == 1
    bad = next(one.error for one in read_predictions(config.out / "predictions.jsonl") if one.output is None)
    assert bad is not None
    assert bad.startswith(f"{shards}/b-0.tar/bad.wav cannot be read")
    if engine == "ray":
        sounds = [
            [row["question"]["audio"] for row in block.rows] for block in here if "look" not in block.rows[0]
        ]
        homes = [name.split(".tar")[0] for block in sounds for name in block]
        assert homes == sorted(homes)  # a shard after the other


@pytest.mark.parametrize("engine", ["transformers", "ray"])
def test_shards_hold_questions_at_any_url(
    shards: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    here: list[Block],
    expected: list[tuple[str, str | None]],
    engine: Any,
) -> None:
    import fsspec

    shard = shards / "asked" / "test-000.tar"
    fsspec.filesystem("memory").pipe_file("/asked/test-000.tar", shard.read_bytes())
    config = config_of("memory://asked", tiny_model_folder, tmp_path / "out", engine=engine)
    check_evaluate(config)
    scores = evaluate(config)
    assert sorted(answers_of(config.out)) == sorted(expected)
    assert scores["bad_rows"] == ["memory://asked/test-000.tar/empty.wav: empty.wav has no bytes"]


def test_audio_may_be_named_by_a_folder_of_shards(benchmark: Path, shards: Path, tmp_path: Path) -> None:
    rows = (shards / "questions.jsonl").read_text(encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text(rows, encoding="utf-8")
    moved = load_benchmark(str(tmp_path / "questions.jsonl"), shards)
    assert {str(question.audio.parent.parent) for question in moved.questions} == {str(shards)}


def test_what_is_not_there_is_told_at_once(shards: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    config = config_of(shards / "asked" / "test-{000..001}.tar", tiny_model_folder, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"test-001\.tar"):
        check_evaluate(config)
    with pytest.raises(ValueError, match="shards hold their sounds"):
        evaluate(replace(config, data=str(shards / "asked"), audio=tmp_path))
