"""The command `ml-clap`: each verb's flags are the fields of its dataclass in `ml_clap.config`.

`python -m ml_clap` is the same command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_clap.checks import (
    check_calibrate,
    check_classify,
    check_distill,
    check_doctor,
    check_evaluate,
    check_export,
    check_export_checkpoint,
    check_export_index,
    check_gate,
    check_index,
    check_prepare,
    check_project,
    check_quickstart,
    check_search,
    check_serve,
    check_shards,
    check_similarity,
    check_train,
    check_translate,
)
from ml_clap.command_line import Program, Verb
from ml_clap.config.calibrate import CalibrateConfig
from ml_clap.config.classify import ClassifyConfig
from ml_clap.config.distill import DistillConfig, ExportConfig, ProjectConfig
from ml_clap.config.doctor import DoctorConfig
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.export_checkpoint import ExportCheckpointConfig
from ml_clap.config.export_index import ExportIndexConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareClothoConfig,
    PrepareESC50Config,
    PrepareFolderConfig,
    PrepareFSD50KConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
    PrepareTuxpaintConfig,
    PrepareUrbanSound8KConfig,
    PrepareWavCapsConfig,
)
from ml_clap.config.quickstart import QuickstartConfig
from ml_clap.config.search import SearchConfig
from ml_clap.config.serve import ServeConfig
from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.config.similarity import SimilarityConfig
from ml_clap.config.train import TrainConfig
from ml_clap.config.translate import GateConfig, TranslateConfig

RESUMES = "What was done so far is kept; the same command goes on from there."


def reader(name: str, settings: type, source: str, out: str) -> Verb:
    """Return the verb that reads a kind of data set."""
    return Verb(
        name=f"prepare {name}",
        settings=settings,
        function="ml_clap.data.prepare:prepare_verb",
        positional=("source",),
        interrupted=RESUMES,
        example=f"prepare {name} {source} --out {out}",
        check=check_prepare,
        has_model=False,
    )


VERBS = (
    Verb(
        name="quickstart",
        settings=QuickstartConfig,
        function="ml_clap.quickstart:quickstart",
        example="quickstart --out runs/quickstart-ml-clap",
        interrupted=RESUMES,
        check=check_quickstart,
    ),
    reader("clotho", PrepareClothoConfig, "data/clotho", "data/clotho/manifest.jsonl"),
    reader("audiocaps", PrepareAudioCapsConfig, "data/audiocaps", "data/audiocaps/manifest.jsonl"),
    reader("wavcaps", PrepareWavCapsConfig, "data/wavcaps", "data/wavcaps/manifest.jsonl"),
    reader("reference", PrepareReferenceConfig, "data/wavcaps.json", "data/wavcaps/manifest.jsonl"),
    reader("folder", PrepareFolderConfig, "sounds --captions captions.json", "sounds.jsonl"),
    reader("jsonl", PrepareJSONLConfig, "sounds.jsonl", "checked.jsonl"),
    reader("esc50", PrepareESC50Config, "data/ESC-50-master", "data/esc50.jsonl"),
    reader("urbansound8k", PrepareUrbanSound8KConfig, "data/UrbanSound8K", "data/urbansound8k.jsonl"),
    reader("fsd50k", PrepareFSD50KConfig, "data/FSD50K", "data/fsd50k.jsonl"),
    reader("tuxpaint", PrepareTuxpaintConfig, "data/tuxpaint", "data/tuxpaint/manifest.jsonl"),
    Verb(
        name="gate",
        settings=GateConfig,
        function="ml_clap.translate.measure:gate_verb",
        positional=("data",),
        example="gate data/tuxpaint/manifest.jsonl --judge models/e5-small --out gate.json",
        check=check_gate,
    ),
    Verb(
        name="translate",
        settings=TranslateConfig,
        function="ml_clap.translate.translate:translate_verb",
        positional=("data",),
        interrupted=RESUMES,
        example="translate clotho.jsonl --languages fra deu --translator sonar --out translated",
        check=check_translate,
    ),
    Verb(
        name="prepare shards",
        settings=PrepareShardsConfig,
        function="ml_clap.data.shards.packing:prepare_shards_verb",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare shards data/wavcaps/manifest.jsonl --out shards/wavcaps",
        check=check_shards,
        has_model=False,
    ),
    Verb(
        name="train",
        settings=TrainConfig,
        function="ml_clap.trainers.train:train_verb",
        interrupted="The last checkpoint, if there is one, is kept; the same command goes on from it.",
        example="train --config clotho --init_from runs/quickstart-ml-clap/model",
        check=check_train,
    ),
    Verb(
        name="export-checkpoint",
        settings=ExportCheckpointConfig,
        function="ml_clap.trainers.export:export_checkpoint_verb",
        positional=("checkpoint",),
        example="export-checkpoint runs/clotho/checkpoint-500 --out runs/clotho-500",
        check=check_export_checkpoint,
    ),
    Verb(
        name="distill",
        settings=DistillConfig,
        function="ml_clap.trainers.distillation:distill_verb",
        interrupted="The last checkpoint, if there is one, is kept; the same command goes on from it.",
        example="distill --model runs/clotho --texts data/clotho/manifest.jsonl --out runs/clotho-small",
        check=check_distill,
    ),
    Verb(
        name="project",
        settings=ProjectConfig,
        function="ml_clap.trainers.projection:project_verb",
        example="project --model runs/clotho --encoder intfloat/multilingual-e5-small "
        "--texts data/clotho/manifest.jsonl --out runs/clotho-e5",
        check=check_project,
    ),
    Verb(
        name="export",
        settings=ExportConfig,
        function="ml_clap.models.onnx_export:export_verb",
        positional=("model",),
        example="export runs/clotho-small --out runs/clotho-small-onnx",
        check=check_export,
    ),
    Verb(
        name="evaluate",
        settings=EvaluateConfig,
        function="ml_clap.evaluators.evaluate:evaluate_verb",
        positional=("data",),
        example="evaluate data/clotho/manifest.jsonl --model runs/clotho --split test --json clotho.json",
        check=check_evaluate,
    ),
    Verb(
        name="classify",
        settings=ClassifyConfig,
        function="ml_clap.evaluators.zero_shot:classify_verb",
        positional=("data",),
        example="classify recordings --model runs/clotho --prompts classes.json --languages eng_Latn",
        check=check_classify,
    ),
    Verb(
        name="similarity",
        settings=SimilarityConfig,
        function="ml_clap.search.similarity:similarity_verb",
        positional=("inputs",),
        example='similarity dog.wav rain.wav "A dog barks." --model runs/clotho',
        check=check_similarity,
    ),
    Verb(
        name="index",
        settings=IndexConfig,
        function="ml_clap.search.index:index_verb",
        positional=("source",),
        interrupted=RESUMES,
        example="index recordings --model runs/clotho --out index",
        check=check_index,
    ),
    Verb(
        name="search",
        settings=SearchConfig,
        function="ml_clap.search.search:search_verb",
        positional=("index", "query"),
        example='search index "un chien aboie" --lang fra_Latn',
        check=check_search,
        has_model=False,  # it says so itself where it needs one
    ),
    Verb(
        name="serve",
        settings=ServeConfig,
        function="ml_clap.serving.serve:serve_verb",
        positional=("index",),
        interrupted="The server has ended, and what was uploaded is deleted.",
        example="serve index",
        check=check_serve,
    ),
    Verb(
        name="export-index",
        settings=ExportIndexConfig,
        function="ml_clap.search.export:export_index_verb",
        positional=("index",),
        example="export-index index --out windows.parquet",
        check=check_export_index,
        has_model=False,
    ),
    Verb(
        name="calibrate",
        settings=CalibrateConfig,
        function="ml_clap.search.calibrate:calibrate_verb",
        positional=("data",),
        example="calibrate data/clotho/manifest.jsonl --model runs/clotho --split validation",
        check=check_calibrate,
    ),
    Verb(
        name="doctor",
        settings=DoctorConfig,
        function="ml_clap.doctor.doctor:doctor_verb",
        positional=("paths",),
        example="doctor runs/clotho index data/clotho/manifest.jsonl",
        check=check_doctor,
        has_model=False,
    ),
)
PROGRAM = Program(
    purpose="Multilingual audio-text retrieval: train, evaluate, search sounds in many languages.",
    verbs=VERBS,
    groups={"prepare": "Make a manifest of a data set"},
    extras={
        "av": "av",
        "faiss": "faiss",
        "lancedb": "lancedb",
        "pyarrow": "lancedb",
        "ray": "ray",
        "fsspec": "webdataset",
        "gradio": "serve",
        "sonar": "sonar",
        "fairseq2": "sonar",
        "webdataset": "webdataset",
        "onnxscript": "onnx",
        "onnxruntime": "onnx",
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    PROGRAM.main(arguments)


def read(words: Sequence[str]) -> Any:
    """Return the settings of a command, without running it."""
    return PROGRAM.read(words)[1]
