"""The captions of one command: those that it lacks, and those that it has, kept, ordered and written.

Each batch is on disk before the next one (`data/journal.py`), so a run that was killed is continued by the
same command, whichever engine made the captions. Files that cannot be read are named at the end and in the
report.
"""

from __future__ import annotations

from collections.abc import Sequence

from audio_common.prefetch import BadFile

from aac_llm.captioning.segments import merge_equal
from aac_llm.captioning.subtitles import write_subtitles
from aac_llm.config.caption import CaptionConfig
from aac_llm.data.journal import Journal, in_order
from aac_llm.data.predictions import Prediction, write_predictions
from aac_llm.data.sounds import Sound
from aac_llm.data.timestamps import write_timed
from aac_llm.files import STREAM, is_stream
from aac_llm.output import printable


class CaptionRun:
    """The captions of some sounds.

    Args:
        config: settings.
        sounds: what to caption.
        journal: the output; None: captions are printed.
        bad_rows: rows of the input that could not be read, for the journal.

    Attributes:
        bad_files: sounds that could not be captioned, or not to their end.
        complaints: what is odd about sounds that were captioned nevertheless.
        num_new: captions made.
    """

    def __init__(
        self,
        config: CaptionConfig,
        sounds: Sequence[Sound],
        journal: Journal | None = None,
        bad_rows: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.sounds = sounds
        self.journal = journal
        self.bad_rows = bad_rows
        self.bad_files: list[BadFile] = []
        self.complaints: list[BadFile] = []
        self.num_new = 0
        self._predictions: list[Prediction] = []  # without a journal
        self._is_stream = config.out is not None and is_stream(config.out)

    def lacking(self) -> tuple[list[Sound], dict[int, set[float]]]:
        """Return the sounds that lack captions, and by their number the windows that they do not lack."""
        if self.journal is None:
            return list(self.sounds), {}
        if self.config.segments:
            return self.journal.lacking_segments(self.sounds)
        return self.journal.lacking(self.sounds), {}

    def keep(
        self,
        predictions: Sequence[Prediction],
        bad_files: Sequence[BadFile] = (),
        complaints: Sequence[BadFile] = (),
    ) -> None:
        """Add captions, which are final (a continued run corrects nothing twice), and what was found."""
        self.num_new += len(predictions)
        self.bad_files += bad_files
        self.complaints += complaints
        if self.journal:
            self.journal.append(predictions)
            if bad_files or complaints:
                # Before the next batch, so that a killed run has named them, too.
                self.journal.note(self.bad_files, self.complaints)
            return
        self._predictions += predictions
        if self.config.segments and not self._is_stream:  # they come in order
            for prediction in predictions:
                print(format_line(prediction), flush=True)

    def finish(self) -> list[Prediction]:
        """Order, merge, and write or print all captions; return them."""
        held = self.journal.predictions if self.journal else self._predictions
        predictions = in_order(held, self.sounds)
        if self.config.merge:
            predictions = merge_equal(predictions)
        if self.journal:
            self.journal.finish(
                predictions, self.bad_files, complaints=self.complaints, bad_rows=self.bad_rows
            )
            if self.config.subtitles != "none":
                folder = self.journal.out.with_suffix(f".{self.config.subtitles}")
                write_subtitles(predictions, folder, self.config.subtitles)
        elif self._is_stream:
            write_predictions(STREAM, predictions)
        elif not self.config.segments:
            for prediction in predictions:
                print(format_line(prediction))
        return predictions


def format_line(prediction: Prediction) -> str:
    """Return a prediction as a line to print: id, times of a window, caption or events with their times."""
    times = "" if prediction.start is None else f"\t{prediction.start:.2f}\t{prediction.end:.2f}"
    text = write_timed(prediction.timestamps) or prediction.caption
    return f"{printable(prediction.id)}{times}\t{printable(text)}"
