"""An epoch read from shards: which pairs each process takes, in which order, in which batches.

The order of reading is that of the shards, which are shuffled anew for each epoch; inside a shard it is that
of the tar. It is cut into equal parts, one for each process, and each of those into `streams` parts, which
are read side by side; a part may begin and end inside a shard. So no pair is lost and none comes twice. A
stream is shuffled in pools: the pairs of a pool are held at once, and its batches are of about one length.

All of it is pure, and known before anything is read: a run resumes at any batch, with any number of workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ml_clap.data.batches import Draw, UniqueClips, count_repeats
from ml_clap.data.enhancement import Sample, one_caption_per_clip


class Pool(NamedTuple):
    """Clips that are held at once."""

    name: tuple[int, int, int]
    """Epoch, stream and number of the pool in the stream."""
    clips: tuple[int, ...]
    """In the order of reading, each once."""


class StreamBatch(NamedTuple):
    """The pairs of a batch, and what has to be read for them."""

    draws: tuple[Draw, ...]
    pool: Pool
    following: Pool | None
    """The next pool of the stream, which is fetched while this one is used."""


def reading_order(
    shards: Sequence[Sequence[int]], loose: Sequence[int], *, seed: int, epoch: int
) -> list[int]:
    """Return the clips in the order of reading.

    Args:
        shards: the clips of each shard, as they lie there.
        loose: clips that are files of their own: they are strewn evenly among the others.
        seed: with `epoch`, what the order depends on.
        epoch: number of the epoch.
    """
    generator = np.random.default_rng((seed, epoch, 0, 5))
    clips = [clip for shard in generator.permutation(len(shards)) for clip in shards[shard]]
    places = np.concatenate([np.arange(len(clips)), generator.random(len(loose)) * max(1, len(clips))])
    every = [*clips, *loose]
    return [every[place] for place in np.argsort(places, kind="stable")]


def plan_stream(
    samples: Sequence[Sample],
    seconds: Sequence[float],
    order: Sequence[int],
    *,
    epoch: int,
    batch_size: int,
    streams: int,
    buffer: int,
    drop_last: bool = False,
    unique_clips: UniqueClips = "no",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> list[StreamBatch]:
    """Return one process's batches of an epoch; every process has as many.

    Args:
        samples: the epoch's pairs.
        seconds: length of each clip (not of each sample).
        order: the clips in the order of reading.
        epoch: number of the epoch.
        batch_size: pairs in a batch, of all processes together.
        streams: parts of the order that are read side by side.
        buffer: pairs that a process holds, of all its streams together (of each at least a batch).
        drop_last: leave out the pairs at the end of the order that fill no batch.
        unique_clips: `no`, or `epoch`: one caption of each clip.
        seed: with `epoch`, what is drawn.
        rank: number of the process.
        world_size: number of processes.

    Raises:
        ValueError: no batch is left, or a setting is impossible.
    """
    if unique_clips == "batch":
        raise ValueError("data.unique_clips: batch needs manifests; with shards use epoch, or no")
    if batch_size % world_size:
        raise ValueError(f"{world_size} processes cannot share a batch of {batch_size} evenly")
    pairs = _in_order(samples, order, epoch, unique_clips, seed)
    rows = batch_size // world_size
    num_batches = len(pairs) // batch_size
    own = pairs[rank * num_batches * rows : (rank + 1) * num_batches * rows]
    per_stream = [num_batches // streams + (stream < num_batches % streams) for stream in range(streams)]
    lists: list[list[StreamBatch]] = []
    start = 0
    for stream, count in enumerate(per_stream):
        part = own[start : start + count * rows]
        start += len(part)
        size = max(1, buffer // streams // rows) * rows
        cut = [part[first : first + size] for first in range(0, len(part), size)]
        lists.append(_pooled(cut, seconds, rows, (epoch, stream), (seed, epoch, rank, stream, 6)))
    # Batch i is of stream i % streams: workers, who take batches in turn, each have streams of their own.
    batches = [lists[place % streams][place // streams] for place in range(num_batches)]
    rest = pairs[world_size * num_batches * rows :]
    if len(rest) >= max(2, world_size) and not drop_last:
        part = rest[rank::world_size]
        generator = (seed, epoch, rank, streams, 6)
        batches += _pooled([part], seconds, len(part), (epoch, streams), generator)
    if not batches:
        raise ValueError(
            f"epoch {epoch} has no batch: there are {len(pairs)} pairs of sound and caption, and a batch "
            f"needs {batch_size if drop_last else max(2, world_size)}"
        )
    return batches


def _in_order(
    samples: Sequence[Sample], order: Sequence[int], epoch: int, unique_clips: UniqueClips, seed: int
) -> list[Draw]:
    # The place in the epoch seeds a draw's crop: as in `plan_epoch`.
    draws: dict[int, list[Draw]] = defaultdict(list)
    kept = set(one_caption_per_clip(samples, seed=seed, epoch=epoch)) if unique_clips == "epoch" else None
    for place, sample in enumerate(samples):
        if kept is None or sample in kept:
            draws[sample.clip].append(Draw(sample, epoch, place))
    return [draw for clip in order for draw in draws[clip]]


def _pooled(
    pools: Sequence[Sequence[Draw]],
    seconds: Sequence[float],
    rows: int,
    name: tuple[int, int],
    seed: tuple[int, ...],
) -> list[StreamBatch]:
    """Return the batches of a stream's pools."""
    named = [
        Pool((*name, number), tuple(dict.fromkeys(draw.sample.clip for draw in pool)))
        for number, pool in enumerate(pools)
    ]
    batches = []
    for number, pool in enumerate(pools):
        following = named[number + 1] if number + 1 < len(named) else None
        batches += [
            StreamBatch(tuple(count_repeats(draws)), named[number], following)
            for draws in _by_length(pool, seconds, rows, (*seed, number))
        ]
    return batches


def _by_length(
    draws: Sequence[Draw], seconds: Sequence[float], rows: int, seed: tuple[int, ...]
) -> list[list[Draw]]:
    """Shuffle, sort by length, cut into batches, and shuffle those."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(draws))
    lengths = np.array([seconds[draws[place].sample.clip] for place in shuffled])
    places = shuffled[np.argsort(-lengths, kind="stable")]
    batches = [
        [draws[place] for place in places[first : first + rows]] for first in range(0, len(places), rows)
    ]
    return [batches[place] for place in generator.permutation(len(batches))]
