"""What only this package has: its extras, SONAR's library, and the files that its commands write and read."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from audio_common.strict_json import JSONError, read_object

from ml_clap.config.distill import DistillConfig
from ml_clap.config.train import TrainConfig
from ml_clap.data.manifest import BadRow, ManifestError, read_manifest
from ml_clap.doctor.finding import Finding, set_aside
from ml_clap.doctor.index import index_findings
from ml_clap.doctor.runs import is_run, run_findings
from ml_clap.doctor.sounds import sounds_findings
from ml_clap.doctor.weights import config_fault, weights_faults
from ml_clap.models.checkpoint import CONFIG_FILE
from ml_clap.models.loading import MODULES_FILE, kind_of

EXTRAS = {
    "av": "m4a, mp4, webm, wma",
    "faiss": "search of millions of windows",
    "lancedb": "search in a database, and Parquet",
    "lora": "adapters in the text encoder",
    "mteb": "the benchmarks of mteb",
    "onnx": "export to ONNX",
    "sentence-transformers": "models in its format",
    "ray": "bulk jobs on many machines",
    "serve": "the page in the browser",
    "sonar": "translation by SONAR's own library; puts torch back to 2.9.1",
    "webdataset": "training from shards",
}
"""Extras, and what each is for."""


def own_findings() -> list[Finding]:
    """Return nothing more: what this package needs besides are extras."""
    return []


def look_at(path: Path) -> list[Finding]:
    """Look at an index, a run, a model or a manifest; nothing if it is none of them."""
    if (path / "index.json").is_file() or any(path.glob("entries-*.jsonl")):
        return index_findings(path)
    if path.is_dir() and is_run(path):
        verb, config = _training(path)
        return run_findings(path, f"ml-clap {verb}", [one.name for one in fields(config)])
    if path.is_dir() or path.suffix == ".pt":
        return [model_finding(path)]
    return manifest_findings(path) if path.suffix == ".jsonl" else []


def _training(folder: Path) -> tuple[str, type[DistillConfig | TrainConfig]]:
    """Return the verb, `distill` or `train`, and its settings: only those of the first have texts."""
    try:
        is_distilled = "texts" in read_object(folder / CONFIG_FILE)
    except (OSError, JSONError):  # which is named as a fault of the run
        is_distilled = False
    return ("distill", DistillConfig) if is_distilled else ("train", TrainConfig)


def model_finding(path: Path) -> Finding:
    """Look at a model's folder or file."""
    name = shlex.quote(str(path))
    faults = weights_faults(path) if path.is_dir() else []
    if not (path / MODULES_FILE).is_file() and (missing := config_fault(path)):
        return Finding("fault", "model", missing, f"ls -l {name}")
    try:
        kind = f"a {part!r} of transformers, a part of a model" if (part := _part(path)) else kind_of(path)
    except (OSError, ValueError) as error:
        return Finding("fault", "model", " ".join(str(error).split()), f"ls {name}")
    if faults:
        return Finding("fault", "model", f"{faults[0]}; fetch or train it again", set_aside(path))
    return Finding("ok", "model", f"{path}: whole, {kind}")


def _part(path: Path) -> str:
    """Return the kind of a text encoder, which is a part of a model as that of a quickstart; else nothing."""
    if not (path / CONFIG_FILE).is_file() or (path / MODULES_FILE).is_file():
        return ""
    config = read_object(path / CONFIG_FILE)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind == "clap" or "format" in config:
        return ""
    return kind[:50] if any(path.glob("*.safetensors")) else ""


def manifest_findings(path: Path) -> list[Finding]:
    """Look at a manifest, its captions and its sounds."""
    checked = shlex.quote(f"{path.with_suffix('')}.checked.jsonl")
    command = f"ml-clap prepare jsonl {shlex.quote(str(path))} --out {checked}"
    bad_rows: list[BadRow] = []
    try:
        clips = read_manifest(path, bad_rows=bad_rows)
    except ManifestError as error:
        return [Finding("fault", "manifest", str(error), "ml-clap prepare jsonl --help")]
    found = []
    if bad_rows:
        first = f"{bad_rows[0].where}: {bad_rows[0].message}"
        text = f"{len(bad_rows):,} rows of {path} cannot be used, the first: {first}"
        found.append(Finding("fault", "manifest", text, command))
    splits = ", ".join(sorted({clip.split or "none" for clip in clips}))
    languages = ", ".join(sorted({language for clip in clips for language in clip.captions}))
    text = f"{path}: {len(clips):,} clips can be read; splits: {splits}; captions: {languages}"
    found.append(Finding("ok", "manifest", text))
    return found + sounds_findings(path, [clip.audio for clip in clips], command)
