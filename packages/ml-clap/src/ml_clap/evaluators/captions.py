"""The captions that an evaluation asks with: which, whose, in which languages and batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_clap.data.languages import choose_among
from ml_clap.data.manifest import Clip

if TYPE_CHECKING:
    from audio_common.prefetch import BadFile


@dataclass(frozen=True)
class Queries:
    """The captions of one language, and whose they are."""

    clips: list[int]
    """Numbers of the clips with captions."""
    texts: list[str]
    owner: list[int]
    """For each text the index of its clip in `clips`."""

    @property
    def counts(self) -> tuple[list[int], list[int]]:
        """What must be equal for languages to be compared query by query."""
        return self.clips, self.owner


def choose_languages(clips: Iterable[Clip], languages: Sequence[str] | None) -> list[str]:
    """Return the languages to evaluate: those asked for, each with captions, or all of the captions.

    Raises:
        ValueError: a language without captions, with those that there are.
    """
    wanted = choose_among({language for clip in clips for language in clip.captions}, languages)
    if not wanted:
        raise ValueError("no clip has captions")
    return wanted


def reference_batches(rows: Sequence[int], clips: Iterable[int], batch_size: int) -> list[list[int]]:
    """Return the clips of each batch of the authors' evaluation, with a row for each caption, in file order.

    A clip whose rows fall into two batches is in both; its first embedding is the one that counts. Clips
    without a row come last.

    >>> reference_batches([0, 0, 0, 1, 1, 1, 2], range(4), 4)
    [[0, 1], [1, 2], [3]]
    """
    batches = [
        list(dict.fromkeys(rows[first : first + batch_size])) for first in range(0, len(rows), batch_size)
    ]
    with_rows = set(rows)
    left = [clip for clip in clips if clip not in with_rows]
    return batches + [left[first : first + batch_size] for first in range(0, len(left), batch_size)]


def gather(clips: Sequence[Clip], language: str, num_captions: int | None, without: Iterable[int]) -> Queries:
    """Return the captions in a language of all clips but those with the numbers `without`."""
    left_out = set(without)
    queries = Queries([], [], [])
    for number, clip in enumerate(clips):
        texts = clip.captions.get(language, ())[:num_captions]
        if texts and number not in left_out:
            queries.owner.extend([len(queries.clips)] * len(texts))
            queries.texts.extend(texts)
            queries.clips.append(number)
    return queries


def count_shared(queries: Queries) -> int:
    """Count the captions that another clip has word for word."""
    clips_of = Counter(text for text, _ in set(zip(queries.texts, queries.owner, strict=True)))
    return sum(clips_of[text] > 1 for text in queries.texts)


def check_queries(codes: Sequence[str], queries: Sequence[Queries], bad: Sequence[BadFile]) -> None:
    """Refuse a language none of whose clips could be read."""
    for code, asked in zip(codes, queries, strict=True):
        if not asked.clips:
            raise ValueError(
                f"none of the clips with captions in {code} could be read; the first: {bad[0].reason}"
            )


def say_left_out(clips: Sequence[Clip], codes: Sequence[str], num_captions: int | None) -> str:
    """Say how many captions are not used; nothing where all are."""
    if num_captions is None:
        return ""
    counts = [len(clip.captions.get(code, ())) for clip in clips for code in codes]
    left_out = sum(max(0, count - num_captions) for count in counts)
    if not left_out:
        return ""
    return f"{left_out:,} of {sum(counts):,} captions are left out (--num_captions {num_captions})"


def recordings_of(clips: Sequence[Clip], key: str) -> list[str]:
    """Return the recording of each clip as the manifest names it.

    Raises:
        ValueError: a clip has none.
    """
    for clip in clips:
        if not isinstance(clip.extra.get(key), str | int):
            raise ValueError(
                f"recording: the clip {clip.id!r} has no key {key!r} with a text or a whole number; "
                f"it has {', '.join(sorted(clip.extra)) or 'no further keys'}"
            )
    return [str(clip.extra[key]) for clip in clips]
