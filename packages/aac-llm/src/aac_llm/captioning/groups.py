"""Caption sounds wherever they are: a group at a time is brought here, from shards and URLs, and captioned.

What is found names sounds as the command does, and not the copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from audio_common.prefetch import BadFile

from aac_llm.captioning.maker import CaptionMaker
from aac_llm.data.members import local_sounds
from aac_llm.data.predictions import Prediction
from aac_llm.data.sounds import Sound

GROUP_SIZE = 512
"""Sounds brought here at a time."""
GROUP_BYTES = 512 << 20
"""Bytes of them, as far as they are known; a larger sound is a group by itself."""


@dataclass(frozen=True)
class Found:
    """What a batch gave."""

    predictions: list[Prediction]
    bad_files: list[BadFile]
    """Sounds that could not be captioned, or not to their end."""
    complaints: list[BadFile]
    """What is odd about sounds that were captioned nevertheless."""
    num_left: int
    """Sounds that wait."""


def caption_groups(
    maker: CaptionMaker, sounds: Sequence[Sound], done: Mapping[int, set[float]]
) -> Iterator[Found]:
    """Yield captions as they are made.

    Args:
        maker: makes them.
        sounds: what to caption.
        done: with `segments`, starts of the windows of a sound (by its number) that are not captioned.
    """
    first = 0
    for group in groups_of(sounds):
        own = [done.get(first + number, set()) for number in range(len(group))]
        first += len(group)
        if group[0].is_here:
            copies: list[Path | OSError] = [sound.path for sound in group]
            yield from _caption_group(maker, group, copies, own, len(sounds) - first)
            continue
        places = {sound.audio: sound.place for sound in group if sound.place is not None}
        with local_sounds([sound.audio for sound in group], places) as copies:
            yield from _caption_group(maker, group, copies, own, len(sounds) - first)


def groups_of(sounds: Sequence[Sound]) -> list[Sequence[Sound]]:
    """Cut sounds, in their order, into those that are here and groups of those that are to be fetched."""
    groups: list[list[Sound]] = []
    size = 0
    for sound in sounds:
        is_here, own = sound.is_here, sound.place.size if sound.place else 0
        is_full = not is_here and bool(size) and size + own > GROUP_BYTES
        if not groups or is_here != groups[-1][0].is_here or is_full or _is_many(groups[-1]):
            groups.append([])
            size = 0
        groups[-1].append(sound)
        size += own
    return list(groups)


def _is_many(group: Sequence[Sound]) -> bool:
    return not group[0].is_here and len(group) == GROUP_SIZE


def _caption_group(
    maker: CaptionMaker,
    group: Sequence[Sound],
    copies: Sequence[Path | OSError],
    done: Sequence[set[float]],
    num_later: int,
) -> Iterator[Found]:
    pairs = list(zip(group, copies, done, strict=True))
    here = [(sound, copy, starts) for sound, copy, starts in pairs if isinstance(copy, Path)]
    lacking = [
        BadFile(sound.path, str(copy), number)
        for number, (sound, copy, _) in enumerate(pairs)
        if not isinstance(copy, Path)
    ]
    if lacking:
        yield Found([], lacking, [], len(here) + num_later)
    findings = _Findings(maker, {str(copy): sound for sound, copy, _ in here})
    sounds = [replace(sound, path=copy, place=None) for sound, copy, _ in here]
    own = {number: starts for number, (_, _, starts) in enumerate(here) if starts}
    for predictions, num_left in maker.batches(sounds, own) if sounds else ():
        yield Found(findings.name(predictions), *findings.take(), num_left + num_later)
    yield Found([], *findings.take(), num_later)


class _Findings:
    """What a maker finds of a group: under the sounds' own names, each finding once.

    Counted as they are taken: the next sounds are decoded meanwhile, and may add to both.
    """

    def __init__(self, maker: CaptionMaker, sounds: Mapping[str, Sound]) -> None:
        self.maker = maker
        self.sounds = sounds
        self.num_bad, self.num_odd = len(maker.bad_files), len(maker.complaints)

    def take(self) -> tuple[list[BadFile], list[BadFile]]:
        """Return the bad files and complaints since the last time."""
        bad, odd = self.maker.bad_files[self.num_bad :], self.maker.complaints[self.num_odd :]
        self.num_bad, self.num_odd = self.num_bad + len(bad), self.num_odd + len(odd)
        return [self._named(file) for file in bad], [self._named(file) for file in odd]

    def name(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return predictions with the sounds' names."""
        copies = [str(one.audio) for one in predictions]
        return [
            replace(one, audio=self.sounds[copy].audio) if copy in self.sounds else one
            for one, copy in zip(predictions, copies, strict=True)
        ]

    def _named(self, file: BadFile) -> BadFile:
        sound = self.sounds.get(str(file.path))
        if sound is None or sound.path == file.path:
            return file
        return replace(file, path=sound.path, reason=file.reason.replace(str(file.path), sound.audio))
