"""What each verb needs, looked for before anything heavy is imported: a mistake shows now, not after hours.

Each `check_VERB` takes the verb's settings, which are valid by themselves, and looks at the machine: whether
what they name is there, can be read or written, and is of the right kind.
"""

from __future__ import annotations

import os
from pathlib import Path

from ml_clap.bulk.places import is_url, written
from ml_clap.command_line import (
    UsageError,
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
    PrepareConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
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
from ml_clap.models.model_folder import WEIGHTS_FILE

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


def require_index(folder: Path) -> None:
    """Raise for a folder that is not there, or is no index."""
    require_folder(folder)
    if not (folder / "index.json").is_file():
        raise FileNotFoundError(f"{folder} is no index: `ml-clap index` makes one")


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
    require_index(config.index)
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
    require_index(config.index)
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
    require_index(config.index)
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
