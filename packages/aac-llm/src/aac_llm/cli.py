"""The command `aac-llm`: each verb's flags are the fields of its dataclass in `aac_llm.config`.

`python -m aac_llm` is the same command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aac_llm.command_line import (
    Program,
    Verb,
    require_any,
    require_file,
    require_folder,
    require_model,
    require_module,
)
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareAutoACDConfig,
    PrepareClothoConfig,
    PrepareConfig,
    PrepareJSONLConfig,
    PrepareMACSConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
    PrepareWavCapsConfig,
)
from aac_llm.config.quickstart import QuickstartConfig
from aac_llm.config.train import TrainConfig

RESUMES = "What was done so far is kept; the same command goes on from there."


def check_prepare(config: PrepareConfig) -> None:
    """Refuse what is not there before a decoder is loaded."""
    require_any(config.source)
    require_file(*config.against)
    require_folder(config.audio)


def check_train(config: TrainConfig) -> None:
    """Refuse missing manifests, model or extra before torch is loaded."""
    require_file(*config.data.train, *config.data.validation)
    if config.init_from:
        require_model(config.init_from)
    if config.model.quantization != "none":
        require_module("bitsandbytes")


def check_caption(config: CaptionConfig) -> None:
    """Refuse missing files, model or extra before torch is loaded."""
    require_any(*config.files)
    require_model(config.model)
    if config.quantization not in (None, "none"):
        require_module("bitsandbytes")


def check_evaluate(config: EvaluateConfig) -> None:
    """Refuse missing files or model before torch is loaded."""
    require_any(config.data)
    require_file(config.references, config.compare)
    if config.model:
        require_model(config.model)


def reader(name: str, settings: type, source: str) -> Verb:
    """Return the verb that reads a kind of data set."""
    return Verb(
        name=f"prepare {name}",
        settings=settings,
        function="aac_llm.data.prepare:prepare",
        positional=("source",),
        interrupted=RESUMES,
        example=f"prepare {name} {source} --out data/{name}.jsonl",
        check=check_prepare,
        has_model=False,
    )


VERBS = (
    Verb(
        name="quickstart",
        settings=QuickstartConfig,
        function="aac_llm.quickstart:quickstart",
        interrupted=RESUMES,
        example="quickstart --out runs/quickstart-captions",
    ),
    reader("clotho", PrepareClothoConfig, "clotho"),
    reader("audiocaps", PrepareAudioCapsConfig, "audiocaps"),
    reader("wavcaps", PrepareWavCapsConfig, "wavcaps"),
    reader("macs", PrepareMACSConfig, "macs"),
    reader("autoacd", PrepareAutoACDConfig, "autoacd"),
    reader("reference", PrepareReferenceConfig, "reference.json"),
    reader("slam", PrepareSLAMConfig, "slam.jsonl"),
    reader("jsonl", PrepareJSONLConfig, "clips.jsonl"),
    Verb(
        name="train",
        settings=TrainConfig,
        function="aac_llm.trainers.train:train",
        interrupted=RESUMES,
        example="train --config qlora --data.train data/clotho.jsonl --out runs/clotho",
        check=check_train,
    ),
    Verb(
        name="evaluate",
        settings=EvaluateConfig,
        function="aac_llm.evaluators.evaluate:evaluate",
        positional=("data",),
        example="evaluate data/clotho.jsonl --model runs/clotho --json results.json",
        check=check_evaluate,
    ),
    Verb(
        name="caption",
        settings=CaptionConfig,
        function="aac_llm.captioning.caption:caption",
        positional=("files",),
        interrupted=RESUMES,
        example="caption sounds --model runs/clotho --out captions.jsonl",
        check=check_caption,
    ),
    Verb(
        name="correct",
        settings=CorrectConfig,
        function="aac_llm.correction.correct:correct",
        positional=("predictions",),
        interrupted=RESUMES,
        example="correct captions.jsonl --llm Qwen/Qwen3-4B-Instruct-2507 --out corrected.jsonl",
        check=lambda config: require_file(config.predictions),
    ),
)
PROGRAM = Program(
    purpose="Captions from any sound: train a captioner, score it, caption files, correct captions.",
    verbs=VERBS,
    groups={"prepare": "Make a manifest of a data set"},
    extras={"av": "av", "bitsandbytes": "qlora"},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    PROGRAM.main(arguments)


def read(words: Sequence[str]) -> Any:
    """Return the settings of a command, without running it."""
    return PROGRAM.read(words)[1]
