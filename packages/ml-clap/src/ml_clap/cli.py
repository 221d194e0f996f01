"""The command `ml-clap`: each verb's flags are the fields of its dataclass in `ml_clap.config`.

`python -m ml_clap` is the same command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_clap.command_line import (
    Program,
    Verb,
    require_any,
    require_file,
    require_folder,
    require_model,
    require_module,
)
from ml_clap.config.classify import ClassifyConfig
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareClothoConfig,
    PrepareConfig,
    PrepareFolderConfig,
    PrepareReferenceConfig,
    PrepareTuxpaintConfig,
)
from ml_clap.config.quickstart import QuickstartConfig
from ml_clap.config.search import SearchConfig
from ml_clap.config.train import TrainConfig

RESUMES = "What was done so far is kept; the same command goes on from there."


def check_prepare(config: PrepareConfig) -> None:
    """Refuse what is not there before a decoder is loaded."""
    require_any(config.source)
    require_file(*config.against)


def check_train(config: TrainConfig) -> None:
    """Refuse missing manifests or model before torch is loaded."""
    require_file(*config.data.train, *config.data.validation)
    if config.init_from:
        require_model(config.init_from)


def check_evaluate(config: EvaluateConfig) -> None:
    """Refuse a missing manifest or model before torch is loaded."""
    require_file(config.data)
    require_model(config.model)


def check_classify(config: ClassifyConfig) -> None:
    """Refuse missing sounds or model before torch is loaded."""
    require_any(*config.data)
    require_file(config.prompts)
    require_model(config.model)


def check_index(config: IndexConfig) -> None:
    """Refuse missing sounds or model before torch is loaded."""
    require_any(config.source)
    if config.model:
        require_model(config.model)


def check_search(config: SearchConfig) -> None:
    """Refuse a missing index, file of queries, sound or extra before torch is loaded."""
    require_folder(config.index)
    require_file(config.queries, *config.audio)
    if config.engine == "faiss":
        require_module("faiss")


def reader(name: str, settings: type, source: str) -> Verb:
    """Return the verb that reads a kind of data set."""
    return Verb(
        name=f"prepare {name}",
        settings=settings,
        function="ml_clap.data.prepare:prepare",
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
        function="ml_clap.quickstart:quickstart",
        example="quickstart --out runs/quickstart-ml-clap",
    ),
    reader("clotho", PrepareClothoConfig, "clotho"),
    reader("audiocaps", PrepareAudioCapsConfig, "audiocaps"),
    reader("reference", PrepareReferenceConfig, "reference.json"),
    reader("folder", PrepareFolderConfig, "sounds --captions captions.json"),
    reader("tuxpaint", PrepareTuxpaintConfig, "tuxpaint"),
    Verb(
        name="train",
        settings=TrainConfig,
        function="ml_clap.trainers.train:train",
        example="train --config clotho --data.train data/clotho.jsonl --out runs/clotho",
        check=check_train,
    ),
    Verb(
        name="evaluate",
        settings=EvaluateConfig,
        function="ml_clap.evaluators.evaluate:evaluate",
        positional=("data",),
        example="evaluate data/clotho.jsonl --model runs/clotho --languages fra_Latn --json results.json",
        check=check_evaluate,
    ),
    Verb(
        name="classify",
        settings=ClassifyConfig,
        function="ml_clap.evaluators.zero_shot:classify",
        positional=("data",),
        example="classify sounds --model runs/clotho --prompts classes.json --languages eng_Latn fra_Latn",
        check=check_classify,
    ),
    Verb(
        name="index",
        settings=IndexConfig,
        function="ml_clap.search.index:index",
        positional=("source",),
        interrupted=RESUMES,
        example="index sounds --model runs/clotho --out sounds.index",
        check=check_index,
    ),
    Verb(
        name="search",
        settings=SearchConfig,
        function="ml_clap.search.search:search",
        positional=("index", "query"),
        example='search sounds.index --lang fra_Latn "un chien aboie"',
        check=check_search,
    ),
)
PROGRAM = Program(
    purpose="Multilingual audio-text retrieval: train, evaluate, search sounds in many languages.",
    verbs=VERBS,
    groups={"prepare": "Make a manifest of a data set"},
    extras={"av": "av", "faiss": "faiss", "sonar": "sonar", "fairseq2": "sonar"},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    PROGRAM.main(arguments)


def read(words: Sequence[str]) -> Any:
    """Return the settings of a command, without running it."""
    return PROGRAM.read(words)[1]
