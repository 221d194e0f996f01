"""A model card: the README.md beside a model's weights, with a head that the Hugging Face hub reads.

What every package's card has in common: what the model is, its parts with the licences of their weights, the
data with its licences, scores with their intervals, the command and the settings that train it again. Scores
stand in the head (`model-index`), of which their table is made, so that `evaluate --card` can add to it. The
same file is in ml-clap, aac-llm and r1-aqa; a test compares them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audio_common.hub import split_revision
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from aac_llm.files import write_atomically
from aac_llm.models.licence import CARD_FILE, UNKNOWN

STRICTNESS = ("cc-by-nc", "llama", "gemma", "other", "cc-by-sa", "cc-by", "apache-2.0", "bsd", "mit")
"""Beginnings of licences' identifiers on the hub, the strictest first."""
_RESULTS = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
_SMALL = 10.0
"""Figures below it are shown with three decimals, others (percentages, ranks) with one."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of the model on some data."""

    metric: str
    """As in the report of `evaluate`: cider_d, accuracy, map10, ..."""
    value: float
    low: float | None = None
    """Lower end of the 95 % interval; None: there is none."""
    high: float | None = None
    """Upper end of it."""
    data: str
    """Name of the manifest, benchmark or data set."""
    split: str | None = None
    """Its part."""
    count: int
    """How many items were scored."""
    unit: str = "clips"
    """What is counted."""


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What a training heard."""

    use: str
    """`training` or `validation`."""
    names: tuple[str, ...]
    """Files, and the data sets that their rows name."""
    count: int
    unit: str = "clips"
    """What is counted."""
    hours: float | None
    """None: not known."""
    licences: Mapping[str, int]
    """Licence -> how many have it; `unknown` where the file does not say."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model was trained."""

    command: str
    """Command that trains it again."""
    updates: int
    """Updates until these weights."""
    seed: int
    data: tuple[DataSummary, ...]
    settings: Mapping[str, Any] | None = None
    """All settings, plain; None: they are not shown."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model."""

    name: str
    """encoder, language model, ..."""
    what: str
    trained: str = ""
    """How it was trained: frozen, in full, adapters, ..."""
    licence: str | None = None
    """Of its weights, as it is shown; None: it has none but the model's."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a package says of one of its models."""

    name: str
    """Of the model, in the head: Captioner."""
    title: str
    text: str
    """What it is and how it is used; Markdown."""
    evaluate: str
    """Command that adds scores to the card."""
    parts: tuple[Part, ...]
    task: str
    """What is scored: audio-captioning."""
    pipeline: str
    """One of the hub's pipeline tags."""
    library: str
    """The library that loads it."""
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    """ISO 639 codes."""
    base_models: tuple[str, ...] = ()
    """Names on the hub of the models that it is made of."""
    relation: str | None = None
    """To the base model, where there is one: adapter, finetune, ..."""
    scale: str = ""
    """What the scores are measured in, where their names do not say it."""


def summarize_data(
    use: str,
    names: Sequence[str],
    licences: Iterable[str | None],
    *,
    datasets: Iterable[str | None] = (),
    hours: float | None = None,
    unit: str = "clips",
) -> DataSummary:
    """Summarize data for a card.

    Args:
        use: `training` or `validation`.
        names: of the files.
        licences: one of each item; None where none is stated.
        datasets: names that the items give for where they come from.
        hours: how long they are together; None: not known.
        unit: what is counted.
    """
    named = dict.fromkeys([*map(shown_path, names), *sorted({name for name in datasets if name})])
    counts = Counter(licence or UNKNOWN for licence in licences)
    return DataSummary(
        use=use,
        names=tuple(named),
        count=counts.total(),
        unit=unit,
        hours=hours,
        licences=dict(counts.most_common()),
    )


def make_card(about: About, training: Training | None = None, scores: Sequence[Score] = ()) -> str:
    """Return the text of a card.

    Args:
        about: the model.
        training: how it was trained; None: that is not known.
        scores: of it.
    """
    head: dict[str, Any] = {
        "language": list(about.languages) or None,
        "license": hub_licence(part.licence for part in about.parts if part.licence is not None),
        "library_name": about.library,
        "pipeline_tag": about.pipeline,
        "tags": list(dict.fromkeys((about.task, "audio", *about.tags))),
        "base_model": list(dict.fromkeys(about.base_models)) or None,
        "base_model_relation": about.relation if about.base_models else None,
        "model_name": about.name,
        "eval_results": [_result(score, about.task) for score in scores] or None,
    }
    head = {name: value for name, value in head.items() if value is not None}
    text = f"---\n{ModelCardData(**head).to_yaml()}\n---\n{_body(about, training)}"
    return _with_table(ModelCard(text), about.evaluate)


def add_scores(folder: Path, scores: Sequence[Score], *, task: str, name: str) -> Path:
    """Add scores to the card of a model; they replace those of the same metric on the same data.

    Args:
        folder: of the model.
        scores: of it.
        task: what is scored, see `About`.
        name: of the model, where the card's head has none.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: the folder has no card.
        ValueError: its head cannot be read.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: train writes a model's card, and so does save_pretrained"
        )
    try:
        card: Any = ModelCard(path.read_text(encoding="utf-8"))
    except Exception as e:  # of a head that was written by hand
        raise ValueError(f"{path}: its head (between the lines ---) is no YAML of a model card: {e}") from e
    new = [_result(score, task) for score in scores]
    replaced = {_key(result) for result in new}
    kept = [result for result in card.data.eval_results or [] if _key(result) not in replaced]
    card.data.eval_results = kept + new
    card.data.model_name = card.data.model_name or name
    write_atomically(path, _with_table(card))
    return path


def read_card(folder: Path) -> str | None:
    """Return the text of the card in a model's folder, if it has one."""
    path = folder / CARD_FILE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def read_scores(folder: Path) -> list[Score]:
    """Return the scores that a card states."""
    card: Any = ModelCard((folder / CARD_FILE).read_text(encoding="utf-8"))
    return [_score(result) for result in card.data.eval_results or []]


def hub_licence(licences: Iterable[str]) -> str | None:
    """Return the strictest of the licences of a model's parts, as the hub writes it; None if one is unknown.

    >>> hub_licence(["Apache-2.0 (CED)", "CC-BY-NC-4.0 (SONAR's text encoder)"])
    'cc-by-nc-4.0'
    >>> hub_licence(["mit", "unknown"]) is None
    True
    """
    found = sorted({re.split(r"[\s,]", licence)[0].lower() for licence in licences}, key=_strictness)
    return None if not found or UNKNOWN in found else found[0]


def hub_names(*names: str | None) -> tuple[str, ...]:
    """Return those of some names that stand for models on the hub, and not for folders here.

    >>> hub_names("owner/name@1a2b", "runs/2026/model", None)
    ('owner/name',)
    """
    there = (split_revision(name)[0] for name in names if name is not None and not Path(name).exists())
    return tuple(name for name in there if re.fullmatch(r"[\w.-]+/[\w.-]+", name))


def shown_name(name: str) -> str:
    """Return the name of a model as a card shows it: of a folder here its last part."""
    return Path(name).absolute().name if Path(name).exists() else name


def shown_path(path: str) -> str:
    """Return a path as a card shows it: below the current folder from there, of others the last part.

    A card is for other machines too, and where things lie on this one is nobody's business. Relative paths
    and addresses stay as they were given.
    """
    if not Path(path).is_absolute():
        return path
    absolute, here = Path(path), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else absolute.name


def _shown(value: Any) -> Any:
    """Return plain settings with their paths as a card shows them."""
    if isinstance(value, Mapping):
        return {name: _shown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return shown_path(value) if isinstance(value, str) else value


def _strictness(licence: str) -> int:
    places = (place for place, start in enumerate(STRICTNESS) if licence.startswith(start))
    return next(places, STRICTNESS.index("other"))


def _result(score: Score, task: str) -> EvalResult:
    interval = {"low": score.low, "high": score.high} if score.low is not None else {}
    return EvalResult(
        task_type=task,
        # The hub's library takes results of one type and split for results on one data set.
        dataset_type=re.sub(r"[^\w.-]+", "-", score.data),
        dataset_name=score.data,
        dataset_split=score.split,
        metric_type=score.metric,
        metric_value=score.value,
        metric_args={f"num_{score.unit}": score.count, **interval},
    )


def _score(result: EvalResult) -> Score:
    arguments: dict[str, Any] = result.metric_args or {}
    key = next((key for key in arguments if key.startswith("num_")), "num_clips")
    return Score(
        metric=result.metric_type,
        value=float(result.metric_value),
        low=arguments.get("low"),
        high=arguments.get("high"),
        data=result.dataset_name,
        split=result.dataset_split,
        count=int(arguments.get(key, 0)),
        unit=key.removeprefix("num_"),
    )


def _key(result: EvalResult) -> tuple[Any, ...]:
    return result.metric_type, result.dataset_name, result.dataset_split


def _with_table(card: Any, evaluate: str = "") -> str:
    """Return the card's text, with the table of the scores that stand in its head."""
    table = _table([_score(result) for result in card.data.eval_results or []], evaluate)
    return _RESULTS.sub(lambda _: table, str(card))


def _table(scores: Sequence[Score], evaluate: str) -> str:
    if not scores:
        return f"Not scored yet: `{evaluate}` adds scores here.\n"
    lines = [f"| metric | value | 95 % interval | {scores[0].unit} |", "|---|---|---|---|"]
    for score in scores:
        interval = ""
        if score.low is not None and score.high is not None:
            interval = f"{_figure(score.low)} to {_figure(score.high)}"
        data = " ".join(filter(None, (score.data, score.split)))
        lines.append(
            f"| {score.metric} | {_figure(score.value)} | {interval} | {score.count:,} of {_cell(data)} |"
        )
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < _SMALL else f"{value:.1f}"


def _cell(text: str) -> str:
    """Return a text that ends no cell of a table, and is no HTML: names of files may hold anything."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _body(about: About, training: Training | None) -> str:
    scale = f"{about.scale}\n\n" if about.scale else ""
    return f"""
# {about.title}

{about.text}

It learnt from the data below, and may be wrong about other sounds and texts.

## Parts

{_parts(about.parts)}

{_licence(about.parts)}

## Scores

{scale}<!-- results -->
<!-- end of results -->

## Training

{_training(training)}"""


def _parts(parts: Sequence[Part]) -> str:
    lines = ["| part | what | trained | licence of its weights |", "|---|---|---|---|"]
    for part in parts:
        cells = (part.name, part.what, part.trained, part.licence or "")
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def _licence(parts: Sequence[Part]) -> str:
    unknown = [part.name for part in parts if part.licence == UNKNOWN]
    if unknown:
        return (
            f"No licence is stated for the whole: that of the weights of the {' and the '.join(unknown)} is "
            "not known. Find it out before you pass this model on."
        )
    return "The strictest of these licences holds for the whole; those of the data are below."


def _training(training: Training | None) -> str:
    if training is None:
        return "Not recorded.\n"
    unit = training.data[0].unit if training.data else "clips"
    lines = [f"| use | data | {unit} | hours | licences ({unit}) |", "|---|---|---|---|---|"]
    for data in training.data:
        licences = ", ".join(f"{name} ({count:,})" for name, count in data.licences.items())
        hours = "" if data.hours is None else f"{data.hours:.2f}"
        names = _cell(", ".join(data.names))
        lines.append(f"| {data.use} | {names} | {data.count:,} | {hours} | {_cell(licences)} |")
    how = f"{training.updates:,} updates, seed {training.seed}. The command that trains it again:"
    lines += ["", how, "", "```sh", training.command, "```", ""]
    if training.settings is not None:
        settings = json.dumps(_shown(training.settings), indent=1, ensure_ascii=False)
        lines += [
            "<details><summary>All settings</summary>",
            "",
            "```json",
            settings,
            "```",
            "",
            "</details>",
            "",
        ]
    return "\n".join(lines)
