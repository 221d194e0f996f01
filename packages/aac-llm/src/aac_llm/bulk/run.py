"""Blocks done by the workers of a Ray cluster (Ray Data), or of a Ray that is started on this machine.

Ray Data keeps a pool of processes that hold a model each, gives a block to whichever is free, and starts anew
those that die, their block done again. The parts on disk are the truth: what is there is not done again, by
Ray after a lost worker nor by the same command after a kill.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from aac_llm.bulk.blocks import Block, longest_first
from aac_llm.bulk.parts import Parts
from aac_llm.bulk.work import RayWorker, RowWorker, to_record
from aac_llm.config.ray import RayConfig

logger = logging.getLogger(__name__)

REACHED_SECONDS = 10.0
"""A cluster answers within this."""


@dataclass(frozen=True)
class Done:
    """A block that is done.

    Attributes:
        block: the block, whose results its part holds.
        count: number of results; None where an earlier run did it.
        pid: process that did it.
        seconds: time that it took.
        tries: workers that it has cost before.
    """

    block: Block
    count: int | None = None
    pid: int | None = None
    seconds: float = 0.0
    tries: int = 0


def require_ray() -> None:
    """Raise a ValueError if Ray is not installed."""
    if any(find_spec(name) is None for name in ("ray", "pyarrow", "fsspec")):
        package = __name__.partition(".")[0].replace("_", "-")
        raise ValueError(f"--engine ray needs Ray: install {package}[ray], or leave --engine out")


def run_blocks(
    blocks: Sequence[Block], make_worker: Callable[[], RowWorker], parts: Parts, config: RayConfig
) -> Iterator[Done]:
    """Do blocks by Ray, and yield each when its part is there: earlier runs' first, then as they come.

    Args:
        blocks: what to do.
        make_worker: makes a worker, which loads its model, in the worker's process; must pickle (a
            `functools.partial` of a class and its settings).
        parts: where results go.
        config: the cluster and the workers.

    Raises:
        ValueError: Ray is not installed, or the cluster is too small for one worker.
        RuntimeError: a worker cannot be made, or no row of a block can be worked on. What was done is kept.
    """
    require_ray()
    done = parts.list_done(blocks)
    yield from (Done(block) for block in done)
    finished = {block.number for block in done}
    waiting = longest_first([block for block in blocks if block.number not in finished])
    if not waiting:
        return
    by_number = {block.number: block for block in waiting}
    with joined(config) as ray:
        for row in _dataset(ray, waiting, make_worker, parts, config).iter_rows():
            if row["error"]:
                raise RuntimeError(f"a worker of Ray cannot go on; what was done is kept: {row['error']}")
            if row["tries"]:
                logger.warning("block %d was lost with its worker and done again", row["number"])
            yield Done(by_number[row["number"]], row["count"], row["pid"], row["seconds"], row["tries"])


def _dataset(
    ray: Any, blocks: Sequence[Block], make_worker: Callable[[], RowWorker], parts: Parts, config: RayConfig
) -> Any:
    most = min(count_workers(ray.cluster_resources(), config), len(blocks))
    records = [to_record(block) for block in blocks]
    # One record a task: else a worker holds blocks back that another could do.
    return ray.data.from_items(records, override_num_blocks=len(records)).map_batches(
        RayWorker,
        fn_constructor_args=(make_worker, parts),
        batch_size=1,
        num_cpus=config.cpus_per_worker,
        num_gpus=config.gpus_per_worker or None,
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=1
        ),
    )


def count_workers(resources: dict[str, float], config: RayConfig) -> int:
    """Return how many workers a cluster holds, or as many as the settings name if those are fewer.

    Args:
        resources: CPUs and GPUs of the cluster, as Ray counts them.
        config: what a worker takes.

    Raises:
        ValueError: not one.
    """
    rooms = [resources.get("CPU", 0.0) / config.cpus_per_worker]
    if config.gpus_per_worker:
        rooms.append(resources.get("GPU", 0.0) / config.gpus_per_worker)
    most = int(min(rooms) + 1e-9)
    if most < 1:
        raise ValueError(
            f"a worker takes {config.cpus_per_worker:g} CPUs and {config.gpus_per_worker:g} GPUs, and the "
            f"cluster has {resources.get('CPU', 0):g} and {resources.get('GPU', 0):g}: lower "
            "--ray.cpus_per_worker or --ray.gpus_per_worker"
        )
    if config.num_workers is not None and config.num_workers > most:
        logger.warning("--ray.num_workers %d: the cluster holds %d workers now", config.num_workers, most)
    return min(most, config.num_workers or most)


@contextmanager
def joined(config: RayConfig) -> Iterator[Any]:
    """Join the cluster, or start a Ray of this machine, and leave it at the end; what is joined stays so."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # an error that is none, at every start
    import ray
    import ray.data

    _quiet(ray)
    if ray.is_initialized():
        yield ray
        return
    _start(ray, config)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, config: RayConfig) -> None:
    """Join the cluster, or start a Ray of this machine.

    Raises:
        ConnectionError: there is no such cluster, or this machine is too busy to start one.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    # `local`: without an address Ray would join whatever cluster it finds running on this machine.
    own: dict[str, Any] = {} if address else {"include_dashboard": False, "num_cpus": _local_cpus(config)}
    try:
        _require_reachable(address)
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray's own timeout is a bare Exception
        advice = (
            "is it running, and is its Ray of the same version?"
            if address
            else "a busy machine misses Ray's limit of 30 s: try again, or run `ray start --head` before and "
            "give --ray.address auto"
        )
        where = address or "this machine"
        raise ConnectionError(f"Ray at {where} does not start ({error}); {advice}") from error


def _require_reachable(address: str | None) -> None:
    """Raise an OSError where nobody listens at `host:port`: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_SECONDS).close()


def _local_cpus(config: RayConfig) -> int:
    """Return the CPUs of a Ray of this machine: enough for as many workers as are asked for."""
    asked = int((config.num_workers or 0) * config.cpus_per_worker + 0.999)
    return max(
        asked, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def _quiet(ray: Any) -> None:
    """Leave progress and advice to our own messages; Ray's log files keep theirs."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        # Ray's own, which writes to the terminal; others may have added theirs.
        if isinstance(handler, logging.StreamHandler) and type(handler).__module__.startswith("ray."):
            handler.setLevel(logging.ERROR)
