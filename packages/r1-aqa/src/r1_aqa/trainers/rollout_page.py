"""Show rollouts as a page: how each update went, and group by group question, sound, completions, rewards."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from audio_common.strict_json import read_object

from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.files import write_atomically
from r1_aqa.lock import sole_writer
from r1_aqa.trainers.rollout_groups import Group, Summary, group_rollouts, summarize, summarize_updates
from r1_aqa.trainers.rollouts import read_rollouts

logger = logging.getLogger(__name__)

CHART_WIDTH, CHART_HEIGHT, CHART_EDGE = 600, 120, 6
"""Units of the picture of mean and spread, which the page scales, and its edge above and below."""


def show_rollouts(config: RolloutsConfig) -> Path:
    """Write the page.

    Raises:
        FileNotFoundError: the run has no rollouts.
    """
    folder = config.run / "rollouts" if (config.run / "rollouts").is_dir() else config.run
    rows = [row for row in read_rollouts(folder) if (row["step"] - 1) % config.every == 0]
    files = config.data or trained_on(folder.parent)
    asked = {q.id: q for path in files for q in read_questions(path, keep_faults=True)}
    found = group_rollouts(rows, {name: question.question for name, question in asked.items()})
    groups = found[-config.limit :] if config.limit else found
    if len(groups) < len(found):
        logger.warning("the page shows the latest %d of %d groups (--limit)", len(groups), len(found))
    run = folder.absolute().parent if folder.name == "rollouts" else folder.absolute()
    updates = summarize_updates(found)  # the picture is of all of them
    page = render(groups, updates, links(asked, config.out), name="/".join(run.parts[-2:]))
    with sole_writer(config.out):
        write_atomically(config.out, page)
    logger.info("%d groups of rollouts", len(groups))
    return config.out


def trained_on(run: Path) -> list[Path]:
    """Return the files of training questions that a run's settings name, as far as they are still there."""
    settings = run / "config.json"
    if not settings.is_file():
        return []
    data = read_object(settings).get("data")
    named = data.get("train") if isinstance(data, dict) else None
    paths = [Path(path) for path in named if isinstance(path, str)] if isinstance(named, list) else []
    return [path for path in paths if os.path.isfile(path)]


def links(asked: Mapping[str, Question], page: Path) -> dict[str, list[str]]:
    """Return the links to the sounds of each question, by its id."""
    return {
        name: [link(audio, page) for audio in question.audios]
        for name, question in asked.items()
        if not question.fault
    }


def link(audio: Path, page: Path) -> str:
    """Return the link to an audio file relative to the page: `a #1?.wav` is `a%20%231%3F.wav`."""
    path = Path(os.path.relpath(audio.absolute(), page.absolute().parent)).as_posix()
    # As the bytes that the file system has: a name need not be UTF-8.
    return quote(os.fsencode(path))


def render(
    groups: Sequence[Group], updates: Sequence[Summary], sounds: Mapping[str, Sequence[str]], *, name: str
) -> str:
    """Return the page's HTML.

    Args:
        groups: to show; at least one.
        updates: of the training, for the picture.
        sounds: links to the sounds by question id.
        name: of the training, for the title.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("r1_aqa.trainers", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("rollouts.html.jinja").render(
        name=name,
        groups=groups,
        sounds=sounds,
        summaries=[summarize(groups), *summarize_updates(groups)],
        updates=updates,
        chart=draw_chart(updates),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
    )


def draw_chart(updates: Sequence[Summary]) -> dict[str, object]:
    """Return the mean reward of each update as a line, with a band of its spread, in the chart's units."""
    low = min(0.0, *(update.mean - update.spread for update in updates))
    high = max(*(update.mean + update.spread for update in updates), low + 1e-9)

    def place(number: int, value: float) -> str:
        x = CHART_WIDTH * (number + 0.5) / len(updates)
        y = CHART_EDGE + (CHART_HEIGHT - 2 * CHART_EDGE) * (high - value) / (high - low)
        return f"{x:.1f},{y:.1f}"

    upper = [place(n, update.mean + update.spread) for n, update in enumerate(updates)]
    lower = [place(n, update.mean - update.spread) for n, update in enumerate(updates)]
    return {
        "line": " ".join(place(n, update.mean) for n, update in enumerate(updates)),
        "band": " ".join([*upper, *reversed(lower)]),
        "dots": [place(n, update.mean).split(",") for n, update in enumerate(updates)],
        "low": low,
        "high": high,
    }
