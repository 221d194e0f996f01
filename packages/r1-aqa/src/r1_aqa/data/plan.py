"""Plan questions about composed sounds: first what is read, then which option is right, then the sound.

In this order the text tells nothing: whatever the question and its options, each option is as likely the
right one, and stands as often at each place. Nothing is decoded here; the recordings' shapes say what fits.

| kind | the sound | the right option |
|---|---|---|
| which, absent | one or two sounds; all options but one | what is heard; what is not |
| first, last, after | sounds that follow one another | by their order |
| count | as many sounds, whatever the number of different ones | how many different ones |
| repeats | one short sound, repeated with pauses | how often |
| loudest, quietest | one is 6 dB or more above (below) all others, at its loudest and on average | by level |
| overlap | two at once, others before or after | what sounds with the one that the question names |
| longest, shortest | sounds without pauses; one is 1.6 times as long as any other (or as short) | by length |
| seconds | one sound without pauses, of one of several lengths, each twice the one before | its length |

Orders of several sounds are no options, because official scripts compare options as sets of words.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count as numbers_from
from itertools import islice
from typing import Any

from r1_aqa.config.prepare import Difficulty, PrepareGenerateConfig, QuestionKind
from r1_aqa.data.composition import (
    FRAME_SECONDS,
    REFERENCE_DB,
    Composition,
    Part,
    SoundShape,
    Window,
    steady_window,
)

GAP = 0.4
"""Seconds between two sounds, and at both ends."""
LEAST_ROOM = 0.7
"""Seconds that each sound gets at least."""
LOUDER_DB = 6.0
"""By so much the loudest sound is above all others."""
LONGER = 1.6
"""So many times as long as any other is the longest sound."""
BURST_SECONDS = 0.6
"""The most of a sound that is repeated."""
TOGETHER_SECONDS = 2.0
"""Length of two sounds at once, where there is room."""
LONGEST_SECONDS = 4.0
"""The most of a recording that is heard at once, where its length is not asked for."""
LADDER = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Lengths that `seconds` asks about."""

TEXTS: dict[QuestionKind, str] = {
    "which": "Which of these sounds can be heard?",
    "absent": "Which of these sounds is not heard?",
    "first": "Which sound comes first?",
    "last": "Which sound comes last?",
    "after": 'Which sound is heard right after "{}"?',
    "count": "How many different sounds are heard?",
    "repeats": 'How many times is "{}" heard, with pauses between?',
    "loudest": "Which sound is the loudest?",
    "quietest": "Which sound is the quietest?",
    "overlap": 'Which sound is heard at the same time as "{}"?',
    "longest": "Which sound lasts the longest?",
    "shortest": "Which sound lasts the shortest?",
    "seconds": 'For about how long is "{}" heard?',
}
GROUPS: dict[QuestionKind, str] = {
    **dict.fromkeys(("which", "absent"), "presence"),
    **dict.fromkeys(("first", "last", "after"), "order"),
    **dict.fromkeys(("count", "repeats"), "count"),
    **dict.fromkeys(("loudest", "quietest"), "loudness"),
    "overlap": "overlap",
    **dict.fromkeys(("longest", "shortest", "seconds"), "duration"),
}
"""What a kind is counted under in tables of scores (`category`)."""
ANCHORED = ("after", "repeats", "overlap", "seconds")
"""Kinds whose question names a sound."""
NUMBERS = ("count", "repeats", "seconds")
"""Kinds whose options are no sounds."""
_LEVELS: dict[QuestionKind, tuple[Difficulty, ...]] = {
    **dict.fromkeys(("which", "absent", "count"), ("easy", "medium")),  # type: ignore[dict-item]
    **dict.fromkeys(("repeats", "seconds"), ("easy", "hard")),
}
"""Difficulties of kinds that have not all three."""


@dataclass(frozen=True, kw_only=True)
class ShapedClip:
    """A labelled clip as planning needs it."""

    name: str
    label: str
    shape: SoundShape


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A question, and the sound that it is about."""

    kind: QuestionKind
    difficulty: Difficulty
    question: str
    choices: tuple[str, ...]
    answer: str
    composition: Composition


@dataclass(frozen=True, kw_only=True)
class _Sound:
    """A sound to be placed; several with the same `slot` sound at once."""

    label: str
    slot: int
    seconds: float | None = None
    """Its length; None: what the recording and the room give."""
    steady: bool = False
    """Whether it must sound without a pause for `seconds`."""
    clip: ShapedClip | None = None
    window: Window | None = None
    gain_db: float = 0.0
    """Against `REFERENCE_DB`."""


class Planner:
    """Plans the questions of a split.

    Args:
        clips: of this split.
        near: label -> the other labels, most alike first (or of its family).
        config: the settings.
        split: its name, which the draw depends on.
        alike: labels -> labels that mean the same, never options beside each other.
    """

    def __init__(
        self,
        clips: Iterable[ShapedClip],
        near: Mapping[str, Sequence[str]],
        config: PrepareGenerateConfig,
        split: str,
        alike: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.config, self.split, self.near, self.alike = config, split, near, alike or {}
        self.clips: dict[str, list[ShapedClip]] = {}
        for clip in clips:
            self.clips.setdefault(clip.label, []).append(clip)
        self.labels = sorted(self.clips)
        self.room = int((config.seconds - GAP) / (LEAST_ROOM + GAP) + 1e-9)
        self.most = min(config.max_sounds, self.room)
        self.together = min(TOGETHER_SECONDS, (config.seconds - GAP) / 2 - GAP)
        self.lasting = min(3, self.most)  # sounds that are compared by length
        self.base = self._base()
        self._fitting: dict[tuple[str, float], dict[str, list[ShapedClip]]] = {}

    def _base(self) -> float:
        """Return the length that the longest sound is `LONGER` times of, seconds.

        As long as there is room, and as enough labels have a clip that sounds so long without a pause.
        """
        free = self.config.seconds - GAP * (self.lasting + 1)
        longest = min(LONGEST_SECONDS / LONGER, free / (self.lasting - 1 + LONGER))
        lengths = [quarters * 0.25 for quarters in range(int(longest / 0.25 + 1e-9), 1, -1)]
        for labels in (self.config.num_choices + 1, self.config.num_choices):
            for length in lengths:
                if len(self._that_fit("steady", LONGER * length)) >= labels:
                    return length
        return lengths[-1] if lengths else 0.0

    def fitting(self, kind: QuestionKind) -> dict[str, list[ShapedClip]]:
        """Return label -> clips which can be any sound of such a question, whichever option is right."""
        need, seconds = "any", 0.0
        if kind == "repeats":
            need = "burst"
        elif kind == "overlap":
            need, seconds = "span", 0.75 * self.together
        elif kind in ("longest", "shortest"):
            need, seconds = "steady", LONGER * self.base
        elif kind == "seconds":
            need, seconds = "steady", max(self.ladder(), default=0.0)
        key = (need, seconds)
        if key not in self._fitting:
            self._fitting[key] = self._that_fit(need, seconds)
        return self._fitting[key]

    def _that_fit(self, need: str, seconds: float) -> dict[str, list[ShapedClip]]:
        def fits(clip: ShapedClip) -> bool:
            if need == "burst":
                return bool(clip.shape.bursts)
            if need == "span":
                return clip.shape.span(self.together) >= seconds
            if need == "steady":
                return any(run.seconds >= seconds - 1e-9 for run in clip.shape.steady)
            return True

        found = {label: [clip for clip in clips if fits(clip)] for label, clips in self.clips.items()}
        return {label: clips for label, clips in found.items() if clips}

    def ladder(self) -> tuple[float, ...]:
        """Return the lengths that `seconds` asks about: those for which half of the labels have a clip."""
        longest = self.config.seconds - 2 * GAP - (LEAST_ROOM + GAP)
        for size in range(self.config.num_choices, 1, -1):
            steps = LADDER[:size]
            if len(steps) == size and steps[-1] <= longest:
                labels = len(self._that_fit("steady", steps[-1]))
                if labels > 1 and labels >= len(self._that_fit("steady", steps[0])) // 2:
                    return steps
        return ()

    def levels(self, kind: QuestionKind) -> tuple[Difficulty, ...]:
        """Return the difficulties of a kind that the settings want and the labels allow.

        Raises:
            ValueError: none; the message says why.
        """
        wanted = [
            level
            for level in _LEVELS.get(kind, ("easy", "medium", "hard"))
            if level in self.config.difficulties
        ]
        if not wanted:
            raise ValueError(f"it has the difficulties {', '.join(_LEVELS[kind])} only")
        labels = len(self.fitting(kind))
        if kind == "repeats" and self.room < 3:
            wanted = [level for level in wanted if level != "hard"]
        if kind == "seconds" and not self.ladder():
            raise ValueError("no two labels have a clip that sounds long enough without a pause")
        if self.least_sounds(kind) > self.most:
            raise ValueError(
                f"{self.least_sounds(kind)} sounds do not fit; seconds is {self.config.seconds:g} and "
                f"max_sounds {self.config.max_sounds}"
            )
        if kind in ("longest", "shortest") and self.base < 0.5:
            raise ValueError(f"sounds of different length do not fit in {self.config.seconds:g} s")
        found = tuple(level for level in wanted if labels >= self.least_labels(kind, level))
        if not found:
            least = min(self.least_labels(kind, level) for level in wanted)
            raise ValueError(
                f"{labels} labels of the {self.split} split have clips for it, and {least} are needed; "
                "lower num_choices, or give more labels"
            )
        return found

    def least_sounds(self, kind: QuestionKind) -> int:
        """Return how many sounds a question needs, one after the other."""
        if kind == "absent":
            return self.config.num_choices - 1
        return {"which": 1, "after": 3, "seconds": 1, "overlap": 2}.get(kind, 2)

    def least_labels(self, kind: QuestionKind, level: Difficulty) -> int:
        """Return how many labels a question needs."""
        if kind in NUMBERS:
            return 2
        others = 1 if level != "hard" and kind not in ("which", "absent") else 0
        return self.config.num_choices + others + (kind in ANCHORED)

    def plan(self, kind: QuestionKind, count: int) -> list[Plan]:
        """Return so many questions of a kind; the first of them do not depend on how many there are.

        Raises:
            ValueError: the labels or the room do not allow any.
        """
        levels = self.levels(kind)
        return list(islice(_Draw(self, kind, levels).plans(), count))


class _Draw:
    """Questions of one kind, drawn one after the other from one random source."""

    def __init__(self, planner: Planner, kind: QuestionKind, levels: Sequence[Difficulty]) -> None:
        self.planner, self.kind, self.levels = planner, kind, levels
        self.config = planner.config
        self.rng = random.Random(f"{self.config.seed} {planner.split} {kind}")
        self.fitting = planner.fitting(kind)
        self.labels = sorted(self.fitting)
        self.shown, self.right, self.named = Counter[str](), Counter[str](), Counter[str]()
        self.waiting: dict[str, list[ShapedClip]] = {}
        self.places: list[int] = []

    def plans(self) -> Iterable[Plan]:
        """Yield questions without end."""
        for number in numbers_from():
            yield self._plan(self.levels[number % len(self.levels)])

    def _plan(self, level: Difficulty) -> Plan:
        anchor = self._anchor() if self.kind in ANCHORED else None
        if self.kind in NUMBERS:
            options, answer, sounds = self._of_number(level, anchor)
        else:
            options = self._options(level, anchor)
            answer = self._answer(options)
            sounds = self._of_sounds(level, anchor, options, answer)
        parts = self._place(self._with_clips(sounds))
        return Plan(
            kind=self.kind,
            difficulty=level,
            question=TEXTS[self.kind].format(anchor),
            choices=self._shuffled(options, answer),
            answer=answer,
            composition=Composition(
                parts=tuple(sorted(parts, key=lambda part: (part.onset, part.source))),
                seconds=self.config.seconds,
                noise_db=round(self.rng.uniform(-70.0, -62.0), 1),
                seed=self.rng.randrange(2**31),
            ),
        )

    # -------------------------------------------------------------------------------------- what is read

    def _anchor(self) -> str:
        """Return the sound that the question names: one that was named least."""
        label = self._least(self.labels, self.named)
        self.named[label] += 1
        return label

    def _options(self, level: Difficulty, anchor: str | None) -> list[str]:
        """Return the labels to choose from."""
        size = self.config.num_choices
        labels = [label for label in self.labels if label != anchor]
        if level != "medium":
            return self._compatible(self.rng.sample(labels, len(labels)), size, anchor)
        seed = self._least(labels, self.shown)
        near = [label for label in self.planner.near[seed] if label in self.fitting and label != anchor]
        # Not always the very nearest: two more are drawn from, for options that differ.
        first = self.rng.sample(near[: size + 1], min(size + 1, len(near)))
        rest = self.rng.sample(labels, len(labels))
        return self._compatible([seed, *first, *near[size + 1 :], *rest], size, anchor)

    def _compatible(self, labels: Sequence[str], size: int, anchor: str | None) -> list[str]:
        """Return the first labels of which no two mean the same."""
        taken: list[str] = []
        for label in labels:
            alike = self._alike(label)
            is_new = label not in taken and label != anchor and anchor not in alike
            if len(taken) < size and is_new and not alike.intersection(taken):
                taken.append(label)
        if len(taken) < 2:
            raise ValueError("too few labels that do not mean the same")
        return taken

    def _answer(self, options: Sequence[str]) -> str:
        """Return the option that has been right least often, for as often as it was shown."""
        self.shown.update(options)
        share = {label: self.right[label] / self.shown[label] for label in options}
        answer = self._least(options, share)
        self.right[answer] += 1
        return answer

    def _least(self, labels: Sequence[str], counts: Mapping[str, float]) -> str:
        least = min(counts.get(label, 0) for label in labels)
        return self.rng.choice([label for label in labels if counts.get(label, 0) == least])

    def _shuffled(self, options: Sequence[str], answer: str) -> tuple[str, ...]:
        """Return the options in random order; the right one is as often at each place."""
        if not self.places:
            self.places = self.rng.sample(range(len(options)), len(options))
        others = [option for option in options if option != answer]
        self.rng.shuffle(others)
        place = self.places.pop() % len(options)
        return (*others[:place], answer, *others[place:])

    # -------------------------------------------------------------------------------------- what is heard

    def _of_number(self, level: Difficulty, anchor: str | None) -> tuple[list[str], str, list[_Sound]]:
        """Return options, the right one and the sounds of a question whose options are numbers."""
        companions = self._outside({anchor}, 1) if level == "hard" and anchor else []
        if self.kind == "seconds":
            assert anchor is not None
            steps = self.planner.ladder()
            names = [_in_words(step) for step in steps]
            answer = self._answer(names)
            sounds = [_Sound(label=anchor, slot=0, seconds=steps[names.index(answer)], steady=True)]
        else:
            room = self.planner.room if self.kind == "repeats" else self.planner.most
            most = min(self.config.num_choices, room - len(companions))
            most = most if self.kind == "repeats" else min(most, len(self.labels))
            names = [str(number) for number in range(1, most + 1)]
            answer = self._answer(names)
            sounds = (
                self._repeated(str(anchor), int(answer))
                if self.kind == "repeats"
                else self._different(level, int(answer), most)
            )
        sounds += [_Sound(label=label, slot=len(sounds), gain_db=self._gain()) for label in companions]
        return names, answer, self._reordered(sounds)

    def _different(self, level: Difficulty, different: int, total: int) -> list[_Sound]:
        """Return always as many sounds, whatever the number of different ones: onsets cannot be counted."""
        labels = self._sounds_to_count(level, different)
        sequence = labels + [self.rng.choice(labels) for _ in range(total - different)]
        self.rng.shuffle(sequence)
        # A label's sounds are one recording: two different dogs would be an argument.
        room = 0.8 * (self.config.seconds - GAP * (total + 1)) / total
        known = {}
        for label in labels:
            clip = self._clip(label)
            window = self._heard(clip.shape, min(room, LONGEST_SECONDS))
            known[label] = _Sound(label=label, slot=0, clip=clip, window=window, gain_db=self._gain())
        return [replace(known[label], slot=slot) for slot, label in enumerate(sequence)]

    def _sounds_to_count(self, level: Difficulty, different: int) -> list[str]:
        seed = self._anchor()
        others = [label for label in self.labels if label != seed]
        self.rng.shuffle(others)
        if level == "medium":
            near = [label for label in self.planner.near[seed] if label in self.fitting]
            others = [*self.rng.sample(near[:different], min(different, len(near))), *near, *others]
        labels = self._compatible([seed, *others], different, None) if different > 1 else [seed]
        if len(labels) < different:
            raise ValueError("too few labels that do not mean the same")
        return labels

    def _repeated(self, label: str, times: int) -> list[_Sound]:
        clip = self._clip(label)
        burst = self.rng.choice(clip.shape.bursts)
        window = Window(burst.start, min(burst.length, round(BURST_SECONDS / FRAME_SECONDS)))
        gain = self._gain()
        return [
            _Sound(label=label, slot=slot, clip=clip, window=window, gain_db=gain) for slot in range(times)
        ]

    def _of_sounds(
        self, level: Difficulty, anchor: str | None, options: Sequence[str], answer: str
    ) -> list[_Sound]:
        """Return the sounds for which `answer` is the right one of the options."""
        others = self._companions(level, anchor, options, answer)
        label = answer
        if self.kind in ("which", "absent"):
            heard = others if self.kind == "absent" else [label, *others]
            return self._reordered(self._row(heard))
        if self.kind == "first":
            return self._row([label, *others])
        if self.kind == "last":
            return self._row([*others, label])
        if self.kind == "after":
            place = self.rng.randrange(len(others) + 1)
            return self._row([*others[:place], str(anchor), label, *others[place:]])
        if self.kind == "overlap":
            seconds = self.planner.together
            pair = [_Sound(label=name, slot=0, seconds=seconds) for name in (str(anchor), label)]
            return self._reordered([*pair, *self._row(others, first=1)])
        if self.kind in ("longest", "shortest"):
            return self._reordered(self._lasting(label, others))
        return self._reordered(self._of_levels(label, others))

    def _companions(
        self, level: Difficulty, anchor: str | None, options: Sequence[str], answer: str
    ) -> list[str]:
        """Return what is heard beside the answer (and the sound that the question names), in random order."""
        wrong = self.rng.sample([label for label in options if label != answer], len(options) - 1)
        if self.kind == "absent":
            return wrong
        if self.kind == "which":
            number = self.rng.randrange(min(2, self.planner.most))
        elif self.kind in ("longest", "shortest"):
            number = self.planner.lasting - 1
        else:
            number = self.rng.randint(1, max(1, self.planner.most - 1 - (self.kind in ANCHORED)))
        if level == "hard":
            return wrong[:number]
        return self._outside({anchor, *options}, number)

    def _outside(self, labels: set[str | None], number: int) -> list[str]:
        """Return other labels, that mean none of these."""
        taken: list[str] = []
        barred = {other for label in labels if label for other in (label, *self._alike(label))}
        for label in self.rng.sample(self.labels, len(self.labels)):
            if len(taken) < number and label not in barred:
                taken.append(label)
                barred |= self._alike(label)
        return taken

    def _alike(self, label: str) -> frozenset[str]:
        return self.planner.alike.get(label, frozenset())

    def _row(self, labels: Sequence[str], first: int = 0) -> list[_Sound]:
        return [
            _Sound(label=label, slot=slot, gain_db=self._gain()) for slot, label in enumerate(labels, first)
        ]

    def _gain(self) -> float:
        return round(self.rng.uniform(-6.0, 0.0), 1)

    def _lasting(self, answer: str, others: Sequence[str]) -> list[_Sound]:
        base = self.planner.base
        longest, shortest = LONGER * base, base / LONGER
        is_longest = self.kind == "longest"
        lengths = [
            base * (self.rng.uniform(0.7, 1.0) if is_longest else self.rng.uniform(1.0, 1.3)) for _ in others
        ]
        lengths = [longest if is_longest else shortest, *lengths]
        return [
            _Sound(label=label, slot=slot, seconds=seconds, steady=True, gain_db=self._gain())
            for slot, (label, seconds) in enumerate(zip([answer, *others], lengths, strict=True))
        ]

    def _of_levels(self, answer: str, others: Sequence[str]) -> list[_Sound]:
        """Return the answer at one end of the levels; `_with_clips` sees to the means."""
        sign = 1 if self.kind == "loudest" else -1
        apart = [LOUDER_DB + self.rng.uniform(0.0, 4.0) for _ in others]
        top = 0.0 if sign > 0 else -max(apart)
        gains = [top, *(top - sign * each for each in apart)]
        return [
            _Sound(label=label, slot=slot, gain_db=round(gain, 1))
            for slot, (label, gain) in enumerate(zip([answer, *others], gains, strict=True))
        ]

    def _reordered(self, sounds: Sequence[_Sound]) -> list[_Sound]:
        """Return the sounds with their slots in random order."""
        slots = sorted({sound.slot for sound in sounds})
        order = dict(zip(slots, self.rng.sample(slots, len(slots)), strict=True))
        return [replace(sound, slot=order[sound.slot]) for sound in sounds]

    # -------------------------------------------------------------------------------------- where it sounds

    def _clip(self, label: str) -> ShapedClip:
        """Return the next clip of a label; each is used before one is used again."""
        if not self.waiting.get(label):
            clips = self.fitting[label]
            self.waiting[label] = self.rng.sample(clips, len(clips))
        return self.waiting[label].pop()

    def _with_clips(self, sounds: Sequence[_Sound]) -> list[_Sound]:
        return [replace(sound, clip=sound.clip or self._clip(sound.label)) for sound in sounds]

    def _place(self, sounds: Sequence[_Sound]) -> list[Part]:
        """Return the parts: each slot gets its room, each sound a window of its recording and an onset."""
        slots = sorted({sound.slot for sound in sounds})
        rooms = self._rooms([[sound for sound in sounds if sound.slot == slot] for slot in slots])
        placed: list[tuple[_Sound, Window, float]] = []
        for slot, (start, room) in zip(slots, rooms, strict=True):
            for sound in (sound for sound in sounds if sound.slot == slot):
                window = self._window(sound, room)
                slack = max(0.0, room - window.seconds)
                if sound.seconds is not None and not sound.steady:
                    slack = min(slack, 0.2 * sound.seconds)
                placed.append((sound, window, start + self.rng.uniform(0.0, slack)))
        gains = self._gains([(sound, window) for sound, window, _ in placed])
        return [
            Part(
                source=_clip_of(sound).name,
                label=sound.label,
                start=round(window.start * FRAME_SECONDS, 3),
                seconds=round(window.seconds, 3),
                onset=round(onset, 3),
                gain_db=round(gain, 1),
            )
            for (sound, window, onset), gain in zip(placed, gains, strict=True)
        ]

    def _rooms(self, slots: Sequence[Sequence[_Sound]]) -> list[tuple[float, float]]:
        """Return start and length of the room that each slot has, with gaps between."""
        fixed = [max(self._length(sound) for sound in sounds) for sounds in slots]
        free = self.config.seconds - GAP * (len(slots) + 1) - sum(fixed)
        # Where lengths are given the rest is left silent at random places; else it is shared out.
        weights = [self.rng.uniform(0.7, 1.3) for _ in slots]
        extra = [free * weight / sum(weights) for weight in weights]
        rooms, start = [], GAP
        for length, more in zip(fixed, extra, strict=True):
            rooms.append((start, length + more))
            start += length + more + GAP
        return rooms

    def _length(self, sound: _Sound) -> float:
        if sound.window is not None:
            return sound.window.seconds
        return sound.seconds if sound.seconds is not None else LEAST_ROOM

    def _window(self, sound: _Sound, room: float) -> Window:
        if sound.window is not None:
            return sound.window
        shape = _clip_of(sound).shape
        if sound.steady:
            assert sound.seconds is not None
            return steady_window(shape, sound.seconds, self.rng)
        if sound.seconds is not None:
            least = 0.75 * sound.seconds
            found = [window for window in shape.heard_windows(sound.seconds) if window.seconds >= least]
            return self.rng.choice(found)
        return self._heard(shape, min(room, LONGEST_SECONDS) * self.rng.uniform(0.8, 1.0))

    def _heard(self, shape: SoundShape, seconds: float) -> Window:
        """Return a window of a recording, rather a longer one than the last crack of a door."""
        found = shape.heard_windows(seconds)
        longest = max(window.seconds for window in found)
        return self.rng.choice([window for window in found if window.seconds >= 0.6 * longest])

    def _gains(self, placed: Sequence[tuple[_Sound, Window]]) -> list[float]:
        """Return how much each recording is amplified; for loudness the means are apart, too."""
        loudest = [_clip_of(sound).shape.loudest(window) for sound, window in placed]
        gains = [
            sound.gain_db + REFERENCE_DB - level for (sound, _), level in zip(placed, loudest, strict=True)
        ]
        if self.kind not in ("loudest", "quietest"):
            return gains
        means = [
            _clip_of(sound).shape.mean(window) + gain
            for (sound, window), gain in zip(placed, gains, strict=True)
        ]
        return _means_apart([sound.gain_db for sound, _ in placed], gains, means, self.kind == "loudest")


def _means_apart(
    wanted: Sequence[float], gains: Sequence[float], means: Sequence[float], is_loudest: bool
) -> list[float]:
    """Return the gains, lowered until the mean levels, too, are `LOUDER_DB` apart from the answer's.

    Args:
        wanted: levels against each other; the answer's is the highest, or the lowest.
        gains: which give these levels to the loudest 50 ms.
        means: mean level of each with that gain.
        is_loudest: whether the answer is the loudest, else the quietest.
    """
    if is_loudest:
        right = max(range(len(wanted)), key=wanted.__getitem__)
        lacking = [max(0.0, LOUDER_DB - (means[right] - mean)) for mean in means]
        return [gain - lack * (i != right) for i, (gain, lack) in enumerate(zip(gains, lacking, strict=True))]
    right = min(range(len(wanted)), key=wanted.__getitem__)
    lack = max((LOUDER_DB - (mean - means[right]) for i, mean in enumerate(means) if i != right), default=0.0)
    return [gain - max(0.0, lack) * (i == right) for i, gain in enumerate(gains)]


def describe_parts(composition: Composition) -> list[dict[str, Any]]:
    """Return what is heard as columns have it: `timestamps` as aac-llm reads them."""
    return [
        {"text": part.label, "onset": round(part.onset, 3), "offset": round(part.end, 3)}
        for part in composition.parts
    ]


def _clip_of(sound: _Sound) -> ShapedClip:
    assert sound.clip is not None
    return sound.clip


def _in_words(seconds: float) -> str:
    return {0.5: "half a second", 1.0: "1 second"}.get(seconds, f"{seconds:g} seconds")
