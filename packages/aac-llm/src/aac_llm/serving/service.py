"""Sounds that were sent: captioned, with times, and corrected.

    >>> service = CaptionService.load(ServeConfig(model="runs/clotho"))  # doctest: +SKIP
    >>> answer = service.answer([server.uploads.hear(path)], Wanted())  # doctest: +SKIP
    >>> answer.heard[0].prediction.caption, answer.refused  # doctest: +SKIP
    ('rain falls on leaves', ())

A sound that cannot be captioned costs itself only: it is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Self

from audio_common.prefetch import BadFile

from aac_llm.captioning.captioner import Captioner
from aac_llm.config.serve import ServeConfig
from aac_llm.correction.corrector import Corrector
from aac_llm.data.predictions import NO_SOUND, Prediction
from aac_llm.serving.uploads import Sound

NO_TIMES = "the captioner wrote no event whose times make sense"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for, of all sounds of a request."""

    num_candidates: int = 1
    """Captions of each sound (n-best)."""
    timestamps: bool = True
    """Events with their times, of a captioner that knows them."""
    correct: bool = True
    """Repair captions that need it."""


@dataclass(frozen=True)
class Heard:
    """A sound that was captioned."""

    prediction: Prediction
    """Its caption; the id is the sender's name of it, and there is no path."""
    sound: Sound
    """What the model heard."""
    complaints: tuple[str, ...] = ()
    """What is odd about it, or about its events."""


@dataclass(frozen=True)
class Refused:
    """A sound that was not captioned."""

    name: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """What became of all sounds of a request."""

    heard: tuple[Heard, ...]
    """In the order in which they were sent."""
    refused: tuple[Refused, ...]


class CaptionService:
    """Captions uploads; one request at a time.

    Args:
        config: settings.
        captioner: the model.
        corrector: what repairs captions.
    """

    def __init__(self, config: ServeConfig, captioner: Captioner, corrector: Corrector) -> None:
        self.config = config
        self.captioner = captioner
        self.corrector = corrector

    @classmethod
    def load(cls, config: ServeConfig) -> Self:
        """Load the models that the settings name.

        Raises:
            CheckpointError, DecoderError: there is no captioner, or it is damaged.
            ValueError: the correction's model or program is not there.
        """
        corrector = Corrector(config.correction)
        corrector.check()
        captioner = Captioner.from_pretrained(
            config.model,
            device=config.device,
            dtype=config.dtype,
            decoder=config.decoder,
            quantization=config.quantization,
            channel=config.channel,
        )
        # The first visitor should not wait for models.
        if config.correction.llm is not None:
            corrector.llm  # noqa: B018
        return cls(config, captioner, corrector)

    @property
    def knows_times(self) -> bool:
        """Whether the captioner writes events with their times."""
        return self.captioner.model.config.timestamps

    def check(self, wanted: Wanted) -> None:
        """Refuse what cannot be had of this model.

        Raises:
            ValueError: more captions of a sound than the search has beams.
        """
        if not 1 <= wanted.num_candidates <= self.config.num_beams:
            raise ValueError(
                f"num_candidates must be from 1 to {self.config.num_beams} (the server's --num_beams), "
                f"got {wanted.num_candidates}"
            )

    def answer(self, sounds: Sequence[Sound], wanted: Wanted) -> Answer:
        """Caption sounds; those that cannot be are refused one by one.

        Raises:
            ValueError: what is wanted cannot be had.
        """
        self.check(wanted)
        names = distinct_names([sound.name for sound in sounds])
        complaints = [list(sound.complaints) for sound in sounds]
        bad: list[BadFile] = []
        # All beams: the correction may choose among what is not asked for.
        found = self._listen(sounds, bad, num_candidates=self.config.num_beams)
        if wanted.timestamps and self.knows_times:
            found = self._with_times(sounds, found, complaints)
        places = sorted(found)
        # The path is for a scorer that hears the sound.
        predictions = [
            replace(found[place], id=names[place], audio=str(sounds[place].path)) for place in places
        ]
        if wanted.correct:
            predictions = self._corrected(predictions)
        heard = tuple(
            Heard(shown(prediction, wanted), sounds[place], tuple(complaints[place]))
            for prediction, place in zip(predictions, places, strict=True)
        )
        return Answer(heard, tuple(Refused(names[file.index], file.reason) for file in bad))

    def _listen(self, sounds: Sequence[Sound], bad: list[BadFile], **settings: Any) -> dict[int, Prediction]:
        """Caption sounds; those that do not fit into the decoder's context are in `bad`."""
        predictions = self.captioner.caption(
            [sound.waveform for sound in sounds],
            bad_files=bad,
            num_beams=self.config.num_beams,
            max_new_tokens=self.config.max_new_tokens,
            **settings,
        )
        return {int(prediction.id): prediction for prediction in predictions}

    def _with_times(
        self, sounds: Sequence[Sound], found: Mapping[int, Prediction], complaints: Sequence[list[str]]
    ) -> dict[int, Prediction]:
        bad: list[BadFile] = []
        timed = self._listen(sounds, bad, timestamps=True)
        for file in bad:
            complaints[file.index].append(f"no times: {file.reason}")
        for place, prediction in timed.items():
            if not prediction.timestamps and prediction.caption != NO_SOUND:
                complaints[place].append(NO_TIMES)
        none = Prediction("", None, "")
        return {
            place: replace(prediction, timestamps=timed.get(place, none).timestamps)
            for place, prediction in found.items()
        }

    def _corrected(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        # Nobody wrote that of silence, and joined captions of windows have no candidates to choose from.
        only_chooses = self.config.correction.llm is None
        asked = [
            place
            for place, one in enumerate(predictions)
            if one.caption != NO_SOUND and not (one.parts and only_chooses)
        ]
        repaired = self.corrector.correct_predictions([predictions[place] for place in asked])
        found = dict(zip(asked, repaired, strict=True))
        return [found.get(place, one) for place, one in enumerate(predictions)]


def shown(prediction: Prediction, wanted: Wanted) -> Prediction:
    """Return what the sender gets: as many candidates as were asked for, and no path of this machine."""
    several = prediction.candidates[: wanted.num_candidates] if wanted.num_candidates > 1 else ()
    return replace(prediction, audio=None, candidates=several)


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return names that differ from each other, as ids must.

    >>> distinct_names(["rain.wav", "dog.wav", "rain.wav"])
    ['rain.wav', 'dog.wav', 'rain.wav (2)']
    """
    taken: dict[str, None] = {}
    for name in names:
        numbered = (name if number == 1 else f"{name} ({number})" for number in count(1))
        taken[next(one for one in numbered if one not in taken)] = None
    return list(taken)
