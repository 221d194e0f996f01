"""A page that shows rollouts group by group: prompt, completions, rewards, advantages, the sound."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.data.questions import read_questions
from r1_aqa.trainers.rollout_log import read_rollouts

logger = logging.getLogger(__name__)


def show_rollouts(config: RolloutsConfig) -> Path:
    """Write the page.

    Raises:
        FileNotFoundError: the folder has no rollouts.
    """
    rows = [row for row in read_rollouts(config.folder) if (row["step"] - 1) % config.every == 0]
    groups = group_rollouts(rows)[-config.max_groups :]
    sounds = {q.id: q.audio for path in config.questions for q in read_questions(path)}
    page = render(groups, {name: link(audio, config.out) for name, audio in sounds.items()})
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(page, encoding="utf-8")
    logger.info("%d groups of rollouts: %s", len(groups), config.out)
    return config.out


def group_rollouts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rollouts of one question in one update together, best first."""
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
    """The page's HTML."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("r1_aqa.trainers", "."), autoescape=True, trim_blocks=True)
    template = environment.get_template("rollouts.html.jinja")
    return template.render(groups=groups, sounds=sounds, steps=sorted({group["step"] for group in groups}))


def link(audio: Path, page: Path) -> str:
    """A sound as the page finds it."""
    return Path(os.path.relpath(audio.absolute(), page.absolute().parent)).as_posix()
