"""The verb `caption`: files, folders and manifests to a file of captions.

Each batch is on disk before the next one (`journal.py`), so a run that was killed is continued by the same
command. A file that cannot be read costs itself only: it is named at the end and in the report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_common.prefetch import BadFile, BatchLimits

from aac_llm.captioning.journal import Journal, in_order
from aac_llm.captioning.predictions import Candidate, Prediction
from aac_llm.captioning.segments import group_by_sound, merge_equal, to_srt, to_vtt
from aac_llm.captioning.sounds import Sound, find_sounds
from aac_llm.config.caption import CaptionConfig, GenerationSettings

if TYPE_CHECKING:
    from aac_llm.captioning.captioner import Captioner
    from aac_llm.captioning.rerank import Similarity
    from aac_llm.correction.correct import Corrector

NUM_SHOWN = 5
"""Bad files named on the screen; all are in the report."""

CORRECTION_FIELDS = ("llm", "endpoint", "gate_used", "fluency_model", "threshold", "max_new_tokens", "dtype")
"""What a corrected caption depends on; the rest says how the model is run or asked."""


@dataclass(frozen=True)
class CaptionReport:
    """What a run did."""

    predictions: list[Prediction]
    """All captions of the output, in order."""
    num_new: int
    """Captions made in this run."""
    num_others: int
    """Captions in the output of sounds that this run was not given."""
    bad_files: list[BadFile]
    seconds: float
    """Wall-clock time, after the model was loaded."""


def caption(config: CaptionConfig) -> None:
    """Caption, print what was done, and exit with 1 if some files could not be read."""
    report = caption_sources(config)
    if config.out is not None:
        print(_summary(report, config.out))
    if report.bad_files:
        place = f", listed in {config.out}.report.json" if config.out else ""
        print(f"bad files: {len(report.bad_files):,}{place}:", file=sys.stderr)
        for file in report.bad_files[:NUM_SHOWN]:
            print(f"  {_printable(file.reason)}", file=sys.stderr)
        sys.exit(1)


def caption_sources(config: CaptionConfig, captioner: Captioner | None = None) -> CaptionReport:
    """Caption what `config` names.

    Args:
        config: settings.
        captioner: instead of loading `config.model`.

    Raises:
        FileNotFoundError: a source is not there.
        JournalError: `config.out` has captions made with other settings.
        ValueError: there is nothing to caption.
    """
    sounds = find_sounds(config.files, config.split)
    journal = None
    if config.out is not None:
        journal = Journal(config.out, describe_settings(config), overwrite=config.overwrite)
    if captioner is None:
        captioner = load_captioner(config)
    began = time.monotonic()
    run = _Run(config, captioner, sounds, journal)
    run.run()
    predictions = run.finish()
    given = {sound.id for sound in sounds}
    return CaptionReport(
        predictions=predictions,
        num_new=run.num_new,
        num_others=sum(each.id not in given for each in predictions),
        bad_files=run.bad_files,
        seconds=time.monotonic() - began,
    )


def load_captioner(config: CaptionConfig) -> Captioner:
    """The model and what chooses among its candidates."""
    import torch

    from aac_llm.captioning.captioner import Captioner

    torch.manual_seed(config.seed)
    return Captioner.from_pretrained(
        config.model,
        device=config.device,
        dtype=config.dtype,
        decoder=config.decoder,
        quantization=config.quantization,
        limits=BatchLimits(config.seconds_per_batch, config.batch_size),
        num_workers=config.num_workers,
        similarity=load_similarity(config),
    )


def load_similarity(config: CaptionConfig) -> Similarity | None:
    """What candidates are compared with, by `config.rerank`; None: their scores decide."""
    if config.rerank == "cider":
        from aac_llm.captioning.rerank import cider_similarity

        return cider_similarity(_references(config.cider_captions))
    if config.rerank == "sentence":
        from aac_llm.captioning.rerank import sentence_similarity
        from aac_llm.metrics.sentence import SentenceEncoder

        return sentence_similarity(SentenceEncoder.from_pretrained(config.sentence_encoder))
    return None


def load_corrector(config: CaptionConfig) -> Corrector | None:
    """What repairs captions, if they are to be."""
    if not config.correct:
        return None
    from aac_llm.correction.correct import Corrector

    return Corrector(config.correction)


def describe_settings(config: CaptionConfig) -> dict[str, Any]:
    """What a caption depends on; captions of one file share it."""
    fields = dataclasses.fields(GenerationSettings)
    settings: dict[str, Any] = {each.name: getattr(config, each.name) for each in fields}
    settings |= {"model": identify(config.model), "dtype": config.dtype, "rerank": config.rerank}
    settings |= {"quantization": config.quantization, "segments": config.segments}
    settings["decoder"] = config.decoder and identify(config.decoder)
    if config.do_sample:
        settings["seed"] = config.seed
    if config.segments:
        settings |= {
            "window_seconds": config.window_seconds,
            "hop_seconds": config.hop,
            "merge": config.merge,
        }
    if config.rerank == "cider":
        settings["cider_captions"] = config.cider_captions and str(config.cider_captions.absolute())
    if config.rerank == "sentence":
        settings["sentence_encoder"] = config.sentence_encoder
    if config.correct:
        settings["correction"] = {name: getattr(config.correction, name) for name in CORRECTION_FIELDS}
    return settings


def identify(source: str) -> str:
    """A hub id as it is; a folder with a digest of its files' names, sizes and times of change."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return f"{folder.absolute()} ({digest.hexdigest()[:12]})"


class _Run:
    """One run over some sounds."""

    def __init__(
        self, config: CaptionConfig, captioner: Captioner, sounds: Sequence[Sound], journal: Journal | None
    ) -> None:
        self.config = config
        self.captioner = captioner
        self.sounds = sounds
        self.journal = journal
        self.corrector = load_corrector(config)
        self.bad_files: list[BadFile] = []
        self.num_new = 0
        self._predictions: list[Prediction] = []  # without a journal

    def run(self) -> None:
        """Caption what is lacking."""
        with _progress(len(self.sounds)) as advance:
            num_noted = 0
            for predictions, num_left in self._segments() if self.config.segments else self._whole():
                self._keep(predictions)
                if self.journal and len(self.bad_files) > num_noted:
                    self.journal.note_bad(self.bad_files)
                    num_noted = len(self.bad_files)
                advance(len(self.sounds) - num_left)
            advance(len(self.sounds))

    def finish(self) -> list[Prediction]:
        """All captions, ordered and merged, and written if there is an output."""
        held = self.journal.predictions if self.journal else self._predictions
        predictions = in_order(held, self.sounds)
        if self.config.merge:
            predictions = merge_equal(predictions)
        if self.journal:
            self.journal.finish(predictions, self.bad_files)
            self._write_subtitles(predictions)
        elif not self.config.segments:
            for prediction in predictions:
                print(_line(prediction))
        return predictions

    def _keep(self, predictions: Sequence[Prediction]) -> None:
        self.num_new += len(predictions)
        if self.corrector:
            from aac_llm.correction.correct import correct_predictions

            predictions = correct_predictions(self.corrector, predictions)
        if self.journal:
            self.journal.append(predictions)
            return
        self._predictions += predictions
        if self.config.segments:  # they come in order
            for prediction in predictions:
                print(_line(prediction), flush=True)

    def _whole(self) -> Iterator[tuple[list[Prediction], int]]:
        sounds = self.journal.lacking(self.sounds) if self.journal else list(self.sounds)
        num_done = 0
        paths = [sound.path for sound in sounds]
        for batch in self.captioner.caption_files(paths, self.config, self.bad_files):
            num_done += len(batch)
            found = [self._predict(sounds[index], candidates) for index, candidates in batch.items()]
            yield found, len(sounds) - num_done - len(self.bad_files)

    def _segments(self) -> Iterator[tuple[list[Prediction], int]]:
        sounds: list[Sound] = list(self.sounds)
        done: dict[int, set[float]] = {}
        if self.journal:
            sounds, done = self.journal.lacking_segments(self.sounds)
        batches = self.captioner.caption_segments(
            [sound.path for sound in sounds],
            self.config,
            window_seconds=self.config.window_seconds,
            hop_seconds=self.config.hop,
            bad_files=self.bad_files,
            done=done,
        )
        for batch in batches:
            found = [
                self._predict(sounds[each.index], each.candidates, each.start, each.end) for each in batch
            ]
            yield found, len(sounds) - batch[-1].index

    def _predict(
        self,
        sound: Sound,
        candidates: Sequence[Candidate],
        start: float | None = None,
        end: float | None = None,
    ) -> Prediction:
        return Prediction(
            id=sound.id,
            audio=str(sound.path),
            caption=self.captioner.choose(candidates).text,
            candidates=tuple(candidates) if len(candidates) > 1 else (),
            start=start,
            end=end,
            references=() if self.config.segments else sound.references,
        )

    def _write_subtitles(self, predictions: Sequence[Prediction]) -> None:
        kind = self.config.subtitles
        if kind == "none" or self.config.out is None:
            return
        folder = self.config.out.with_suffix(f".{kind}")
        for parts in group_by_sound(predictions):
            path = folder / f"{safe_name(parts[0].id)}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(to_srt(parts) if kind == "srt" else to_vtt(parts), encoding="utf-8")


def safe_name(id: str) -> str:
    """A relative path below a folder, whatever the id.

    >>> safe_name("park/rain.wav"), safe_name("../data/rain.wav"), safe_name("/data/rain.wav")
    ('park/rain.wav', '_/data/rain.wav', 'data/rain.wav')
    """
    parts = [part.replace("\\", "_") for part in id.split("/") if part not in ("", ".")]
    return "/".join("_" if part == ".." else part for part in parts) or "_"


def _references(manifest: Path | None) -> list[tuple[str, ...]] | None:
    """The training captions of a manifest, by clip; of all clips if none is for training."""
    if manifest is None:
        return None
    from aac_llm.data.manifest import read_manifest

    clips = read_manifest(manifest)
    chosen = [clip for clip in clips if clip.split == "train"] or clips
    return [tuple(clip.captions) for clip in chosen if clip.captions]


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error; what it gives is called with the number of sounds done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("Captioning", BarColumn(), MofNCompleteColumn(), "sounds", TimeRemainingColumn())
    # Captions go to the standard output, which the bar would otherwise turn into its own.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _summary(report: CaptionReport, out: Path) -> str:
    old = len(report.predictions) - report.num_new
    others = f", {report.num_others:,} of sounds that were not given" if report.num_others else ""
    return (
        f"{out}: {len(report.predictions):,} captions ({report.num_new:,} new{others}), "
        f"in {report.seconds:,.1f} s" + (f"; {old:,} were there" if old > 0 else "")
    )


def _line(prediction: Prediction) -> str:
    times = "" if prediction.start is None else f"\t{prediction.start:.2f}\t{prediction.end:.2f}"
    return _printable(f"{prediction.id}{times}\t{prediction.caption}")


def _printable(text: str) -> str:
    """File names may hold bytes that no terminal takes."""
    return text.encode("utf-8", "backslashreplace").decode()
