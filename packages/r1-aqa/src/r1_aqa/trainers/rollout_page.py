"""Show rollouts as a page, group by group: prompt, completions, rewards, advantages, the audio."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from audio_common.strict_json import read_object

from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.data.readers import read_questions
from r1_aqa.files import write_atomically
from r1_aqa.lock import sole_writer
from r1_aqa.trainers.rollouts import read_rollouts

logger = logging.getLogger(__name__)


def show_rollouts(config: RolloutsConfig) -> Path:
    """Write the page.

    Raises:
        FileNotFoundError: the run has no rollouts.
    """
    folder = config.run / "rollouts" if (config.run / "rollouts").is_dir() else config.run
    rows = [row for row in read_rollouts(folder) if (row["step"] - 1) % config.every == 0]
    found = group_rollouts(rows)
    groups = found[-config.limit :] if config.limit else found
    if len(groups) < len(found):
        logger.warning("the page shows the latest %d of %d groups (--limit)", len(groups), len(found))
    files = config.data or trained_on(folder.parent)
    audio = {
        question.id: question.audio for path in files for question in read_questions(path, keep_faults=True)
    }
    page = render(groups, {name: link(path, config.out) for name, path in audio.items()})
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


def group_rollouts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rollouts of one question in one update together, best first."""
    groups: list[dict[str, Any]] = []
    for row in rows:
        key = (row["step"], row["question_id"])
        if not groups or groups[-1]["key"] != key:
            same = ("step", "question_id", "prompt", "choices", "answer")
            groups.append({"key": key, "rollouts": []} | {name: row[name] for name in same})
        rewards = {name[7:]: value for name, value in row.items() if name.startswith("reward.")}
        groups[-1]["rollouts"].append(row | {"rewards": rewards})
    for group in groups:
        group["rollouts"].sort(key=lambda row: -row["reward"])
        group["mean"] = sum(row["reward"] for row in group["rollouts"]) / len(group["rollouts"])
        group["flat"] = all(abs(row["advantage"]) < 1e-6 for row in group["rollouts"])
    return groups


def render(groups: Sequence[dict[str, Any]], sounds: dict[str, str]) -> str:
    """Return the page's HTML; `sounds` are links to the audio by question id."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("r1_aqa.trainers", "."), autoescape=True, trim_blocks=True)
    template = environment.get_template("rollouts.html.jinja")
    return template.render(groups=groups, sounds=sounds, steps=sorted({group["step"] for group in groups}))


def link(audio: Path, page: Path) -> str:
    """Return the link to an audio file relative to the page: `a #1?.wav` is `a%20%231%3F.wav`."""
    path = Path(os.path.relpath(audio.absolute(), page.absolute().parent)).as_posix()
    # As the bytes that the file system has: a name need not be UTF-8.
    return quote(os.fsencode(path))
