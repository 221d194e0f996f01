"""Captions on disk as they come, so that a run that was killed goes on where it was.

Lines are appended batch by batch, in the order in which sounds are captioned; at the end the file is written
anew in the order of the input. `OUT.report.json` beside it has the settings, whether the run came to its end,
how many captions were stopped before theirs, which sounds were heard in windows, the files and rows that
could not be read, what is odd about files that were captioned nevertheless, and the sounds that may lack
windows (`--segments`): a run that is killed in the midst of one may be followed by a run over others.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from audio_common.prefetch import BadFile
from audio_common.strict_json import JSONError, parse_object, read_object

from aac_llm.bulk.places import written
from aac_llm.config.caption import CaptionConfig, GenerationConfig
from aac_llm.data.predictions import (
    Prediction,
    PredictionError,
    append_predictions,
    read_own_predictions,
    write_predictions,
)
from aac_llm.data.sounds import Sound
from aac_llm.files import to_json, write_json

CORRECTION_FIELDS = (
    *("llm", "endpoint", "gate_used", "fluency_model", "threshold", "max_new_tokens", "dtype"),
    *("choose", "sound_scorer", "sound_margin"),
)
"""Settings on which a corrected caption depends; the others say how the model is run or asked."""


class JournalError(ValueError):
    """An output file that a run cannot go on with."""


class Journal:
    """The output file of a run, which holds it meanwhile (`lock.py`).

    Attributes:
        out: the file.
        predictions: what it holds.
        settings: of the captions; all in one file have the same.
    """

    def __init__(
        self, out: Path, settings: dict[str, Any], sounds: Sequence[Sound] = (), *, overwrite: bool = False
    ) -> None:
        """Begin a file, or go on with one.

        Args:
            out: the file.
            settings: of the captions.
            sounds: what this run is given; what the file holds of others stays as it is.
            overwrite: begin anew where there is a file.

        Raises:
            JournalError: the file has captions made in another way, or by something else.
        """
        self.out = out
        self.settings = parse_object(to_json(settings), "settings")  # as they will be read back
        self.predictions: list[Prediction] = []
        self._sounds = sounds
        self._begun: set[str] = set()  # ids of sounds that may lack windows
        self._others_bad: list[dict[str, Any]] = []  # read in part, and not this run's
        self._complaints: list[dict[str, str]] = []
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists() and not overwrite:
            self._resume()
        else:
            # First: captions of other settings must not be beside a report of these.
            out.unlink(missing_ok=True)
            self._write_report(complete=False, bad_files=[])
            write_predictions(out, [])

    @property
    def report_path(self) -> Path:
        """Beside the output file, with its whole name."""
        return self.out.with_name(f"{self.out.name}.report.json")

    def _resume(self) -> None:
        if not self.report_path.exists():
            raise JournalError(
                f"{self.out} exists, but not {self.report_path.name}: it was not made by `aac-llm caption`; "
                "give another file, or begin anew (--overwrite, or remove it)"
            )
        try:
            report = read_object(self.report_path)
            there, complete = dict(report["settings"]), bool(report["complete"])
            bad = [file for file in report["bad_files"] if file["partly"]]
            given = {sound.audio for sound in self._sounds}
            again = {file["audio"] for file in bad if file["audio"] in given}
            begun = set(report.get("begun", []))
            complaints = list(report.get("complaints", []))
            held = read_own_predictions(self.out)
        except (JSONError, KeyError, TypeError, ValueError, PredictionError) as e:
            raise JournalError(
                f"{self.out} cannot be gone on with ({e}): give another file, or begin anew (--overwrite, or "
                "remove it)"
            ) from e
        # Captions of two settings in one file could not be told apart later.
        changed = [
            f"{name} {there.get(name)} -> {self.settings.get(name)}"
            for name in sorted({*there, *self.settings})
            if there.get(name) != self.settings.get(name)
        ]
        if changed:
            raise JournalError(
                f"{self.out} was made with other settings ({', '.join(changed)}): "
                "use the same, give another file, or begin anew (--overwrite, or remove it)"
            )
        self.predictions = [one for one in held if one.audio not in again]  # tried again from the start
        self._others_bad = [file for file in bad if file["audio"] not in given]
        # Sounds are captioned one after another: a killed run was in the midst of its last one, if of any.
        self._begun = begun | ({self.predictions[-1].id} if self.predictions and not complete else set())
        self._complaints = complaints
        write_predictions(self.out, self.predictions)  # without the line that a kill cut
        self._write_report(complete=False, bad_files=[])

    def lacking(self, sounds: Sequence[Sound]) -> list[Sound]:
        """Return the sounds that have no caption yet."""
        done = {(prediction.id, prediction.audio) for prediction in self.predictions}
        return [sound for sound in sounds if (sound.id, sound.audio) not in done]

    def lacking_segments(self, sounds: Sequence[Sound]) -> tuple[list[Sound], dict[int, set[float]]]:
        """Return the sounds that may lack segments, and by their number the starts that they do not lack."""
        lacking = {sound.id for sound in self.lacking(sounds)} | self._begun
        left = [sound for sound in sounds if sound.id in lacking]
        starts: dict[str, set[float]] = {}
        for prediction in self.predictions:
            starts.setdefault(prediction.id, set()).add(prediction.start or 0.0)
        return left, {n: starts[sound.id] for n, sound in enumerate(left) if sound.id in starts}

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Add captions; they are on the disk when this returns."""
        append_predictions(self.out, predictions)
        self.predictions += predictions

    def note(self, bad_files: Iterable[BadFile], complaints: Iterable[BadFile] = ()) -> None:
        """Record what could not be read, and what was odd, so far, in a run that goes on."""
        self._add_complaints(complaints)
        self._write_report(complete=False, bad_files=list(bad_files))

    def _add_complaints(self, complaints: Iterable[BadFile]) -> None:
        # Files that were captioned before a kill are not decoded again: theirs are in the report.
        rows = [{"audio": written(file.path), "complaint": file.reason} for file in complaints]
        self._complaints += [row for row in rows if row not in self._complaints]

    def finish(
        self,
        predictions: Sequence[Prediction],
        bad_files: Iterable[BadFile],
        *,
        complaints: Iterable[BadFile] = (),
        bad_rows: Sequence[str] = (),
    ) -> None:
        """Write the file anew, in its last order, and the report of a complete run."""
        write_predictions(self.out, predictions)
        self.predictions = list(predictions)
        self._add_complaints(complaints)
        bad = list(bad_files)
        unread = {file.path for file in bad}
        self._begun -= {sound.id for sound in self._sounds if sound.path not in unread}
        self._write_report(complete=True, bad_files=bad, bad_rows=bad_rows)

    def _write_report(
        self, *, complete: bool, bad_files: list[BadFile], bad_rows: Sequence[str] = ()
    ) -> None:
        listed = [
            {"audio": written(file.path), "reason": file.reason, "partly": file.partly} for file in bad_files
        ]
        report: dict[str, Any] = {
            "settings": self.settings,
            "complete": complete,
            "num_captions": len(self.predictions),
            "num_unfinished": sum(prediction.unfinished for prediction in self.predictions),
            # Sounds longer than the model was trained on; their windows are in their rows, under `parts`.
            "heard_in_windows": [prediction.id for prediction in self.predictions if prediction.parts],
            "bad_files": [*self._others_bad, *listed],
            "bad_rows": list(bad_rows),
            "complaints": self._complaints,
        }
        if self.settings.get("segments"):
            report["begun"] = sorted(self._begun)
        write_json(self.report_path, report)


def in_order(predictions: Iterable[Prediction], sounds: Sequence[Sound]) -> list[Prediction]:
    """Sort predictions in the order of the sounds, parts by their starts; other sounds' come first."""
    place = {sound.id: number for number, sound in enumerate(sounds)}
    return sorted(predictions, key=lambda one: (place.get(one.id, -1), one.start or 0.0))


def describe_settings(config: CaptionConfig) -> dict[str, Any]:
    """Return the settings on which a caption depends, which all captions of a file share."""
    settings: dict[str, Any] = {
        field.name: getattr(config, field.name) for field in dataclasses.fields(GenerationConfig)
    }
    settings |= {"model": identify(config.model), "dtype": config.dtype, "rerank": config.rerank}
    settings |= {"quantization": config.quantization, "segments": config.segments}
    settings["channel"] = config.channel
    settings["decoder"] = config.decoder and identify(config.decoder)
    if config.do_sample:
        settings["seed"] = config.seed
    if config.max_seconds is not None:
        settings["max_seconds"] = config.max_seconds
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
        # A detector in its default place may be trained anew.
        model = config.correction.fluency_model
        settings["correction"]["fluency_model"] = model and identify(model)
    return settings


def identify(source: str) -> str:
    """Return a hub id as it is, a folder with a digest of its files' names, sizes and times of change."""
    folder = Path(source)
    if not folder.is_dir():
        return source
    digest = hashlib.sha256()
    # Not the content: hashing 14 GB of weights takes longer than captioning a few sounds.
    # The model card is no part of what a model computes, and `evaluate --card` writes into it.
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return f"{folder.absolute()} ({digest.hexdigest()[:12]})"
