"""The command `ml-clap`: each verb's flags are the fields of its dataclass in `ml_clap.config`.

`python -m ml_clap` is the same command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_clap.bulk.places import is_url, written
from ml_clap.command_line import (
    Program,
    UsageError,
    Verb,
    require_any,
    require_file,
    require_folder,
    require_model,
    require_module,
)
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
    PrepareConfig,
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
from ml_clap.data.language_names import find_language
from ml_clap.data.shards.places import ENDINGS, any_shards, is_shards
from ml_clap.files import is_stream

RESUMES = "What was done so far is kept; the same command goes on from there."
WEIGHTS_FILE = "model.safetensors"
"""As in `ml_clap.models.text_source`, which imports torch."""
ENGINE_MODULES = {"faiss": "faiss", "hnsw": "faiss", "lancedb": "lancedb"}
"""What a search engine needs installed."""
REPORTERS = ("comet_ml", "mlflow", "tensorboard", "trackio", "wandb")
"""Modules that accelerate needs for what `report_to` names; it would say so after loading the model."""


def require_clap(name: str) -> None:
    """Raise for what is no model of ours: nothing of that name, or a folder without weights."""
    require_model(name, has_owner=True)
    path = Path(name)
    places = (path, path / "best", path / "last")
    if path.is_dir() and not any((place / WEIGHTS_FILE).is_file() for place in places):
        raise FileNotFoundError(
            f"{name} is no model: there is no {WEIGHTS_FILE} in it, nor in a best/ or last/ of it"
        )
    if path.is_file() and path.suffix != ".pt":
        raise ValueError(f"{name} is no model: a file of weights is a .pt of the authors")


def require_output(*paths: Path | None, is_folder: bool = False) -> None:
    """Raise where a result cannot be written: found out now, not after hours of work."""
    for path in paths:
        if path is None or is_stream(path):
            continue
        if path.exists() and path.is_dir() != is_folder:
            kind, needed = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise ValueError(f"{path} is a {kind}; the output needs a {needed}")
        parent = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not parent.is_dir() and parent != path:
            raise NotADirectoryError(f"{parent} is a file; a folder is needed for {path.name}")
        # A file is replaced by another of its name: it is the folder that must let us write.
        if not os.access(parent if parent.is_dir() else path.absolute().parent, os.W_OK):
            raise PermissionError(f"{parent} cannot be written to; choose another place for {path.name}")


def require_source(name: Path) -> None:
    """Raise where sounds, a manifest or shards are missing; what is behind a URL shows when it is read."""
    if str(name).endswith(ENDINGS):
        require_module("webdataset")
    if not is_url(name) and "{" not in str(name):
        require_any(name)


def check_quickstart(config: QuickstartConfig) -> None:
    """Refuse a place that cannot be written to."""
    require_output(config.out, is_folder=True)


def check_prepare(config: PrepareConfig) -> None:
    """Refuse a missing source, and places that cannot be written to, before a decoder is loaded."""
    (require_file if isinstance(config, PrepareReferenceConfig | PrepareJSONLConfig) else require_any)(
        config.source
    )
    require_file(*config.against, *getattr(config, "blacklist", ()))
    require_folder(getattr(config, "audio", None))
    require_file(getattr(config, "captions", None))
    if config.out is not None and is_stream(config.out):
        raise UsageError("out: the manifest needs a name, for its report is written beside it")
    require_output(config.out, config.json)


def check_shards(config: PrepareShardsConfig) -> None:
    """Refuse a missing manifest or extra, and places that cannot be written to."""
    assert config.out is not None
    require_file(config.source)
    require_module("webdataset", "fsspec")
    if not is_url(config.out):
        require_output(config.out, is_folder=True)
    require_output(config.json)


def check_train(config: TrainConfig) -> None:
    """Refuse missing manifests, models or extras before torch is loaded."""
    named = (*config.data.train, *config.data.validation)
    require_file(*(name for name in named if not is_shards(name)))
    if any_shards(named):
        require_module("webdataset", "fsspec")
    for name in named:
        if name.is_dir() and not any(str(path).endswith(ENDINGS) for path in name.iterdir()):
            raise FileNotFoundError(f"{name} is a folder without shards (.tar); a manifest is a .jsonl file")
    if config.init_from:
        require_clap(config.init_from)
    else:
        require_model(config.model.text_encoder)
        require_model(config.model.audio_weights or "")
        if config.model.text_backend == "sonar":
            require_module("sonar")
    require_module(*(name for name in config.report_to if name in REPORTERS))
    require_output(config.out, is_folder=True)


def check_evaluate(config: EvaluateConfig) -> None:
    """Refuse a missing manifest or model before torch is loaded."""
    if config.engine == "ray":
        require_module("ray")
        require_source(config.data)
    else:
        require_file(config.data)
    require_clap(config.model)
    require_folder(config.text_tower)
    require_output(config.json, config.plot, config.heat_map)


def check_classify(config: ClassifyConfig) -> None:
    """Refuse missing sounds, prompts or model before torch is loaded."""
    require_any(*config.data)
    require_file(config.prompts)
    require_clap(config.model)
    require_folder(config.text_tower)
    require_output(config.json, config.plot)


def check_similarity(config: SimilarityConfig) -> None:
    """Refuse words that cannot be sounds or texts, and a missing model, before torch is loaded."""
    from ml_clap.search.similarity import tell_apart

    for item in config.inputs:
        tell_apart(item)
    require_clap(config.model)
    require_output(config.json)


def check_index(config: IndexConfig) -> None:
    """Refuse missing sounds or model before torch is loaded."""
    if config.engine == "ray":
        require_module("ray")
        require_source(config.source)
    elif is_url(config.source) or str(config.source).endswith(ENDINGS):
        raise UsageError(f"source: {written(config.source)} is indexed with --engine ray")
    else:
        require_any(config.source)
    if config.model:
        require_clap(config.model)
    if config.engine in ENGINE_MODULES:
        require_module(ENGINE_MODULES[config.engine])
    if config.lance is not None:
        require_module("lancedb")
    require_output(config.out, is_folder=True)
    require_output(config.json)


def check_search(config: SearchConfig) -> None:
    """Refuse a missing index, file of queries, sound, model or extra before torch is loaded."""
    require_folder(config.index)
    if not (config.index / "index.json").is_file():
        raise FileNotFoundError(f"{config.index} is no index: `ml-clap index` makes one")
    require_file(config.queries, *config.audio, config.calibration)
    if config.add or config.subtract:
        from ml_clap.search.similarity import tell_apart

        for item in (*config.add, *config.subtract):
            tell_apart(item)
    if config.model:
        require_clap(config.model)
    require_folder(config.text_tower)
    if config.engine in ENGINE_MODULES:
        require_module(ENGINE_MODULES[config.engine])
    require_output(config.json, config.page)
    require_output(config.explain, is_folder=True)


def check_serve(config: ServeConfig) -> None:
    """Refuse a missing index, file or extra before torch is loaded."""
    require_folder(config.index)
    if not (config.index / "index.json").is_file():
        raise FileNotFoundError(f"{config.index} is no index: `ml-clap index` makes one")
    require_file(config.calibration, config.token_file)
    find_language(config.lang)
    if config.model:
        require_clap(config.model)
    require_module("gradio")


def check_distill(config: DistillConfig) -> None:
    """Refuse missing texts or teacher before torch is loaded."""
    require_file(*config.texts, *config.validation_texts)
    if config.model:
        require_clap(config.model)
    require_model(config.encoder or "")
    require_output(config.out, is_folder=True)


def check_project(config: ProjectConfig) -> None:
    """Refuse missing texts, encoder or model before torch is loaded."""
    require_file(*config.texts)
    require_clap(config.model)
    require_model(config.encoder)
    require_output(config.out, is_folder=True)


def check_export(config: ExportConfig) -> None:
    """Refuse a missing model or extra before torch is loaded."""
    require_model(config.model, has_owner=True)
    require_module("onnxscript", "onnxruntime")
    require_output(config.out, is_folder=True)


def check_export_index(config: ExportIndexConfig) -> None:
    """Refuse a missing index or extra, and a place that cannot be written to."""
    require_folder(config.index)
    if not (config.index / "index.json").is_file():
        raise FileNotFoundError(f"{config.index} is no index: `ml-clap index` makes one")
    require_module("pyarrow")
    if config.out is not None and is_stream(config.out):
        raise UsageError("out: a Parquet file is written at a name, not to standard output")
    require_output(config.out)


def check_calibrate(config: CalibrateConfig) -> None:
    """Refuse a missing manifest or model, and a place that cannot be written to."""
    require_file(config.data)
    require_clap(config.model)
    require_output(config.out, config.json)


def check_translate(config: TranslateConfig) -> None:
    """Refuse missing files, models or extras, and unknown languages, before torch is loaded."""
    from ml_clap.data.languages import resolve

    require_file(None if is_url(config.data) else config.data, config.gate)
    if config.engine == "ray":
        require_module("ray")
    for language in config.languages:
        resolve(language)
    translator = config.translator or ""
    if translator == "sonar":
        require_module("sonar")
    else:
        require_model(translator)
    require_model(config.judge or "")
    require_output(config.out, is_folder=True)
    require_output(config.json)


def check_gate(config: GateConfig) -> None:
    """Refuse a missing manifest or judge before torch is loaded."""
    require_file(config.data)
    require_model(config.judge)
    require_output(config.out, config.plot)


def check_export_checkpoint(config: ExportCheckpointConfig) -> None:
    """Refuse what is no checkpoint, and a place that cannot be written to."""
    require_folder(config.checkpoint)
    if not (config.checkpoint / "training_state.pt").is_file():
        raise FileNotFoundError(f"{config.checkpoint} is no checkpoint: there is no training_state.pt in it")
    require_output(config.out, is_folder=True)


def check_doctor(config: DoctorConfig) -> None:
    """Refuse a place that cannot be written to; what is missing of the rest is what is looked for."""
    require_output(config.json)


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
