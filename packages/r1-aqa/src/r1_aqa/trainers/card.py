"""The model card of a training: its questions, its validation score and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from r1_aqa.config.train import GRPOTrainConfig, TrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.evaluators.scores import clusters_of
from r1_aqa.evaluators.statistics import wilson_interval
from r1_aqa.files import to_plain
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.card import make_card
from r1_aqa.models.card_parts import DataSummary, Score, Training, summarize_data
from r1_aqa.models.lora import is_adapted


def training_card(
    config: TrainConfig,
    llm: AudioLLM,
    questions: Sequence[Question],
    validation: Sequence[Question],
    updates: int,
    verdicts: Sequence[float] | None = None,
) -> str:
    """Return the text of the card of a model in training.

    Args:
        config: of the training.
        llm: the model.
        questions: of the training.
        validation: questions of the validation; none without.
        updates: how many there were.
        verdicts: on the validation questions; None: these weights were not validated.
    """
    summaries = [_summary("training", config.data.train, questions)]
    if validation:
        summaries.append(_summary("validation", config.data.validation, validation))
    verb = "grpo" if isinstance(config, GRPOTrainConfig) else "sft"
    settings = shlex.quote(str(config.out / "config.json"))
    training = Training(
        command=f"r1-aqa train {verb} --config {settings} --out AGAIN",
        updates=updates,
        seed=config.seed,
        data=tuple(summaries),
        settings=to_plain(config),
    )
    scores = [] if verdicts is None else [_score(config, summaries[-1], validation, verdicts)]
    return make_card(base_of(llm), config.model, is_adapted=is_adapted(llm), training=training, scores=scores)


def base_of(llm: AudioLLM) -> str:
    """Return the name of the model that adapters are for, or that a training of all weights began from."""
    model: object = llm.model
    while hasattr(model, "module"):  # of DDP and DeepSpeed
        model = model.module
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return str(getattr(inner, "name_or_path", ""))


def _summary(use: str, files: Sequence[object], questions: Sequence[Question]) -> DataSummary:
    licences = [q.extra.get("licence") or q.extra.get("license") for q in questions]
    return summarize_data(
        use,
        [str(path) for path in files],
        [licence if isinstance(licence, str) else None for licence in licences],
        datasets=[question.dataset for question in questions],
        unit="questions",
    )


def _score(
    config: TrainConfig, data: DataSummary, questions: Sequence[Question], verdicts: Sequence[float]
) -> Score:
    found = wilson_interval(verdicts, clusters_of(questions))
    return Score(
        metric=f"accuracy_{config.validation.metric}",
        value=found.value,
        low=found.low,
        high=found.high,
        data=", ".join(data.names),
        count=len(verdicts),
        unit=data.unit,
    )
