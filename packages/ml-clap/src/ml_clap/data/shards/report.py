"""What `ml-clap prepare shards` packed and what it left out, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ml_clap.bulk.places import is_url, join, put
from ml_clap.data.shards.places import temporary_file
from ml_clap.files import to_json, write_json
from ml_clap.output import printable
from ml_clap.tables import count_of, print_table

TOTALS_FILE = "shards.json"
"""Totals of a folder of shards; written last."""
SHOWN = 5
"""Clips that were left out, at most, that are printed."""


@dataclass(frozen=True)
class Shard:
    """A shard that was made."""

    name: str
    samples: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """A clip that is in no shard, or a line of the manifest that is no clip."""

    id: str
    reason: str


@dataclass(frozen=True)
class ShardsReport:
    """What was packed, and what was not."""

    out: str
    shards: tuple[Shard, ...]
    skipped: tuple[Skipped, ...]
    clipped: int = 0
    """Sounds beyond full scale, which the reference's layout cuts off."""

    @property
    def samples(self) -> int:
        """Sounds in all shards."""
        return sum(shard.samples for shard in self.shards)


def write_totals(report: ShardsReport) -> None:
    """Write the totals into the folder or URL of the shards."""
    totals = {
        "samples": report.samples,
        "seconds": sum(shard.seconds for shard in report.shards),
        "bytes": sum(shard.bytes for shard in report.shards),
        "clipped": report.clipped,
        "shards": report.shards,
        "skipped": report.skipped,
    }
    if not is_url(report.out):
        write_json(Path(report.out) / TOTALS_FILE, totals)
        return
    with temporary_file(report.out) as local:
        local.write_bytes(to_json(totals, indent=2) + b"\n")
        put(local, join(report.out, TOTALS_FILE))


def print_shards(report: ShardsReport) -> None:
    """Print how much there is, and some of what was left out."""
    rows = [
        ["shards", f"{len(report.shards):,}"],
        ["sounds", f"{report.samples:,}"],
        ["hours", f"{sum(shard.seconds for shard in report.shards) / 3600:.2f}"],
        ["megabytes", f"{sum(shard.bytes for shard in report.shards) / 1e6:,.1f}"],
        ["left out", f"{len(report.skipped):,}"],
    ]
    print_table(report.out, ["", "number"], rows)
    for skipped in report.skipped[:SHOWN]:
        print(printable(f"left out: {skipped.id}: {skipped.reason}"))
    if len(report.skipped) > SHOWN:
        print(f"left out: {len(report.skipped) - SHOWN:,} more in {TOTALS_FILE}")
    if report.clipped:
        sounds = count_of(report.clipped, "sound")
        print(f"{sounds} beyond full scale cut off at it (--layout ours keeps them as they are)")
