"""`ml-clap prepare shards MANIFEST --out FOLDER_OR_URL`: a manifest to WebDataset shards and their indexes.

No sound is cropped, whatever its length. One that cannot be decoded is named and left out. A shard appears
whole, and after it its index; the same command goes on after the last shard that has one. What it makes
follows from the manifest and the settings: a job that was killed makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
from audio_common.workers import DecodeLimits, DecodePool

from ml_clap.bulk.places import is_url, written
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.data.manifest import BadRow, Clip, ManifestError, read_manifest
from ml_clap.data.shards.report import Shard, ShardsReport, Skipped, print_shards, write_totals
from ml_clap.data.shards.series import Series
from ml_clap.files import remove_leftovers, write_json
from ml_clap.lock import hold_outputs, sole_writer
from ml_clap.tables import show_progress, tables_beside_json


def _clips_by_split(clips: Sequence[Clip], config: PrepareShardsConfig) -> dict[str | None, list[Clip]]:
    """Return split -> its clips, in the order of packing."""
    found: dict[str | None, list[Clip]] = {}
    for clip in clips:
        found.setdefault(clip.split, []).append(clip)
    missing = [split for split in config.splits if split not in found]
    if missing:
        there = ", ".join(sorted(split or "(none)" for split in found))
        raise ManifestError(f"{config.source}: no clip is of {missing}; there are {there}")
    chosen = {split: found[split] for split in found if not config.splits or split in config.splits}
    if config.shuffle:
        for number, members in enumerate(chosen.values()):
            order = np.random.default_rng((config.seed, number)).permutation(len(members))
            members[:] = [members[place] for place in order]
    return chosen


def _tell(progress: Callable[[float, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def prepare_shards(config: PrepareShardsConfig) -> ShardsReport:
    """Pack a manifest; what an earlier call has finished is kept.

    Raises:
        ManifestError: the manifest has no usable clip, or `out` holds shards of something else.
        OSError: `out` cannot be written.
    """
    assert config.out is not None, "checked by PrepareShardsConfig"
    out = written(config.out)
    bad_rows: list[BadRow] = []
    clips = read_manifest(config.source, language=config.language, bad_rows=bad_rows)
    shards: list[Shard] = []
    skipped = [Skipped(row.where, row.message) for row in bad_rows]
    clipped = 0
    with ExitStack() as stack:
        pool = stack.enter_context(
            DecodePool(DecodeLimits(config.decode_seconds, config.decode_megabytes), config.num_workers)
        )
        progress = stack.enter_context(show_progress("Packing sounds"))
        by_split = _clips_by_split(clips, config)
        total, before = sum(map(len, by_split.values())), 0
        for split, members in by_split.items():
            tell = partial(_tell, progress, before, total)
            for made in Series(config, out, split, members, pool, tell).shards():
                shards += [made.shard] if made.shard.samples else []
                skipped += made.skipped
                clipped += made.clipped
            before += len(members)
    if not shards:
        raise ManifestError(f"{config.source}: not one sound can be packed; the first: {skipped[0].reason}")
    report = ShardsReport(out, tuple(shards), tuple(skipped), clipped)
    write_totals(report)
    return report


def prepare_shards_verb(config: PrepareShardsConfig) -> int:
    """Pack, print what was made, and return 1 if something had to be left out."""
    assert config.out is not None
    with ExitStack() as held:
        held.enter_context(hold_outputs(config.json))
        if not is_url(config.out):
            held.enter_context(sole_writer(config.out, folder=True))
            remove_leftovers(config.out)
        report = prepare_shards(config)
    if config.json is not None:
        write_json(config.json, report)
    with tables_beside_json(config.json):
        print_shards(report)
    return int(bool(report.skipped))
