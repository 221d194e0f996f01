"""The command `aac-llm`: each verb's flags are the fields of its dataclass in `aac_llm.config`.

`python -m aac_llm` is the same command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aac_llm.command_line import (
    Program,
    UsageError,
    Verb,
    require_any,
    require_file,
    require_folder,
    require_model,
    require_module,
)
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectConfig, CorrectionConfig
from aac_llm.config.doctor import DoctorConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.config.export_checkpoint import ExportCheckpointConfig
from aac_llm.config.fluency import FluencyConfig
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
from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.config.serve import ServeConfig
from aac_llm.config.train import TrainConfig
from aac_llm.correction.sound_scorer import SoundScorer
from aac_llm.data.shard_names import ENDING, list_shards, needs_fetching
from aac_llm.files import is_stream
from aac_llm.models.run_folder import CONFIG_FILE, resolve_model

LINES_OR_TABLE = (
    PrepareAutoACDConfig,
    PrepareJSONLConfig,
    PrepareMACSConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
)
"""Data sets that are one file."""
REPORTERS = ("comet_ml", "mlflow", "tensorboard", "wandb")
"""Modules that transformers needs for what `report_to` names; it would say so after loading the model."""
RESUMES = "What was done so far is kept; the same command goes on from there."


def require_captioner(name: str) -> None:
    """Raise for what is no captioner: neither its folder, nor a run folder, nor a possible hub id."""
    # A name of the hub cannot be judged without the network; the loading does that.
    require_model(name, has_owner=True)
    folder = Path(resolve_model(name))
    if folder.is_file():
        raise NotADirectoryError(f"{name} is a file; the folder of a captioner is needed")
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"{name} is no captioner: it has no {CONFIG_FILE}, nor has a best/ or last/ in it"
        )


def require_output(*paths: Path | None, is_folder: bool = False) -> None:
    """Raise where a result cannot be written: found out now, not after hours of work."""
    for path in paths:
        if path is None or is_stream(path):
            continue
        if path.exists() and path.is_dir() != is_folder:
            kind, needed = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise (IsADirectoryError if path.is_dir() else NotADirectoryError)(
                f"{path} is a {kind}; the output needs a {needed}"
            )
        # A folder that is not there yet will be made below the nearest one that is.
        parents = [parent for parent in (path, *path.absolute().parents) if parent.is_dir()]
        if path.parent.exists() and not path.parent.is_dir():
            raise NotADirectoryError(f"{path.parent} is a file; a folder is needed for {path.name}")
        if not os.access(parents[0], os.W_OK):
            raise PermissionError(f"{parents[0]} cannot be written to; choose another place for {path.name}")


def require_one_stream(**paths: Path | None) -> None:
    """Raise if the standard input is to be two files."""
    streams = [name for name, path in paths.items() if path is not None and is_stream(path)]
    if len(streams) > 1:
        raise UsageError(f"{' and '.join(streams)} are both -, and there is one standard input")


def check_quickstart(config: QuickstartConfig) -> None:
    """Refuse a place that cannot be written to."""
    require_output(config.out, is_folder=True)


def check_prepare(config: PrepareConfig) -> None:
    """Refuse a missing source, and places that cannot be written to."""
    # The others are published as several files in a folder.
    is_file = isinstance(config, LINES_OR_TABLE)
    (require_file if is_file else require_any)(config.source)
    require_file(*config.against)
    require_folder(config.audio)
    require_output(config.out, config.json)


def check_train(config: TrainConfig) -> None:
    """Refuse missing manifests, models or extras before torch is loaded."""
    require_file(*config.data.train, *config.data.validation)
    if config.init_from:
        require_captioner(config.init_from)
    else:
        require_model(config.model.decoder)
        require_model(config.model.encoder_weights or "")
    if config.model.quantization != "none":
        require_module("bitsandbytes")
    require_module(*(name for name in config.report_to if name in REPORTERS))
    require_output(config.out, is_folder=True)


def check_reinforce(config: ReinforceConfig) -> None:
    """Refuse missing manifests, models or extras before torch is loaded."""
    check_train(config)
    require_model(config.fluency_model or "")


def check_caption(config: CaptionConfig) -> None:
    """Refuse missing files, models or extras before torch is loaded."""
    local = [path for path in config.files if not needs_fetching(path)]
    shards = [path for path in local if path.suffix == ENDING and not path.is_dir()]
    for path in shards:  # which may be a pattern
        list_shards(path)
    require_any(*(path for path in local if path not in shards))
    require_captioner(config.model)
    require_model(config.decoder or "")
    check_quantization(config)
    require_file(config.cider_captions)
    if config.rerank == "sentence":
        require_model(config.sentence_encoder)
    check_correction(config.correction)
    require_output(config.out)


def check_quantization(config: CaptionConfig | ServeConfig) -> None:
    """Refuse what is quantized on a GPU where bitsandbytes is missing; 8 bits on a CPU do not need it."""
    may_be_cpu = config.device in ("auto", "cpu")
    if config.quantization == "4bit" or (config.quantization == "8bit" and not may_be_cpu):
        require_module("bitsandbytes")


def check_evaluate(config: EvaluateConfig) -> None:
    """Refuse missing files or models before torch is loaded."""
    require_file(config.data, config.references, config.compare)
    require_one_stream(data=config.data, references=config.references, compare=config.compare)
    require_folder(config.jars)
    require_file(config.judge.prompt)
    if config.model:
        require_captioner(config.model)
    require_output(config.json, config.page, config.captions, config.judge.answers)


def check_correct(config: CorrectConfig) -> None:
    """Refuse missing captions or a model folder that is not there before torch is loaded."""
    require_file(config.predictions)
    check_correction(config)
    require_output(config.out)


def check_serve(config: ServeConfig) -> None:
    """Refuse a missing model, token or extra before torch is loaded."""
    require_module("gradio")
    require_captioner(config.model)
    require_model(config.decoder or "")
    check_quantization(config)
    require_file(config.token_file)
    check_correction(config.correction)


def check_fluency(config: FluencyConfig) -> None:
    """Refuse missing captions or an encoder's folder that is not there before torch is loaded."""
    require_file(*config.captions, config.scores)
    require_model(config.encoder or "")
    require_output(config.out, is_folder=True)


def check_correction(config: CorrectionConfig) -> None:
    """Refuse a model or a program that is not there; an endpoint's name may look like a folder."""
    if config.sound_scorer is not None:
        SoundScorer(config.sound_scorer).check()
    if config.llm is not None and config.endpoint is None:
        require_model(config.llm)


def check_export_checkpoint(config: ExportCheckpointConfig) -> None:
    """Refuse what is no folder, and a place that cannot be written to."""
    require_folder(config.checkpoint)
    require_output(config.out, is_folder=True)


def check_doctor(config: DoctorConfig) -> None:
    """Refuse a place that cannot be written to; what is missing of the rest is what is looked for."""
    require_output(config.json)


def reader(name: str, settings: type, source: str) -> Verb:
    """Return the verb that reads a kind of data set."""
    return Verb(
        name=f"prepare {name}",
        settings=settings,
        function="aac_llm.data.prepare:prepare_verb",
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
        example="quickstart --out runs/quickstart-aac-llm",
        check=check_quickstart,
    ),
    reader("clotho", PrepareClothoConfig, "data/clotho"),
    reader("audiocaps", PrepareAudioCapsConfig, "data/audiocaps"),
    reader("wavcaps", PrepareWavCapsConfig, "data/wavcaps"),
    reader("macs", PrepareMACSConfig, "data/macs/MACS.yaml"),
    reader("autoacd", PrepareAutoACDConfig, "data/autoacd/train.csv"),
    reader("reference", PrepareReferenceConfig, "data/format.data"),
    reader("slam", PrepareSLAMConfig, "data/slam/train.jsonl"),
    reader("jsonl", PrepareJSONLConfig, "my_sounds.jsonl"),
    Verb(
        name="train",
        settings=TrainConfig,
        function="aac_llm.trainers.train:train_verb",
        interrupted=RESUMES,
        example="train --config small --init_from runs/quickstart-aac-llm/model --out runs/clotho",
        check=check_train,
    ),
    Verb(
        name="reinforce",
        settings=ReinforceConfig,
        function="aac_llm.trainers.reinforce:reinforce_verb",
        interrupted=RESUMES,
        example="reinforce --init_from runs/clotho --data.train data/clotho.jsonl "
        "--data.validation data/clotho.jsonl --out runs/reinforced",
        check=check_reinforce,
    ),
    Verb(
        name="evaluate",
        settings=EvaluateConfig,
        function="aac_llm.evaluators.evaluate:evaluate_verb",
        positional=("data",),
        example="evaluate data/clotho.jsonl --split test --model runs/clotho --page page.html",
        check=check_evaluate,
    ),
    Verb(
        name="caption",
        settings=CaptionConfig,
        function="aac_llm.captioning.caption:caption",
        positional=("files",),
        interrupted=RESUMES,
        example="caption recordings --model runs/clotho --out captions.jsonl",
        check=check_caption,
    ),
    Verb(
        name="correct",
        settings=CorrectConfig,
        function="aac_llm.correction.correct:correct",
        positional=("predictions",),
        interrupted=RESUMES,
        example="correct captions.jsonl --llm HuggingFaceTB/SmolLM2-1.7B-Instruct --out corrected.jsonl",
        check=check_correct,
    ),
    Verb(
        name="fluency",
        settings=FluencyConfig,
        function="aac_llm.trainers.fluency:fluency",
        positional=("captions",),
        interrupted=RESUMES,
        example="fluency data/clotho.jsonl --encoder intfloat/multilingual-e5-small --out runs/fluency",
        check=check_fluency,
    ),
    Verb(
        name="serve",
        settings=ServeConfig,
        function="aac_llm.serving.serve:serve",
        example="serve --model runs/clotho",
        check=check_serve,
    ),
    Verb(
        name="export-checkpoint",
        settings=ExportCheckpointConfig,
        function="aac_llm.trainers.export:export_checkpoint",
        positional=("checkpoint",),
        example="export-checkpoint runs/clotho/checkpoint-500 --out runs/exported",
        check=check_export_checkpoint,
    ),
    Verb(
        name="doctor",
        settings=DoctorConfig,
        function="aac_llm.doctor.doctor:doctor_verb",
        positional=("paths",),
        example="doctor runs/clotho data/clotho.jsonl",
        check=check_doctor,
        has_model=False,
    ),
)
PROGRAM = Program(
    purpose="Captions from any sound: train a captioner, score it, caption files, correct captions.",
    verbs=VERBS,
    groups={"prepare": "Make a manifest of a data set"},
    extras={"av": "av", "bitsandbytes": "qlora", "gradio": "serve", "pycocoevalcap": "java"},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    PROGRAM.main(arguments)


def read(words: Sequence[str]) -> Any:
    """Return the settings of a command, without running it."""
    return PROGRAM.read(words)[1]
