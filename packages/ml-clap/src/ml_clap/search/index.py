"""Make or update an index of a folder of sounds: `ml-clap index`.

A run compares the folder with the index (`scan.py`), takes out what is gone or changed, then encodes what is
new (`filling.py`) batch by batch, each on disk before the next one (`store.py`). A run that was killed is
continued by running it again.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from audio_common.config import Channel
from audio_common.files import AUDIO_SUFFIXES
from audio_common.prefetch import AudioSpan, BadFile, BatchLimits, decode_ahead
from audio_common.workers import DecodeLimits

from ml_clap.bulk.places import folder_of, is_url, written
from ml_clap.config.index import WINDOW_SECONDS, IndexConfig
from ml_clap.data.folders import say_not_sound
from ml_clap.data.local_sounds import Sound, bring
from ml_clap.data.shards.places import ENDINGS
from ml_clap.files import write_atomically, write_json
from ml_clap.lock import hold_outputs
from ml_clap.output import printable
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.filling import IndexFiller, Problem
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
from ml_clap.tables import count_of, show_progress, tables_beside_json

if TYPE_CHECKING:
    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexReport:
    """What a run did."""

    num_clips: int
    """Clips that can be found now."""
    num_windows: int
    """Vectors of the index."""
    num_encoded: int
    """Windows encoded in this run."""
    new: int
    changed: int
    moved: int
    dropped: int
    """Clips taken out because their file is gone."""
    problems: list[Problem]
    left_out: list[Problem]
    """What has no sound, or less than 0.1 s of it, and is therefore not indexed."""
    seconds: float
    """Wall-clock time of the run."""
    audio_seconds: float
    """Sound encoded in this run."""
    notices: tuple[str, ...] = ()
    """What was not looked at, and what changes that."""
    independence: float | None = None
    """Largest difference between some clips' embeddings alone and beside others; None: not measured."""
    complaints: tuple[BadFile, ...] = ()
    """What is odd about sounds that were encoded in this run nevertheless."""
    engine: str | None = None
    """What searches it now, and how exact, where the run brought another engine than numpy up to date."""


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


def index(config: IndexConfig) -> IndexReport:
    """Load the model, bring the index up to date, and print what was done."""
    from ml_clap.models.checkpoint import find_model
    from ml_clap.models.independence import LARGEST, describe_independence
    from ml_clap.models.loading import load_model
    from ml_clap.search.known_texts import note_model

    assert config.out is not None
    # Of a training run the model itself: another one may be its best when the index is searched.
    model_name = str(find_model(config.model or read_settings(config.out).model))
    if Path(model_name).exists():  # found again from any folder
        model_name = str(Path(model_name).absolute())
    model = load_model(model_name, device=config.device, dtype=config.encoder_dtype)
    with show_progress("Indexing clips") as progress:
        report = update_index(
            model,
            config.source,
            config.out,
            model_name=model_name,
            window_seconds=config.window_seconds,
            hop_seconds=config.hop_seconds,
            dtype=config.vector_dtype,
            channel=config.channel,
            language=config.language,
            keep_vanished=config.keep_vanished,
            index_silence=config.index_silence,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            progress=progress,
            make_filler=_by_ray(config, model) if config.engine == "ray" else None,
        )
    note_model(config.out, model_name, model, read_settings(config.out).fingerprint)
    for notice in report.notices:
        logger.warning(notice)
    if report.independence is not None and report.independence > LARGEST:
        logger.warning(describe_independence(report.independence))
    if config.engine not in ("numpy", "ray") or (config.engine == "ray" and config.lance):
        report = dataclasses.replace(report, engine=_follow(config))
    with tables_beside_json(config.json):
        print_report(report, config.out)
    if config.json:
        write_json(config.json, report)
    return report


def _follow(config: IndexConfig) -> str:
    """Bring the engine of another library up to date, and return what it is and how exact."""
    assert config.out is not None
    opened = AudioIndex.open(config.out)
    if config.engine == "lancedb" or config.engine == "ray":  # Ray with a place for a copy in LanceDB
        from ml_clap.search.lance import mirror

        return mirror(opened, config.lance).description
    return opened.engine(config.engine).description


def index_verb(config: IndexConfig) -> int:
    """Bring an index up to date, and return 1 if files, or parts of them, are not in it."""
    with hold_outputs(config.json):
        return int(bool(index(config).problems))


def print_report(report: IndexReport, out: Path) -> None:
    """Print what a run did and which files it could not read."""
    from ml_clap.models.independence import LARGEST, describe_independence

    speed = report.audio_seconds / max(report.seconds, 1e-9)
    print(
        f"{printable(out)}: {report.num_clips:,} clips, {report.num_windows:,} windows ({report.new:,} new, "
        f"{report.changed:,} changed, {report.moved:,} moved, {report.dropped:,} gone)\n"
        f"{report.audio_seconds / 60:,.1f} minutes of sound encoded in {report.seconds:,.1f} s "
        f"({speed:,.0f} x real time)"
    )
    if report.engine:
        print(f"searched by {report.engine}")
    if report.independence is not None and report.independence <= LARGEST:
        print(describe_independence(report.independence))
    if report.left_out:
        print(
            f"without sound: {count_of(len(report.left_out), 'file')}, or parts of them, not indexed "
            f"(--index_silence does), listed in {printable(out / 'left_out.jsonl')}"
        )
    if report.problems:
        print(f"bad files: {len(report.problems):,}, listed in {out / 'bad_files.jsonl'}:")
        for problem in report.problems[:5]:
            # Most reasons name the file themselves.
            named = problem.reason if problem.file in problem.reason else f"{problem.file}: {problem.reason}"
            print(f"  {printable(named)}")


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
    if make_filler is None and (is_url(source) or str(source).endswith(ENDINGS)):
        raise AudioIndexError(f"{written(source)} is behind a URL or in a shard: index it with --engine ray")
    found, missing = (scan if make_filler is None else scan_anywhere)(source, language)
    if not found:
        raise AudioIndexError(_say_nothing_there(source, missing))
    if make_filler is None and (remote := next((clip for clip in found if not clip.is_local), None)):
        raise AudioIndexError(f"{remote.file} is behind a URL or in a shard: index it with --engine ray")
    there = read_settings(out) if (out / "index.json").exists() else None
    window = window_seconds or (there.window_seconds if there else WINDOW_SECONDS)
    # A window of one's own is not combined with the hop of another.
    hop = hop_seconds or (there.hop_seconds if there and window == there.window_seconds else window)
    if not 0 < hop <= window:
        raise ValueError(
            f"hop_seconds must be above 0 and at most window_seconds ({window}), or sound would fall between "
            f"the windows; got {hop}"
        )
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
    problems = [Problem(written(clip.path), clip.reason) for clip in missing]
    is_new = there is None
    with writing(out):
        writer = _open_or_create(out, settings)
        plan = plan_update(writer.entries, found)
        _prepare(writer, plan, settings, keep_vanished)
        filler: Filler = (
            IndexFiller(model, writer, seconds_per_batch, num_workers, decode_limits, index_silence)
            if make_filler is None
            else make_filler(writer, found)
        )
        problems += filler.run(plan.new, progress)
        left_out = filler.list_left_out()
        if is_new and not writer.windows().size:
            writer.remove()
            first = (problems + left_out)[0]
            named = first.reason if first.file in first.reason else f"{first.file} {first.reason}"
            raise AudioIndexError(
                f"nothing of {source} can be indexed; the first of {len(problems + left_out):,}: {named}"
            )
        write_atomically(out / "bad_files.jsonl", b"".join(json_line(problem) for problem in problems))
        write_atomically(out / "left_out.jsonl", b"".join(json_line(one) for one in left_out))
        independence = writer.settings.independence
        if independence is None:
            sounds = {clip.id: Sound(written(clip.path), clip.place) for clip in found}
            independence = _measure_independence(model, writer, sounds, window, decode_limits)
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


def _by_ray(config: IndexConfig, model: DualEncoder) -> MakeFiller:
    """Return what makes the filler of a job by Ray."""
    from ml_clap.search.by_ray import RayFiller
    from ml_clap.search.index_block import BlockSettings

    def make(writer: IndexWriter, found: Sequence[Found]) -> Filler:
        settings = BlockSettings(
            index=writer.settings,
            device=config.device,
            seconds_per_batch=config.seconds_per_batch,
            num_workers=config.num_workers,
            decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
            index_silence=config.index_silence,
        )
        return RayFiller(model, writer, found, settings, config.ray)

    return make


def _measure_independence(
    model: DualEncoder,
    writer: IndexWriter,
    sounds: Mapping[str, Sound],
    window_seconds: float,
    decode_limits: DecodeLimits | None,
) -> float | None:
    """Measure on a few clips of the index; None if none can be read."""
    from ml_clap.models.independence import measure_independence

    entries = writer.entries[:: max(1, len(writer.entries) // CLIPS_MEASURED)][:CLIPS_MEASURED]
    chosen = [sounds[entry.id] for entry in entries if entry.problem is None and entry.id in sounds]
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


def _say_nothing_there(source: Path, missing: Sequence[Missing]) -> str:
    if missing:
        return f"nothing of {source} can be indexed; the first of {len(missing):,}: {missing[0].reason}"
    return f"no sound in {source}: looked for files ending in {', '.join(AUDIO_SUFFIXES)}"


def _root(source: Path) -> Path | str:
    if is_url(source):
        return folder_of(written(source))
    return source.absolute() if source.is_dir() else source.absolute().parent


CLIPS_MEASURED = 3
"""Clips that tell whether embeddings depend on their neighbours."""

FIXED = ("fingerprint", "dim", "dtype", "encoder_dtype", "window_seconds", "hop_seconds", "channel")
"""Settings that all vectors of an index share."""


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
