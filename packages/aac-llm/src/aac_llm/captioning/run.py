"""One run over many sounds: caption those that lack a caption, choose, correct, keep, order.

Each batch is on disk before the next one (`data/journal.py`), so a run that was killed is continued by the
same command. A file that cannot be read costs itself only: it is named at the end and in the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from audio_common.prefetch import BadFile

from aac_llm.captioning.segments import merge_equal
from aac_llm.captioning.subtitles import write_subtitles
from aac_llm.config.caption import CaptionConfig
from aac_llm.data.journal import Journal, in_order
from aac_llm.data.predictions import NO_SOUND, Prediction, write_predictions
from aac_llm.data.sounds import Sound
from aac_llm.data.timestamps import write_timed
from aac_llm.files import STREAM, is_stream
from aac_llm.output import Progress, printable

if TYPE_CHECKING:
    from aac_llm.captioning.captioner import Captioner
    from aac_llm.correction.corrector import Corrector
    from aac_llm.models.windows import Segment


class CaptionRun:
    """Caption some sounds.

    Args:
        config: settings.
        captioner: the model.
        sounds: what to caption.
        journal: the output; None: captions are printed.
        corrector: what repairs captions, if they are to be.
        bad_rows: rows of the input that could not be read, for the journal.

    Attributes:
        bad_files: sounds that could not be captioned, or not to their end.
        complaints: what is odd about sounds that were captioned nevertheless.
        num_new: captions made.
    """

    def __init__(
        self,
        config: CaptionConfig,
        captioner: Captioner,
        sounds: Sequence[Sound],
        journal: Journal | None = None,
        corrector: Corrector | None = None,
        bad_rows: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.captioner = captioner
        self.sounds = sounds
        self.journal = journal
        self.corrector = corrector
        self.bad_rows = bad_rows
        self.bad_files: list[BadFile] = []
        self.complaints: list[BadFile] = []
        self.num_new = 0
        self._predictions: list[Prediction] = []  # without a journal
        self._is_stream = config.out is not None and is_stream(config.out)

    def run(self) -> list[Prediction]:
        """Caption what is lacking; return all captions of the output, in order."""
        num_noted = 0
        with Progress("Captioning", len(self.sounds), start=self._num_done()) as progress:
            for predictions, num_left in self._segments() if self.config.segments else self._whole():
                self._keep(predictions)
                if self.journal and len(self.bad_files) + len(self.complaints) > num_noted:
                    # Before the next batch, so that a killed run has named them, too.
                    self.journal.note(self.bad_files, self.complaints)
                    num_noted = len(self.bad_files) + len(self.complaints)
                progress.advance(len(self.sounds) - num_left - progress.done)
        return self._finish()

    def _num_done(self) -> int:
        return len(self.sounds) - len(self.journal.lacking(self.sounds)) if self.journal else 0

    def _finish(self) -> list[Prediction]:
        """Order, merge, and write or print all captions."""
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

    def _keep(self, predictions: Sequence[Prediction]) -> None:
        self.num_new += len(predictions)
        # Before it is kept: what is on the disk is final, and a continued run corrects nothing twice.
        if self.corrector:
            predictions = self._correct(self.corrector, predictions)
        if self.journal:
            self.journal.append(predictions)
            return
        self._predictions += predictions
        if self.config.segments and not self._is_stream:  # they come in order
            for prediction in predictions:
                print(format_line(prediction), flush=True)

    def _correct(self, corrector: Corrector, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Repair captions but those of silence, which nobody wrote."""
        spoken = [one for one in predictions if one.caption != NO_SOUND]
        repaired = iter(corrector.correct_predictions(spoken)) if spoken else iter(())
        return [one if one.caption == NO_SOUND else next(repaired) for one in predictions]

    def _whole(self) -> Iterator[tuple[list[Prediction], int]]:
        """Yield captions of sounds, and how many sounds are left."""
        sounds = self.journal.lacking(self.sounds) if self.journal else list(self.sounds)
        num_done = 0
        paths = [sound.path for sound in sounds]
        for batch in self.captioner.caption_files(paths, self.config, self.bad_files, self.complaints):
            num_done += len(batch)
            found = [self._predict(sounds[index], segments) for index, segments in batch.items()]
            # Files that could not be read are done, too.
            yield found, len(sounds) - num_done - len(self.bad_files)

    def _segments(self) -> Iterator[tuple[list[Prediction], int]]:
        """Yield captions of windows, and how many sounds are left."""
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
            complaints=self.complaints,
            done=done,
        )
        for batch in batches:
            found = [
                replace(
                    self._predict(sounds[segment.index], [segment]),
                    start=segment.start,
                    end=segment.end,
                    references=(),  # they are of the whole sound
                )
                for segment in batch
            ]
            # The last sound of the batch may have more windows.
            yield found, len(sounds) - batch[-1].index

    def _predict(self, sound: Sound, segments: Sequence[Segment]) -> Prediction:
        if self.config.timestamps:
            self._complain_of_events(sound, segments)
        return self.captioner.predict(
            segments, self.config, id=sound.id, audio=str(sound.path), references=sound.references
        )

    def _complain_of_events(self, sound: Sound, segments: Sequence[Segment]) -> None:
        """Note events that make no sense, which the prediction leaves out."""
        from aac_llm.models.prediction import unread_events

        for segment in segments:
            chosen = self.captioner.choose(segment.candidates)
            if count := unread_events(chosen, segment):
                text = f"{count} events of the caption make no sense and are left out: {chosen.text}"
                self.complaints.append(BadFile(sound.path, text, segment.index, partly=True))


def format_line(prediction: Prediction) -> str:
    """Return a prediction as a line to print: id, times of a window, caption or events with their times."""
    times = "" if prediction.start is None else f"\t{prediction.start:.2f}\t{prediction.end:.2f}"
    text = write_timed(prediction.timestamps) or prediction.caption
    return f"{printable(prediction.id)}{times}\t{printable(text)}"
