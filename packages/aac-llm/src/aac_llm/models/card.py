"""The model card of a captioner: README.md, with a head that the Hugging Face hub reads.

Training writes it beside the weights: what the model is made of, with the licences of its parts; data, with
the licences of the clips; scores with their intervals; and the command that trains it again. `--card` of
`aac-llm evaluate` adds the scores of a test. They stand in the head (`model-index`), of which their table is
made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from aac_llm.config.model import ModelConfig
from aac_llm.data.manifest import Clip
from aac_llm.files import write_atomically
from aac_llm.models.licence import UNKNOWN, licence_of_weights

CARD_FILE = "README.md"
TASK = "audio-captioning"
_RESULTS = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of the model on some clips."""

    metric: str
    """As in the report of `evaluate`: cider_d, bleu_4, ..."""
    value: float
    low: float | None = None
    """Lower end of the 95 % interval; None: there is none."""
    high: float | None = None
    """Upper end of it."""
    data: str
    """Name of the clips' manifest or data set."""
    split: str | None = None
    """Their part of it."""
    num_clips: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a captioner was trained on, and how."""

    command: str
    """Command that trains it again."""
    updates: int
    """Updates until these weights."""
    seed: int
    data: tuple[DataSummary, ...]


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """Clips that a training heard."""

    use: str
    """`training` or `validation`."""
    names: tuple[str, ...]
    """Manifests and the data sets that their clips name."""
    clips: int
    hours: float
    licences: dict[str, int]
    """Licence -> clips; `unknown` where the manifest does not say."""


def summarize_data(use: str, names: Sequence[str], clips: Sequence[Clip], seconds: float) -> DataSummary:
    """Summarise clips for a card.

    Args:
        use: `training` or `validation`.
        names: of their manifests.
        clips: the clips.
        seconds: their length together.
    """
    named = dict.fromkeys([*names, *sorted({clip.dataset for clip in clips if clip.dataset})])
    licences = Counter(clip.licence or UNKNOWN for clip in clips)
    return DataSummary(
        use=use,
        names=tuple(named),
        clips=len(clips),
        hours=seconds / 3600,
        licences=dict(licences.most_common()),
    )


def make_card(config: ModelConfig, training: Training | None = None, scores: Sequence[Score] = ()) -> str:
    """Return the text of a captioner's card.

    Args:
        config: of the model.
        training: how it was trained; None: that is not known.
        scores: of it.
    """
    head: dict[str, Any] = {
        "language": "en",
        "library_name": "aac-llm",
        "pipeline_tag": "audio-text-to-text",
        "tags": [TASK, "audio"],
        "base_model": [name for name in (config.decoder, config.encoder_weights) if _is_hub_id(name)] or None,
        "model_name": "Captioner",
        "eval_results": [_result(score) for score in scores] or None,
    }
    head = {name: value for name, value in head.items() if value is not None}
    return _with_table(ModelCard(f"---\n{ModelCardData(**head).to_yaml()}\n---\n{_body(config, training)}"))


def add_scores(folder: Path, scores: Sequence[Score]) -> None:
    """Add scores to the card of a captioner; they replace those of the same metric on the same clips.

    Raises:
        FileNotFoundError: the folder has no card.
        ValueError: the card's head cannot be read.
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
    new = [_result(score) for score in scores]
    replaced = {_key(result) for result in new}
    kept = [result for result in card.data.eval_results or [] if _key(result) not in replaced]
    card.data.eval_results = kept + new
    card.data.model_name = card.data.model_name or "Captioner"
    write_atomically(path, _with_table(card))


def read_card(folder: Path) -> str | None:
    """Return the text of the card in a captioner's folder, if it has one."""
    path = folder / CARD_FILE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def read_scores(folder: Path) -> list[Score]:
    """Return the scores that a card states."""
    card: Any = ModelCard((folder / CARD_FILE).read_text(encoding="utf-8"))
    return [_score(result) for result in card.data.eval_results or []]


def _is_hub_id(name: str | None) -> bool:
    return (
        name is not None and not Path(name).exists() and re.fullmatch(r"[\w.-]+/[\w.@-]+", name) is not None
    )


def _result(score: Score) -> EvalResult:
    interval = {"low": score.low, "high": score.high} if score.low is not None else {}
    return EvalResult(
        task_type=TASK,
        dataset_type="manifest",
        dataset_name=score.data,
        dataset_split=score.split,
        metric_type=score.metric,
        metric_value=score.value,
        metric_args={"num_clips": score.num_clips, **interval},
    )


def _score(result: EvalResult) -> Score:
    arguments: dict[str, Any] = result.metric_args or {}
    return Score(
        metric=result.metric_type,
        value=float(result.metric_value),
        low=arguments.get("low"),
        high=arguments.get("high"),
        data=result.dataset_name,
        split=result.dataset_split,
        num_clips=int(arguments.get("num_clips", 0)),
    )


def _key(result: EvalResult) -> tuple[Any, ...]:
    return result.metric_type, result.dataset_name, result.dataset_split


def _with_table(card: Any) -> str:
    """Return the card's text, with the table of the scores that stand in its head."""
    table = _table([_score(result) for result in card.data.eval_results or []])
    return _RESULTS.sub(lambda _: table, str(card))


def _table(scores: Sequence[Score]) -> str:
    if not scores:
        return "Not scored yet: `aac-llm evaluate DATA --model FOLDER --card` adds scores here.\n"
    lines = ["| metric | value | 95 % interval | clips |", "|---|---|---|---|"]
    for score in scores:
        interval = "" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}"
        data = " ".join(filter(None, (score.data, score.split)))
        lines.append(f"| {score.metric} | {score.value:.3f} | {interval} | {score.num_clips:,} of {data} |")
    return "\n".join(lines) + "\n"


def _body(config: ModelConfig, training: Training | None) -> str:
    return f"""
# A captioner of sounds

An audio encoder, a bridge and a causal language model, trained and run by `aac-llm` (the method of
[arXiv:2406.13275](https://arxiv.org/abs/2406.13275)).

```sh
aac-llm caption recordings --model FOLDER --out captions.jsonl
```

## Parts

{_parts(config)}

## Scores

<!-- results -->
<!-- end of results -->

## Training

{_training(training)}"""


def _parts(config: ModelConfig) -> str:
    kind = {"window": "Q-Former over windows", "clip": "Q-Former over the clip", "linear": "projection"}
    what = {"frozen": "frozen", "lora": f"adapters of rank {config.lora.rank}", "full": "trained in full"}
    encoder = config.encoder_weights or "from random weights"
    audio = {"ced": "CED", "whisper": "Whisper's encoder"}[config.encoder_kind]
    rows = [
        ("encoder", f"{audio} of width {config.encoder_dim}, {encoder}", config.encoder_strategy),
        ("language model", config.decoder, config.decoder_strategy),
    ]
    names = {"encoder": config.encoder_weights, "language model": config.decoder}
    lines = ["| part | what | trained | licence of its weights |", "|---|---|---|---|"]
    lines += [
        f"| {part} | {name} | {what[how]} | {licence_of_weights(names[part])} |" for part, name, how in rows
    ]
    lines.insert(3, f"| bridge | {kind[config.bridge.kind]} | trained in full | |")
    return "\n".join(lines)


def _training(training: Training | None) -> str:
    if training is None:
        return "Not recorded.\n"
    lines = ["| use | data | clips | hours | licences (clips) |", "|---|---|---|---|---|"]
    for data in training.data:
        licences = ", ".join(f"{name} ({count:,})" for name, count in data.licences.items())
        lines.append(
            f"| {data.use} | {', '.join(data.names)} | {data.clips:,} | {data.hours:.2f} | {licences} |"
        )
    how = f"{training.updates:,} updates, seed {training.seed}. The command that trains it again:"
    return "\n".join([*lines, "", how, "", "```sh", training.command, "```", ""])
