"""Make captions: hear sounds, choose among candidates, correct; a batch at a time, wherever it is done.

`groups.py` brings the sounds here: all of a command (`caption.py`), or in a worker of Ray those of a block
(`by_ray.py`). A file that cannot be read costs itself only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from audio_common.prefetch import BadFile

from aac_llm.config.caption import CaptionConfig
from aac_llm.data.predictions import NO_SOUND, Prediction
from aac_llm.data.sounds import Sound

if TYPE_CHECKING:
    from aac_llm.captioning.captioner import Captioner
    from aac_llm.correction.corrector import Corrector
    from aac_llm.models.windows import Segment


class CaptionMaker:
    """Caption sounds.

    Args:
        config: settings.
        captioner: the model.
        corrector: what repairs captions, if they are to be.

    Attributes:
        bad_files: sounds that could not be captioned, or not to their end.
        complaints: what is odd about sounds that were captioned nevertheless.
    """

    def __init__(
        self, config: CaptionConfig, captioner: Captioner, corrector: Corrector | None = None
    ) -> None:
        self.config = config
        self.captioner = captioner
        self.corrector = corrector
        self.bad_files: list[BadFile] = []
        self.complaints: list[BadFile] = []

    def batches(
        self, sounds: Sequence[Sound], done: Mapping[int, set[float]] | None = None
    ) -> Iterator[tuple[list[Prediction], int]]:
        """Yield captions as they are made, corrected if they are to be, and how many sounds are left.

        Args:
            sounds: what to caption.
            done: with `segments`, starts of the windows of a sound (by its number) that are not captioned.
        """
        for predictions, num_left in (
            self._segments(sounds, done or {}) if self.config.segments else self._whole(sounds)
        ):
            yield self._correct(self.corrector, predictions) if self.corrector else predictions, num_left

    def _whole(self, sounds: Sequence[Sound]) -> Iterator[tuple[list[Prediction], int]]:
        num_done, num_bad = 0, len(self.bad_files)
        paths = [sound.path for sound in sounds]
        for batch in self.captioner.caption_files(paths, self.config, self.bad_files, self.complaints):
            num_done += len(batch)
            found = [self._predict(sounds[index], segments) for index, segments in batch.items()]
            # Files that could not be read are done, too.
            yield found, len(sounds) - num_done - len(self.bad_files) + num_bad

    def _segments(
        self, sounds: Sequence[Sound], done: Mapping[int, set[float]]
    ) -> Iterator[tuple[list[Prediction], int]]:
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

    def _correct(self, corrector: Corrector, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Repair captions but those of silence, which nobody wrote."""
        spoken = [one for one in predictions if one.caption != NO_SOUND]
        repaired = iter(corrector.correct_predictions(spoken)) if spoken else iter(())
        return [one if one.caption == NO_SOUND else next(repaired) for one in predictions]
