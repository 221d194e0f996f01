"""What sounds in a tar shard cost, beside unpacking it with tarfile: to list them, and to bring each here.

    python packages/aac-llm/benchmarks/shards.py --samples 5000 --bytes 144000

A sample is noise of so many bytes, as flac has for ten seconds or so, and a `.json`; nothing is decoded. The
order is another one than the tar's, as a job's is. Processor seconds; both ways in turn in one process.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from aac_llm.captioning.groups import GROUP_SIZE
from aac_llm.data.members import local_sounds
from aac_llm.data.shards import Listing, list_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--bytes", type=int, default=144_000, help="of each sound")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        shard = make_shard(Path(name, "sounds.tar"), options.samples, options.bytes)
        compare(shard, options.samples, options.repeats)


def make_shard(path: Path, count: int, size: int) -> str:
    """Write a tar of `count` sounds of `size` bytes, each with a `.json`."""
    noise = random.Random(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            row = json.dumps({"captions": [f"sound {number}"], "duration": 10.0}).encode()
            for ending, content in (("flac", noise.randbytes(size)), ("json", row)):
                member = tarfile.TarInfo(f"{number:06d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return str(path)


def compare(shard: str, count: int, repeats: int) -> None:
    """Measure and print."""
    tracemalloc.start()
    listing = list_samples(shard)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    listed = min(seconds(lambda: list_samples(shard)) for _ in range(repeats))
    print(f"listing: {listed / count * 1e6:.0f} microseconds and {held / count:.0f} bytes held a sample")
    order = random.Random(1).sample(range(count), count)
    bring(listing, order[:GROUP_SIZE])
    before = peak_megabytes()
    ways = (lambda: bring(listing, order), lambda: unpack(shard))
    ours, naive = (
        min(found) for found in zip(*[[seconds(way) for way in ways] for _ in range(repeats)], strict=True)
    )
    print(
        f"bringing a sound here: {ours / count * 1e3:.2f} ms; unpacking the tar: {naive / count * 1e3:.2f} ms"
    )
    print(f"{naive / (ours + listed):.2f} times as fast, listing included")
    print(
        f"peak memory: {peak_megabytes() - before:.0f} MB more after {count:,} sounds than after {GROUP_SIZE}"
    )


def bring(listing: Listing, order: Sequence[int]) -> None:
    """Bring sounds here as `caption` does, a group at a time, and read none of them."""
    places = {sample.place.name: sample.place for sample in listing.samples}
    names = [listing.samples[number].place.name for number in order]
    for first in range(0, len(names), GROUP_SIZE):
        group = names[first : first + GROUP_SIZE]
        with local_sounds(group, {name: places[name] for name in group}) as copies:
            assert all(isinstance(copy, Path) for copy in copies)


def unpack(shard: str) -> None:
    """Unpack all that is in a shard, and remove it again."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(shard) as tar:
        tar.extractall(folder, filter="data")


def seconds(run: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def peak_megabytes() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
