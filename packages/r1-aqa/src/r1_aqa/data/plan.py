"""Plan questions about composed sounds: first what is read, then which option is right, then the sound.

In this order the text tells nothing: whatever the question and its options, each option is as likely the
right one, and stands as often at each place. Nothing is decoded here; the recordings' shapes say what
fits. Here is what can be asked; `r1_aqa.data.draw` draws it.

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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1_aqa.config.prepare import Difficulty, PrepareGenerateConfig, QuestionKind
from r1_aqa.data.composition import Composition
from r1_aqa.data.placement import GAP, LEAST_ROOM, LONGEST_SECONDS, ShapedClip

LONGER = 1.6
"""So many times as long as any other is the longest sound."""
BURST_SECONDS = 0.6
"""The most of a sound that is repeated."""
TOGETHER_SECONDS = 2.0
"""Length of two sounds at once, where there is room."""
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
class Plan:
    """A question, and the sound that it is about."""

    kind: QuestionKind
    difficulty: Difficulty
    question: str
    choices: tuple[str, ...]
    answer: str
    composition: Composition


class Askable:
    """What can be asked of the clips of a split, and what of them fits.

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
        possible = _LEVELS.get(kind, ("easy", "medium", "hard"))
        if kind == "repeats" and self.room < 3:
            possible = ("easy",)  # no room for another sound
        wanted = [level for level in possible if level in self.config.difficulties]
        if not wanted:
            raise ValueError(f"it has the difficulties {', '.join(possible)} only")
        labels = len(self.fitting(kind))
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


def describe_parts(composition: Composition) -> list[dict[str, Any]]:
    """Return what is heard as columns have it: `timestamps` as aac-llm reads them."""
    return [
        {"text": part.label, "onset": round(part.onset, 3), "offset": round(part.end, 3)}
        for part in composition.parts
    ]
