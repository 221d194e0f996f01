"""Draw questions about composed sounds, see `r1_aqa.data.plan`: what is read, is right, is heard."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count as numbers_from
from itertools import islice

from r1_aqa.config.prepare import Difficulty, QuestionKind
from r1_aqa.data.composition import FRAME_SECONDS, Composition, Window
from r1_aqa.data.placement import (
    GAP,
    LONGEST_SECONDS,
    LOUDER_DB,
    ShapedClip,
    Sound,
    heard_window,
    place,
)
from r1_aqa.data.plan import ANCHORED, BURST_SECONDS, LONGER, NUMBERS, TEXTS, Askable, Plan


def draw_plans(askable: Askable, kind: QuestionKind, count: int) -> list[Plan]:
    """Return so many questions of a kind; the first of them do not depend on how many there are.

    Raises:
        ValueError: the labels or the room do not allow any.
    """
    return list(islice(_Draw(askable, kind, askable.levels(kind)).plans(), count))


class _Draw:
    """Questions of one kind, drawn one after the other from one random source."""

    def __init__(self, askable: Askable, kind: QuestionKind, levels: Sequence[Difficulty]) -> None:
        self.askable, self.kind, self.levels = askable, kind, levels
        self.config = askable.config
        self.rng = random.Random(f"{self.config.seed} {askable.split} {kind}")
        self.fitting = askable.fitting(kind)
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
        answer_is = self.kind if self.kind in ("loudest", "quietest") else None
        parts = place(self._with_clips(sounds), self.config.seconds, self.rng, answer_is)
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
        near = [label for label in self.askable.near[seed] if label in self.fitting and label != anchor]
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

    def _of_number(self, level: Difficulty, anchor: str | None) -> tuple[list[str], str, list[Sound]]:
        """Return options, the right one and the sounds of a question whose options are numbers."""
        companions = self._outside({anchor}, 1) if level == "hard" and anchor else []
        if self.kind == "seconds":
            assert anchor is not None
            steps = self.askable.ladder()
            names = [_in_words(step) for step in steps]
            answer = self._answer(names)
            sounds = [Sound(label=anchor, slot=0, seconds=steps[names.index(answer)], steady=True)]
        else:
            room = self.askable.room if self.kind == "repeats" else self.askable.most
            most = min(self.config.num_choices, room - len(companions))
            most = most if self.kind == "repeats" else min(most, len(self.labels))
            names = [str(number) for number in range(1, most + 1)]
            answer = self._answer(names)
            sounds = (
                self._repeated(str(anchor), int(answer))
                if self.kind == "repeats"
                else self._different(level, int(answer), most)
            )
        sounds += [Sound(label=label, slot=len(sounds), gain_db=self._gain()) for label in companions]
        return names, answer, self._reordered(sounds)

    def _different(self, level: Difficulty, different: int, total: int) -> list[Sound]:
        """Return always as many sounds, whatever the number of different ones: onsets cannot be counted."""
        labels = self._sounds_to_count(level, different)
        sequence = labels + [self.rng.choice(labels) for _ in range(total - different)]
        self.rng.shuffle(sequence)
        # A label's sounds are one recording: two different dogs would be an argument.
        room = 0.8 * (self.config.seconds - GAP * (total + 1)) / total
        known = {}
        for label in labels:
            clip = self._clip(label)
            window = heard_window(clip.shape, min(room, LONGEST_SECONDS), self.rng)
            known[label] = Sound(label=label, slot=0, clip=clip, window=window, gain_db=self._gain())
        return [replace(known[label], slot=slot) for slot, label in enumerate(sequence)]

    def _sounds_to_count(self, level: Difficulty, different: int) -> list[str]:
        seed = self._anchor()
        others = [label for label in self.labels if label != seed]
        self.rng.shuffle(others)
        if level == "medium":
            near = [label for label in self.askable.near[seed] if label in self.fitting]
            others = [*self.rng.sample(near[:different], min(different, len(near))), *near, *others]
        labels = self._compatible([seed, *others], different, None) if different > 1 else [seed]
        if len(labels) < different:
            raise ValueError("too few labels that do not mean the same")
        return labels

    def _repeated(self, label: str, times: int) -> list[Sound]:
        clip = self._clip(label)
        burst = self.rng.choice(clip.shape.bursts)
        window = Window(burst.start, min(burst.length, round(BURST_SECONDS / FRAME_SECONDS)))
        gain = self._gain()
        return [
            Sound(label=label, slot=slot, clip=clip, window=window, gain_db=gain) for slot in range(times)
        ]

    def _of_sounds(
        self, level: Difficulty, anchor: str | None, options: Sequence[str], answer: str
    ) -> list[Sound]:
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
            seconds = self.askable.together
            pair = [Sound(label=name, slot=0, seconds=seconds) for name in (str(anchor), label)]
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
            number = self.rng.randrange(min(2, self.askable.most))
        elif self.kind in ("longest", "shortest"):
            number = self.askable.lasting - 1
        else:
            number = self.rng.randint(1, max(1, self.askable.most - 1 - (self.kind in ANCHORED)))
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
        return self.askable.alike.get(label, frozenset())

    def _row(self, labels: Sequence[str], first: int = 0) -> list[Sound]:
        return [
            Sound(label=label, slot=slot, gain_db=self._gain()) for slot, label in enumerate(labels, first)
        ]

    def _gain(self) -> float:
        return round(self.rng.uniform(-6.0, 0.0), 1)

    def _lasting(self, answer: str, others: Sequence[str]) -> list[Sound]:
        base = self.askable.base
        longest, shortest = LONGER * base, base / LONGER
        is_longest = self.kind == "longest"
        lengths = [
            base * (self.rng.uniform(0.7, 1.0) if is_longest else self.rng.uniform(1.0, 1.3)) for _ in others
        ]
        lengths = [longest if is_longest else shortest, *lengths]
        return [
            Sound(label=label, slot=slot, seconds=seconds, steady=True, gain_db=self._gain())
            for slot, (label, seconds) in enumerate(zip([answer, *others], lengths, strict=True))
        ]

    def _of_levels(self, answer: str, others: Sequence[str]) -> list[Sound]:
        """Return the answer at one end of the levels; `place` sees to the means."""
        sign = 1 if self.kind == "loudest" else -1
        apart = [LOUDER_DB + self.rng.uniform(0.0, 4.0) for _ in others]
        top = 0.0 if sign > 0 else -max(apart)
        gains = [top, *(top - sign * each for each in apart)]
        return [
            Sound(label=label, slot=slot, gain_db=round(gain, 1))
            for slot, (label, gain) in enumerate(zip([answer, *others], gains, strict=True))
        ]

    def _reordered(self, sounds: Sequence[Sound]) -> list[Sound]:
        """Return the sounds with their slots in random order."""
        slots = sorted({sound.slot for sound in sounds})
        order = dict(zip(slots, self.rng.sample(slots, len(slots)), strict=True))
        return [replace(sound, slot=order[sound.slot]) for sound in sounds]

    def _clip(self, label: str) -> ShapedClip:
        """Return the next clip of a label; each is used before one is used again."""
        if not self.waiting.get(label):
            clips = self.fitting[label]
            self.waiting[label] = self.rng.sample(clips, len(clips))
        return self.waiting[label].pop()

    def _with_clips(self, sounds: Sequence[Sound]) -> list[Sound]:
        return [replace(sound, clip=sound.clip or self._clip(sound.label)) for sound in sounds]


def _in_words(seconds: float) -> str:
    return {0.5: "half a second", 1.0: "1 second"}.get(seconds, f"{seconds:g} seconds")
