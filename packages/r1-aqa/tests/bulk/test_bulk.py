"""Bulk jobs in blocks: nothing is lost or done twice, whoever is killed.

The room is one file for file in all packages (tests/test_command_line.py), so this is tested here for all.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra ray is not installed")

from r1_aqa.bulk.blocks import Block, Row, leave_out, longest_first, make_blocks
from r1_aqa.bulk.parts import Parts
from r1_aqa.bulk.places import local_copies, names_in, read_all, remove, written
from r1_aqa.bulk.run import count_workers, joined, run_blocks
from r1_aqa.bulk.work import BlockError, do_block
from r1_aqa.config.ray import RayConfig


class Doubler:
    """Doubles `x`; each call leaves a line in `log`, and a row may end the process once or always."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def work(self, rows: Sequence[Row]) -> list[Row]:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {[row['x'] for row in rows]}\n")
        for row in rows:
            fatal = row.get("fatal")
            if fatal == "always" or (fatal == "once" and _first_time(self.log.with_name(f"{row['x']}.once"))):
                os.kill(os.getpid(), signal.SIGKILL)
            if row["x"] is None:
                raise TypeError("x is missing")
        return [{"x": row["x"], "double": 2 * row["x"]} for row in rows]

    def give_up(self, row: Row, why: str) -> list[Row]:
        return [{"x": row["x"], "error": why}]


def _first_time(path: Path) -> bool:
    if path.exists():
        return False
    path.touch()
    return True


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with joined(RayConfig(num_workers=2)):
        yield


def block_of(*rows: Row) -> Block:
    return make_blocks(rows, [1.0] * len(rows), block_seconds=1000, settings={})[0]


def test_a_block_ends_where_its_seconds_are_reached() -> None:
    rows: list[Row] = [{"x": number} for number in range(7)]
    blocks = make_blocks(rows, [3, 3, 3, 50, 3, 3, 3], block_seconds=6, settings={}, max_rows=2)
    assert [[row["x"] for row in block.rows] for block in blocks] == [[0, 1], [2], [3], [4, 5], [6]]
    assert [block.seconds for block in blocks] == [6, 3, 50, 6, 3]
    assert [block.number for block in longest_first(blocks)] == [2, 0, 3, 1, 4]
    assert [
        len(block.rows) for block in make_blocks(rows, [0] * 7, block_seconds=6, settings={}, max_rows=3)
    ] == [
        3,
        3,
        1,
    ]


def test_a_block_is_known_by_its_rows_and_the_jobs_settings() -> None:
    rows: list[Row] = [{"x": 1}, {"x": 2}]
    one, again, other = (
        make_blocks(rows, [1, 1], block_seconds=9, settings={"beams": beams})[0].key for beams in (1, 1, 2)
    )
    assert one == again != other
    assert make_blocks(rows[:1], [1], block_seconds=9, settings={"beams": 1})[0].key != one


def test_blocks_without_what_the_output_holds() -> None:
    rows: list[Row] = [{"x": number} for number in range(6)]
    blocks = make_blocks(rows, [1.0] * 6, block_seconds=2, settings={"beams": 1})
    left = leave_out(blocks, lambda row: row["x"] in (2, 3, 4), {"beams": 1})
    assert [(block.number, [row["x"] for row in block.rows]) for block in left] == [(0, [0, 1]), (2, [5])]
    assert left[0] == blocks[0]
    assert left[1].key == make_blocks(rows[5:], [1.0], block_seconds=2, settings={"beams": 1})[0].key
    assert left[1].seconds == 1


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_part_is_read_back_and_found_again(tmp_path: Path, kind: str, scheme: str) -> None:
    parts = Parts(f"{scheme}{tmp_path}/parts", kind)  # type: ignore[arg-type]
    block, other = block_of({"x": 1}), block_of({"x": 2})
    assert parts.list_done([block, other]) == []
    rows: list[Row] = [
        {"id": "ä", "caption": "a dog", "score": 0.5},
        {"id": "b", "caption": None, "score": 1.5},
    ]
    parts.write(block, rows)
    assert parts.read(block) == rows
    assert parts.count(block) == 2
    assert Parts(parts.place, kind).list_done([block, other]) == [block]  # type: ignore[arg-type]
    parts.mark(other, "try-1")
    (tmp_path / "parts" / "own.txt").touch()
    parts.remove()
    assert list((tmp_path / "parts").iterdir()) == [tmp_path / "parts" / "own.txt"]
    (tmp_path / "parts" / "own.txt").unlink()
    parts.remove()
    assert not (tmp_path / "parts").exists()


def test_a_name_whose_bytes_are_no_text_is_kept(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": "bad\udcff\0name.wav", "texts": ["a\udc80"], "n": 1},
        {"id": "ä", "texts": [], "n": 2},
    ]
    for kind in ("jsonl", "parquet"):
        parts, block = Parts(str(tmp_path), kind), block_of({"x": 1})  # type: ignore[arg-type]
        parts.write(block, rows)
        assert parts.read(block) == rows


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    block = block_of({"x": 1})
    for kind in ("jsonl", "parquet"):
        parts = Parts(str(tmp_path), kind)  # type: ignore[arg-type]
        Path(parts.path_of(block)).write_bytes(b"half a par")
        with pytest.raises(ValueError, match=f"part-000000-{block.key}.{kind}"):
            parts.read(block)


def test_parts_may_be_on_an_object_store() -> None:
    place = written("memory://bucket/parts")
    parts, block = Parts(place), block_of({"x": 1})
    parts.write(block, [{"x": 1}])
    assert parts.list_done([block]) == [block]
    assert read_all(parts.path_of(block)) == b'{"x": 1}\n'
    parts.mark(block, "try-1")
    assert parts.list_marks(block) == {"try-1"}
    parts.forget(block)
    assert parts.list_marks(block) == set()
    remove(place)
    assert names_in(place) == []


def test_remote_sounds_are_fetched_and_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "dog.wav").write_bytes(b"RIFF")
    names = [
        str(tmp_path / "dog.wav"),
        f"file://{tmp_path}/dog.wav",
        f"file://{tmp_path}/cat.wav",
        "nope://x/a",
    ]
    with local_copies(names) as (same, fetched, missing, unknown):
        assert same == tmp_path / "dog.wav"
        assert isinstance(fetched, Path)
        assert (fetched.name, fetched.read_bytes()) == ("dog.wav", b"RIFF")
        assert isinstance(missing, OSError)
        assert "cat.wav cannot be fetched" in str(missing)
        assert isinstance(unknown, OSError)
        assert "nope" in str(unknown)
    assert not fetched.exists()


def test_a_row_with_an_error_costs_itself(tmp_path: Path) -> None:
    parts, block = Parts(str(tmp_path / "parts")), block_of({"x": 1}, {"x": None}, {"x": 3})
    assert do_block(Doubler(tmp_path / "log"), block, parts) == (3, 0)
    assert parts.read(block) == [
        {"x": 1, "double": 2},
        {"x": None, "error": "TypeError: x is missing"},
        {"x": 3, "double": 6},
    ]
    assert parts.list_marks(block) == set()
    assert do_block(Doubler(tmp_path / "log"), block, parts) == (3, 0)
    assert len((tmp_path / "log").read_text().splitlines()) == 4  # once whole, three rows; not again


def test_a_fault_that_is_not_the_rows_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match=r"none of 2 rows can be worked on(.|\n)*TypeError: x is missing"):
        do_block(
            Doubler(tmp_path / "log"), block_of({"x": None}, {"x": None}), Parts(str(tmp_path / "parts"))
        )


def test_a_cluster_too_small_for_a_worker_is_told() -> None:
    resources = {"CPU": 4.0, "GPU": 1.0}
    assert count_workers(resources, RayConfig()) == 4
    assert count_workers(resources, RayConfig(gpus_per_worker=0.5)) == 2
    assert count_workers(resources, RayConfig(num_workers=3)) == 3
    assert count_workers(resources, RayConfig(num_workers=9)) == 4
    with pytest.raises(ValueError, match=r"takes 8 CPUs and 0 GPUs.*--ray.cpus_per_worker"):
        count_workers(resources, RayConfig(cpus_per_worker=8))


@pytest.mark.parametrize(
    "wrong", [{"num_workers": 0}, {"cpus_per_worker": 0}, {"block_seconds": -1}, {"gpus_per_worker": -1}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"ray.{next(iter(wrong))}"):
        RayConfig(**wrong)  # type: ignore[arg-type]


def test_a_ray_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", fail)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConnectionError, match=r"timed out.*`ray start --head`"), joined(RayConfig()):
        pass
    elsewhere = RayConfig(address="127.0.0.1:1")  # nobody listens there
    with (
        pytest.raises(ConnectionError, match=r"Ray at 127.0.0.1:1 does not start .*refused"),
        joined(elsewhere),
    ):
        pass


@pytest.mark.slow
def test_a_lost_worker_and_a_row_that_ends_every_worker(tmp_path: Path, cluster: None) -> None:
    rows: list[Row] = [{"x": number} for number in range(12)]
    rows[5]["fatal"], rows[8]["fatal"] = "once", "always"
    blocks = make_blocks(rows, [1.0] * 12, block_seconds=3, settings={})
    parts = Parts(str(tmp_path / "parts"))
    parts.write(blocks[0], [{"x": "of an earlier run"}] * 3)
    done = list(run_blocks(blocks, partial(Doubler, tmp_path / "log"), parts, RayConfig(num_workers=2)))
    assert sorted(one.block.number for one in done) == [0, 1, 2, 3]
    assert {one.block.number: one.tries for one in done} == {0: 0, 1: 1, 2: 3, 3: 0}
    results = [row for block in blocks for row in parts.read(block)]
    expected: list[Row] = [{"x": "of an earlier run"}] * 3
    expected += [{"x": number, "double": 2 * number} for number in range(3, 12)]
    expected[8] = {"x": 8, "error": "the process that worked on it ended"}
    assert results == expected
    assert len(list((tmp_path / "parts").glob("part-*"))) == 4
    assert {done_by.pid for done_by in done if done_by.pid} != {os.getpid()}


@pytest.mark.slow
def test_the_workers_error_is_told_and_what_was_done_is_kept(tmp_path: Path, cluster: None) -> None:
    blocks = make_blocks([{"x": 1}, {"x": None}], [9.0, 1.0], block_seconds=5, settings={})
    parts = Parts(str(tmp_path / "parts"))
    done = run_blocks(blocks, partial(Doubler, tmp_path / "log"), parts, RayConfig(num_workers=1))
    assert next(done).block.number == 0
    with pytest.raises(RuntimeError, match=r"what was done is kept(.|\n)*x is missing"):
        next(done)
    assert parts.list_done(blocks) == blocks[:1]
