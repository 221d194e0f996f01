"""mp3 and Ogg as the links of a `LinkedReader`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import soundfile

from audio_common.linked import Link, LinkedReader
from audio_common.mp3_runs import Run, is_plain, run_pieces
from audio_common.ogg import Row, Stream, row_pieces
from audio_common.pieces import pieced, read_at
from audio_common.reader import Reader
from audio_common.sndfile import SoundFileReader

MOST_PAGES = 1 << 20
"""More missing ones are a wrong number."""


def mp3_reader(source: Path | BinaryIO, file: BinaryIO, name: str, runs: Sequence[Run]) -> Reader:
    """Open the runs of an mp3.

    Args:
        source: the sound.
        file: the same, open; closed with the reader if it is another object than `source`.
        name: for messages.
        runs: what `find_runs` found.
    """
    if is_plain(runs, read_at(file, 0, 10)):
        links = [_mp3_link(runs[0], partial(_from_start, source))]
    else:
        links = [_mp3_link(run, partial(_run_file, file, run)) for run in runs]
    layer = "i" * runs[0].kind.layer
    return LinkedReader(links, name, f"mp3/mpeg_layer_{layer}", None if file is source else file)


def _mp3_link(run: Run, open_: Callable[[], Path | BinaryIO]) -> Link:
    problem = end_problem = ""
    if run.num_lost:
        first = run.start - run.num_lost
        problem = f"{run.num_lost} bytes from byte {first} on are no frames of mp3 and are left out"
    if run.is_cut and not run.is_followed and run.info is not None:
        declared = (run.info.num_frames or 0) * run.kind.frame_samples - sum(run.declared_trim)
        end_problem = f"ends after {run.num_samples} of {declared} samples"
    channels = 1 if run.kind.is_mono else 2
    return Link(
        open_,
        run.kind.sample_rate,
        channels,
        run.num_samples,
        problem=problem,
        end_problem=end_problem,
    )


def _run_file(file: BinaryIO, run: Run) -> BinaryIO:
    pieces, num_beyond = run_pieces(run)
    return pieced(file, pieces, num_beyond)


def _from_start(source: Path | BinaryIO) -> Path | BinaryIO:
    if not isinstance(source, Path):
        source.seek(0)
    return source


def ogg_reader(
    source: Path | BinaryIO, file: BinaryIO, name: str, streams: Sequence[Stream]
) -> Reader | None:
    """Open the rows of chained Ogg streams; None if libsndfile cannot decode the first one.

    Args:
        source: the sound.
        file: the same, open; closed with the reader if it is another object than `source`.
        name: for messages.
        streams: what `find_streams` found.
    """
    links: list[Link] = []
    format_ = ""
    for stream in streams:
        for row in stream.rows:
            open_ = partial(_from_start, source) if stream.is_plain else partial(_row_file, file, stream, row)
            try:
                with closing(SoundFileReader(open_(), name)) as first:
                    links.append(_ogg_link(stream, row, open_, first))
                    format_ = format_ or first.format
            except soundfile.LibsndfileError:
                if not links:
                    return None
                what = f"{row.num_pages} pages of Ogg after it cannot be decoded and are left out"
                links[-1] = replace(links[-1], end_problem=what)
    return LinkedReader(links, name, format_, None if file is source else file)


def _ogg_link(stream: Stream, row: Row, open_: Callable[[], Path | BinaryIO], reader: Reader) -> Link:
    problem = end_problem = ""
    if row.num_lost:
        number = row.num_lost if 0 < row.num_lost < MOST_PAGES else "some"
        problem = f"{number} pages of Ogg are damaged, missing or out of order and are left out"
    if row is stream.rows[-1] and not stream.is_ended:
        end_problem = "ends without a last page: it is cut off, or its end is damaged"
    if row is stream.rows[-1] and stream.num_foreign:
        end_problem = f"{stream.num_foreign} pages of a stream without a beginning are left out"
    return Link(
        open_,
        reader.sample_rate,
        reader.num_channels,
        reader.num_frames,
        is_exact=stream.is_whole,
        problem=problem,
        end_problem=end_problem,
    )


def _row_file(file: BinaryIO, stream: Stream, row: Row) -> BinaryIO:
    return pieced(file, row_pieces(file, stream, row))
