"""Ask about a long sound window by window (`sound.too_long: windows`), and take one answer of all.

With options it is the one that most windows give, of several the one that comes first; the completion is that
of the first window which gives it. Without options every window's answer is kept, with its seconds.

A question about several sounds is asked once, about the beginning of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import audio_common
import numpy as np

from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.sounds import QuestionSounds, window_starts

Choose = Callable[[Sequence[str], Sequence[str]], int | None]
"""Completions of a question's windows and its options -> the window whose completion counts, None for all."""


@dataclass(frozen=True)
class Completion:
    """A model's answer to a question, as it was written.

    Attributes:
        row: the question's.
        text: the completion without special tokens, None when the question could not be asked.
        error: why there is no text.
        cut: whether only a part of the sound was heard.
        truncated: whether the most new tokens ended it, and not the model.
        windows: the completions about each window of a long sound, where they were asked about.
        complaints: what is odd about the sound, which was heard nevertheless.
    """

    row: int
    text: str | None
    error: str | None = None
    cut: bool = False
    truncated: bool = False
    windows: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()


@dataclass
class Windows:
    """Questions about each window of their sounds: one each for sounds that are not long.

    Attributes:
        questions: part by part.
        offsets: where the window of a part begins, seconds; None for all that the rule keeps.
        parts: of each question as it was asked, its parts.
        seconds: length of a window.
    """

    questions: list[Question] = field(default_factory=list)
    offsets: list[float | None] = field(default_factory=list)
    parts: list[list[int]] = field(default_factory=list)
    seconds: float = 0.0


def split_questions(
    questions: Sequence[Question],
    sound: SoundConfig,
    given: Mapping[Path, np.ndarray] | None = None,
    decoder: Any = audio_common,
) -> Windows:
    """Return the parts of questions; only the policy `windows` makes several of one."""
    found = Windows(seconds=sound.limit)
    sounds = QuestionSounds(questions, sound, given=given, decoder=decoder)
    for row, question in enumerate(questions):
        is_asked_about = sound.too_long == "windows" and not question.further_audio
        starts = window_starts(sounds.whole_seconds(row), sound.limit) if is_asked_about else [0.0]
        first = len(found.questions)
        found.parts.append(list(range(first, first + len(starts))))
        found.questions += [question] * len(starts)
        found.offsets += list(starts) if len(starts) > 1 else [None]
    return found


def join_windows(
    batches: Iterable[list[Completion]], windows: Windows, rows: Sequence[int], choose: Choose
) -> Iterator[list[Completion]]:
    """Yield the completion of each question of `rows` once all its parts are answered."""
    owner = {part: row for row in rows for part in windows.parts[row]}
    waiting: dict[int, dict[int, Completion]] = {}
    for batch in batches:
        done = []
        for completion in batch:
            row = owner[completion.row]
            answered = waiting.setdefault(row, {})
            answered[completion.row] = completion
            if len(answered) == len(windows.parts[row]):
                parts = [answered[part] for part in windows.parts[row]]
                done.append(_joined(row, parts, windows, choose))
                del waiting[row]
        if done:
            yield done


def _joined(row: int, parts: Sequence[Completion], windows: Windows, choose: Choose) -> Completion:
    if len(parts) == 1:
        return replace(parts[0], row=row)
    failed = next((part for part in parts if part.text is None), None)
    if failed is not None:
        return replace(failed, row=row)
    texts = tuple(part.text or "" for part in parts)
    chosen = choose(texts, windows.questions[parts[0].row].choices)
    starts = [windows.offsets[part.row] or 0.0 for part in parts]
    whole = "\n".join(
        f"{start:g}-{start + windows.seconds:g} s: {text}" for start, text in zip(starts, texts, strict=True)
    )
    return Completion(
        row,
        whole if chosen is None else texts[chosen],
        truncated=any(part.truncated for part in parts),
        windows=texts,
        complaints=tuple(dict.fromkeys(text for part in parts for text in part.complaints)),
    )
