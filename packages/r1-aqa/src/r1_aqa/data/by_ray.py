"""`r1-aqa prepare --engine ray`: recordings decoded and fingerprinted by workers of Ray.

What they find goes into the same memory beside the output as a local check's, so either engine goes on where
the other one stopped; all that follows (duplicates, benchmarks, the report) is done by the command itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from audio_common import DecodeLimits
from audio_common.check import Check, CheckMemory, check_files

from r1_aqa.bulk.blocks import Row, leave_out, make_blocks
from r1_aqa.bulk.parts import Parts
from r1_aqa.bulk.places import is_url, local_copies, written
from r1_aqa.bulk.run import run_blocks
from r1_aqa.bulk.seconds import seconds_of
from r1_aqa.config.prepare import PrepareConfig
from r1_aqa.data.check import describe
from r1_aqa.data.fingerprints import RATE
from r1_aqa.output import Progress


class CheckWorker:
    """Checks the recordings of blocks; made in each worker process.

    Args:
        config: settings of the command.
    """

    def __init__(self, config: PrepareConfig) -> None:
        self.channel = config.channel
        self.limits = DecodeLimits(seconds=config.decode_seconds, megabytes=config.decode_megabytes)

    def work(self, rows: Sequence[Row]) -> list[Row]:
        """Return the check of each recording, or why it cannot be used."""
        names = [row["audio"] for row in rows]
        with local_copies(names) as copies, TemporaryDirectory() as folder:
            here = {path: name for name, path in zip(names, copies, strict=True) if isinstance(path, Path)}
            checks, failures = check_files(
                list(here),
                CheckMemory(Path(folder, "checked.jsonl")),
                num_workers=2,
                sample_rate=RATE,
                channel=self.channel,
                describe=describe,
                decode_limits=self.limits,
            )
            found: list[Row] = [{"audio": here[p], "check": asdict(check)} for p, check in checks.items()]
            found += [
                {"audio": here[p], "failure": why.replace(str(p), here[p])} for p, why in failures.items()
            ]
        return found + [
            {"audio": name, "failure": str(copy)}
            for name, copy in zip(names, copies, strict=True)
            if isinstance(copy, OSError)
        ]

    def give_up(self, row: Row, why: str) -> list[Row]:
        """Return that a recording could not be checked."""
        return [{"audio": row["audio"], "failure": why}]


def check_by_ray(
    config: PrepareConfig, paths: Sequence[Path], memory: CheckMemory
) -> tuple[dict[Path, Check], dict[Path, str]]:
    """Check recordings that the memory does not know by Ray, and remember them.

    Args:
        config: settings of the command.
        paths: recordings, each once; of one at a URL the path that `Path` makes of it.
        memory: what is known.

    Returns:
        The check of each usable recording, and the reason why each other one is not.

    Raises:
        ValueError: Ray is not installed, or the cluster is too small for a worker.
        RuntimeError: a worker cannot go on; what was checked is kept.
    """
    names = {name_of(path): path for path in paths}
    checks = {path: known for path in paths if (known := memory.get(path, config.channel))}
    failures: dict[Path, str] = {}
    parts = Parts(config.ray.parts or f"{config.out.absolute()}.parts")
    settings = {"checks": RATE, "channel": config.channel}
    rows = [{"audio": name} for name in names]
    seconds = seconds_of(list(names), [None] * len(names))
    blocks = make_blocks(rows, seconds, block_seconds=config.ray.block_seconds, settings=settings)
    blocks = leave_out(blocks, lambda row: names[row["audio"]] in checks, settings)
    with Progress("Checking audio", len(names), start=len(checks)) as progress:
        for done in run_blocks(blocks, partial(CheckWorker, config), parts, config.ray):
            for row in parts.read(done.block):
                path = names[row["audio"]]
                if "check" in row:
                    checks[path] = Check(**row["check"])
                    memory.add(path, checks[path], config.channel)
                else:
                    failures[path] = row["failure"]
            progress.advance(len(done.block.rows))
    if config.ray.parts is None:  # all they hold is in the memory
        parts.remove()
    return checks, failures


def name_of(path: Path) -> str:
    """Return a path that any working folder finds, or a URL as it was written."""
    return written(path) if is_url(path) else str(path.absolute())
