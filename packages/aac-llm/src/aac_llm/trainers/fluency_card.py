"""The model card of a fluency detector: its encoder, its captions, what it finds in captions kept aside."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields

from aac_llm.config.fluency import FluencyConfig
from aac_llm.files import to_plain
from aac_llm.metrics.fluency_calibration import Detection
from aac_llm.metrics.statistics import wilson_interval
from aac_llm.models.card_parts import (
    About,
    Part,
    Score,
    Training,
    hub_names,
    make_card,
    shown_name,
    summarize_data,
)
from aac_llm.models.licence import licence_of_weights

TEXT = """Finds captions of sounds that are not fluent English: cut off, with words missing or repeated, ...
It is trained by `aac-llm fluency`, and decides which captions `aac-llm correct` repairs.

```sh
aac-llm correct captions.jsonl --fluency_model FOLDER --llm MODEL --out corrected.jsonl
```"""


def fluency_card(config: FluencyConfig, detection: Detection, num_train: int) -> str:
    """Return the text of the card of a detector.

    Args:
        config: of its training.
        detection: on captions kept aside.
        num_train: captions of the training.
    """
    encoder = config.encoder
    part = Part(
        name="encoder",
        what="a small one, from random weights" if encoder is None else shown_name(encoder),
        trained="in full" if encoder is None else "all but the embeddings of words",
        licence=licence_of_weights(encoder),
    )
    about = About(
        name="Fluency detector",
        title="A detector of captions that are not fluent",
        text=TEXT,
        evaluate="aac-llm fluency",
        parts=(part,),
        task="caption-fluency",
        pipeline="text-classification",
        library="aac-llm",
        languages=("en",),
        base_models=hub_names(encoder),
        relation="finetune",
    )
    names = [str(path) for path in config.captions]
    data = (
        summarize_data("training", names, [None] * num_train, unit="captions"),
        summarize_data("threshold", names, [None] * detection.num_fluent, unit="captions"),
    )
    training = Training(
        command=f"aac-llm fluency {shlex.join(_changed_flags(config))} --out AGAIN",
        updates=config.steps,
        seed=config.seed,
        data=data,
        settings=to_plain(config),
    )
    return make_card(about, training, list(_scores(detection)))


def _scores(detection: Detection) -> Iterator[Score]:
    counted = {f"found_{kind}": (detection.found[kind], made) for kind, made in detection.made.items()}
    for name, (count, total) in {
        **counted,
        "false_alarms": (detection.false_alarms, detection.num_fluent),
    }.items():
        if total:
            low, high = wilson_interval(count, total)
            yield Score(
                metric=name,
                value=count / total,
                low=low,
                high=high,
                data="captions kept aside",
                count=total,
                unit="captions",
            )


def _changed_flags(config: FluencyConfig) -> Iterator[str]:
    """Yield the captions and the flags of settings that are not their defaults."""
    yield from map(str, config.captions)
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in ("captions", "out") and value != field.default:
            yield from (f"--{field.name}", str(value))
