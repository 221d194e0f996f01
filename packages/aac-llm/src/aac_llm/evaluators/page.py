"""A page to listen to results: sounds, captions, references and scores of each clip, worst first.

One HTML file without anything from elsewhere: sounds are linked relative to it, or embedded when small. It
can be read without JavaScript; with it, clips are sorted by any score and searched, and each event on the
line of time is played by a click or by the keyboard (Tab or arrows, Enter; Escape stops).
"""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aac_llm.data.word_changes import word_changes
from aac_llm.evaluators.report import (
    LOWER_IS_BETTER,
    Evaluation,
    ScoredClip,
    display_name,
    format_score,
    notes,
    summary,
    table_rows,
)
from aac_llm.evaluators.timeline import draw_timeline
from aac_llm.files import write_atomically

TEMPLATE = "page.html.jinja"
EMBED_BYTES = 2_000_000
"""Larger sounds are linked."""
TELLING = ("fense", "spider_fl", "spider", "fense_like", "cider_d", "meteor", "rouge_l", "event_f1", "bleu_1")
"""Scores by which clips are worst; the first that there is counts."""


def write_page(
    path: Path, evaluation: Evaluation, *, title: str = "Captions", sort_by: str = "auto", embed: bool = False
) -> None:
    """Write the page of an evaluation.

    Args:
        path: of the HTML file; its folder is made.
        evaluation: what to show.
        title: of the page.
        sort_by: score of the order; `auto`: the first of `TELLING` that there is.
        embed: put sounds of up to `EMBED_BYTES` into the page.

    Raises:
        ValueError: no clip has the score `sort_by`.
    """
    page = render_page(evaluation, path.parent, title=title, sort_by=sort_by, embed=embed)
    write_atomically(path, page.encode("utf-8", "replace"))


def render_page(
    evaluation: Evaluation,
    folder: Path,
    *,
    title: str = "Captions",
    sort_by: str = "auto",
    embed: bool = False,
) -> str:
    """Return the page as text, for a file in `folder`; see `write_page`."""
    from jinja2 import Environment, FileSystemLoader

    # Of all clips: a judge may not have answered for the first one.
    names = list(dict.fromkeys(name for clip in evaluation.clips for name in clip.scores))
    order = choose_order(names, sort_by)
    columns, rows = table_rows(evaluation)
    # Captions and ids come from files of others: everything is escaped.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True
    )
    return environment.get_template(TEMPLATE).render(
        title=title,
        subtitle=summary(evaluation),
        columns=columns,
        rows=rows,
        notes=notes(evaluation),
        scores=[(name, display_name(name), name in LOWER_IS_BETTER) for name in names],
        order=order,
        clips=[_clip(clip, folder, embed) for clip in sort_clips(evaluation.clips, order)],
    )


def choose_order(names: Sequence[str], sort_by: str) -> str:
    """Choose the score that clips are sorted by, empty if they have none.

    Raises:
        ValueError: there is no such score; with those that there are.
    """
    if sort_by != "auto":
        if sort_by not in names:
            raise ValueError(f"sort_by: clips have no score {sort_by!r}; they have {', '.join(names)}")
        return sort_by
    # Measures of meaning first: one that counts words puts paraphrases among the worst.
    return next((name for name in TELLING if name in names), names[0] if names else "")


def sort_clips(clips: Sequence[ScoredClip], order: str) -> list[ScoredClip]:
    """Sort clips worst first, those without the score last; those of the same score stay as they came."""
    if not order:
        return list(clips)
    # sorted keeps the order of equal clips, so the page does not change from run to run.
    sign = -1 if order in LOWER_IS_BETTER else 1
    return sorted(clips, key=lambda clip: sign * clip.scores.get(order, sign * float("inf")))


def audio_source(audio: str, folder: Path, embed: bool) -> str:
    """Return what an audio element plays: a link relative to the page's folder, or the sound itself."""
    path = Path(audio)
    # Base64 makes a third more of it, and browsers grow slow with pages of hundreds of megabytes.
    if embed and (content := _small_content(path)):
        # A sound without a known ending is most likely a wave file, and browsers look inside anyway.
        kind = mimetypes.guess_type(path.name)[0] or "audio/wav"
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"
    if not path.is_absolute():
        path = Path.cwd() / path
    try:
        relative = os.path.relpath(path, folder.absolute())
    except ValueError:  # another drive of Windows
        return path.as_uri()
    # Bytes of file names that are not Unicode are quoted as they are.
    return quote(Path(relative).as_posix().encode("utf-8", "surrogateescape"))


def _small_content(path: Path) -> bytes:
    """Return a file's content; nothing of a large file, or of none that can be read."""
    try:
        is_small = path.is_file() and path.stat().st_size <= EMBED_BYTES
        return path.read_bytes() if is_small else b""
    except (OSError, ValueError):  # gone, or a name that no file system takes
        return b""


def _clip(clip: ScoredClip, folder: Path, embed: bool) -> dict[str, Any]:
    return {
        "id": clip.id,
        "audio": audio_source(clip.audio, folder, embed) if clip.audio else "",
        "caption": clip.caption,
        "other": clip.other_caption,
        "changes": None if clip.original is None else word_changes(clip.original, clip.caption),
        "decision": clip.decision,
        "confidence": clip.confidence,
        "timeline": draw_timeline(clip),
        "references": clip.references,
        "scores": [
            (name, display_name(name), format_score(name, value), value)
            for name, value in clip.scores.items()
        ],
    }
