"""An index brought up to date with a folder of sounds, a manifest or shards.

A run compares the source with the index (`scan.py`), takes out what is gone or changed, then encodes what is
new (`filling.py`) batch by batch, each on disk before the next one (`store.py`). A run that was killed is
continued by running it again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from audio_common.config import Channel
from audio_common.files import AUDIO_SUFFIXES
from audio_common.prefetch import AudioSpan, BadFile, BatchLimits, decode_ahead
from audio_common.workers import DecodeLimits

from ml_clap.bulk.places import folder_of, is_url, written
from ml_clap.config.index import WINDOW_SECONDS
from ml_clap.data.folders import say_not_sound
from ml_clap.data.local_sounds import Sound, bring
from ml_clap.data.shards.places import ENDINGS
from ml_clap.files import write_atomically
from ml_clap.search.filling import IndexFiller, Problem
from ml_clap.search.index_report import IndexReport
from ml_clap.search.remote_scan import scan_anywhere
from ml_clap.search.scan import Found, Missing, Plan, plan_update, scan
from ml_clap.search.store import (
    FORMAT,
    AudioIndexError,
    IndexSettings,
    IndexWriter,
    json_line,
    read_settings,
    writing,
)

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder

CLIPS_MEASURED = 3
"""Clips that tell whether embeddings depend on their neighbours."""

FIXED = ("fingerprint", "dim", "dtype", "encoder_dtype", "window_seconds", "hop_seconds", "channel")
"""Settings that all vectors of an index share."""


class Filler(Protocol):
    """Encodes what an index lacks: `IndexFiller` here, `RayFiller` by the workers of Ray."""

    num_windows: int
    audio_seconds: float
    complaints: list[BadFile]

    def run(self, new: Sequence[Found], on_progress: Callable[[float, int], None]) -> list[Problem]:
        """Encode what the index's clips lack, and new clips; return what could not be read."""
        ...

    def list_left_out(self) -> list[Problem]:
        """Return what has no vector because there is no sound in it."""
        ...


MakeFiller = Callable[[IndexWriter, Sequence[Found]], Filler]
"""Makes what fills an index, of its writer and of all clips that there are."""


def _look(source: Path, language: str, is_anywhere: bool) -> tuple[list[Found], list[Missing]]:
    """Return the clips of a source, and what is missing of it.

    Raises:
        AudioIndexError: there is no clip, or one is not on this machine and `is_anywhere` is false.
    """
    elsewhere = "is behind a URL or in a shard: index it with --engine ray"
    if not is_anywhere and (is_url(source) or str(source).endswith(ENDINGS)):
        raise AudioIndexError(f"{written(source)} {elsewhere}")
    found, missing = (scan_anywhere if is_anywhere else scan)(source, language)
    if not found:
        raise AudioIndexError(_say_nothing_there(source, missing))
    if not is_anywhere and (remote := next((clip for clip in found if not clip.is_local), None)):
        raise AudioIndexError(f"{remote.file} {elsewhere}")
    return found, missing


def _say_nothing_there(source: Path, missing: Sequence[Missing]) -> str:
    if missing:
        return f"nothing of {source} can be indexed; the first of {len(missing):,}: {missing[0].reason}"
    return f"no sound in {source}: looked for files ending in {', '.join(AUDIO_SUFFIXES)}"


def _choose_windows(
    window_seconds: float | None, hop_seconds: float | None, there: IndexSettings | None
) -> tuple[float, float]:
    """Return the seconds of a window and of a hop: what is asked for, else the index's, else the default."""
    window = window_seconds or (there.window_seconds if there else WINDOW_SECONDS)
    # A window of one's own is not combined with the hop of another.
    hop = hop_seconds or (there.hop_seconds if there and window == there.window_seconds else window)
    if not 0 < hop <= window:
        raise ValueError(
            f"hop_seconds must be above 0 and at most window_seconds ({window}), or sound would fall between "
            f"the windows; got {hop}"
        )
    return window, hop


def _root(source: Path) -> Path | str:
    if is_url(source):
        return folder_of(written(source))
    return source.absolute() if source.is_dir() else source.absolute().parent


def _open_or_create(out: Path, settings: IndexSettings) -> IndexWriter:
    if not (out / "index.json").exists():
        return IndexWriter.create(out, settings)
    there = read_settings(out)
    for name in FIXED:
        old, new = getattr(there, name), getattr(settings, name)
        if old != new:
            what = f"the model {there.model}" if name == "fingerprint" else f"{name} {old}"
            raise AudioIndexError(
                f"{out} was made with {what}, and now {name} is {new}: "
                "their vectors cannot be mixed; use the same, or another --out"
            )
    return IndexWriter(out)


def _prepare(writer: IndexWriter, plan: Plan, settings: IndexSettings, keep_vanished: bool) -> None:
    """Take out what is gone or changed, before anything is added."""
    # A disk that is not mounted looks like an empty folder: refuse rather than empty the index.
    if plan.vanished and not plan.kept and not plan.changed and not keep_vanished:
        raise AudioIndexError(
            f"none of the {len(plan.vanished):,} clips of {writer.folder} (of {writer.settings.source}) "
            f"is in {settings.source}: is the disk mounted? Otherwise give another --out"
        )
    numbers = {id(entry): number for number, entry in enumerate(writer.entries)}
    kept = list(plan.kept)
    if keep_vanished:
        old_root = Path(writer.settings.root)  # the source of this run may be another folder
        kept += [
            (numbers[id(entry)], dataclasses.replace(entry, file=str(old_root / entry.file)))
            for entry in plan.vanished
        ]
    writer.update(
        complete=False, format=FORMAT, model=settings.model, source=settings.source, root=settings.root
    )
    writer.replace_entries(sorted(kept, key=lambda pair: pair[0]))


def _say_nothing_usable(source: Path, faults: Sequence[Problem]) -> str:
    first = faults[0]
    named = first.reason if first.file in first.reason else f"{first.file} {first.reason}"
    return f"nothing of {source} can be indexed; the first of {len(faults):,}: {named}"


def _write_problems(path: Path, problems: Sequence[Problem]) -> None:
    write_atomically(path, b"".join(json_line(problem) for problem in problems))


def _measure_independence(
    model: DualEncoder, writer: IndexWriter, found: Sequence[Found], decode_limits: DecodeLimits | None
) -> float | None:
    """Measure on a few clips of the index; None if none can be read."""
    from ml_clap.models.independence import measure_independence

    sounds = {clip.id: Sound(written(clip.path), clip.place) for clip in found}
    entries = writer.entries[:: max(1, len(writer.entries) // CLIPS_MEASURED)][:CLIPS_MEASURED]
    chosen = [sounds[entry.id] for entry in entries if entry.problem is None and entry.id in sounds]
    window_seconds = writer.settings.window_seconds
    with bring(chosen) as local:
        decoded = decode_ahead(
            [AudioSpan(path, duration=window_seconds) for _, path in sorted(local.paths.items())],
            BatchLimits(window_seconds),
            bad_files=[],
            channel=writer.settings.channel,
            sample_rate=model.sample_rate,
            decode_limits=decode_limits,
        )
        waveforms = [waveform for _, batch in decoded for waveform in batch]
    waveforms = [waveform for waveform in waveforms if len(waveform) >= model.min_samples]
    return measure_independence(model, waveforms) if waveforms else None


def update_index(
    model: DualEncoder,
    source: Path,
    out: Path,
    *,
    model_name: str,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    channel: Channel | None = None,
    language: str = "eng_Latn",
    keep_vanished: bool = False,
    index_silence: bool = False,
    seconds_per_batch: float = 160.0,
    num_workers: int = 1,
    decode_limits: DecodeLimits | None = None,
    progress: Callable[[float, int], None] = lambda done, total: None,
    make_filler: MakeFiller | None = None,
) -> IndexReport:
    """Make the index `out` hold the clips of `source`, encoding only what it does not have.

    Args:
        model: encodes the sound; its fingerprint must be the index's.
        source: folder, read recursively, or JSONL manifest; with `make_filler` also fsspec URLs of these,
            and shards.
        out: folder of the index; made if it is not there.
        model_name: written into the index, for searching without naming the model again.
        window_seconds: files longer than this are cut into windows; default: the index's, else 10.
        hop_seconds: from the start of one window to the next; default: the index's, else the window.
        dtype: how vectors are stored; float16 halves the size.
        channel: what is made of several channels; default: the index's, else the model's.
        language: language of a manifest's captions that are not named by language.
        keep_vanished: keep clips whose file is gone.
        index_silence: also encode windows without sound and clips under 0.1 s.
        seconds_per_batch: seconds of audio encoded at once.
        num_workers: threads that read files.
        decode_limits: of time and memory, in processes that decode; None: in threads of this one.
        progress: called with the number of clips done and of clips to do.
        make_filler: makes what encodes; default: this process does.

    Raises:
        AudioIndexError: there is nothing to index, it is not on this machine, the index has other settings
            or another model, or none of its files is in `source`.
        BusyError: another process is writing it.
    """
    from ml_clap.models.device import encoder_dtype_of

    began = time.monotonic()
    found, missing = _look(source, language, is_anywhere=make_filler is not None)
    there = read_settings(out) if (out / "index.json").exists() else None
    window, hop = _choose_windows(window_seconds, hop_seconds, there)
    settings = IndexSettings(
        model=model_name,
        fingerprint=model.fingerprint(),
        dim=model.embed_dim,
        dtype=dtype,
        encoder_dtype=encoder_dtype_of(model),
        window_seconds=window,
        hop_seconds=hop,
        channel=channel or (there.channel if there else model.channel),
        source=written(source) if is_url(source) else str(source.absolute()),
        root=str(_root(source)),
    )
    with writing(out):
        writer = _open_or_create(out, settings)
        plan = plan_update(writer.entries, found)
        _prepare(writer, plan, settings, keep_vanished)
        filler: Filler = (
            IndexFiller(model, writer, seconds_per_batch, num_workers, decode_limits, index_silence)
            if make_filler is None
            else make_filler(writer, found)
        )
        problems = [Problem(written(clip.path), clip.reason) for clip in missing]
        problems += filler.run(plan.new, progress)
        left_out = filler.list_left_out()
        if there is None and not writer.windows().size:
            writer.remove()
            raise AudioIndexError(_say_nothing_usable(source, problems + left_out))
        _write_problems(out / "bad_files.jsonl", problems)
        _write_problems(out / "left_out.jsonl", left_out)
        independence = writer.settings.independence
        if independence is None:
            independence = _measure_independence(model, writer, found, decode_limits)
        writer.update(complete=True, independence=independence)
        windows = writer.windows()
        present = {writer.entries[number].id for number in np.unique(windows["entry"])}
        writer.close()
    return IndexReport(
        num_clips=len(present),
        num_windows=len(windows),
        num_encoded=filler.num_windows,
        new=len(present & {clip.id for clip in plan.new} - plan.changed),
        changed=len(present & plan.changed),
        moved=plan.moved,
        dropped=0 if keep_vanished else len(plan.vanished),
        problems=problems,
        left_out=left_out,
        seconds=time.monotonic() - began,
        audio_seconds=filler.audio_seconds,
        independence=independence,
        notices=say_not_sound(source, out) if source.is_dir() and found[0].is_local else (),
        complaints=tuple(filler.complaints),
    )
