"""What only this package has: its extras, SONAR's library, and the files that its commands write and read."""

from __future__ import annotations

import shlex
from pathlib import Path

from ml_clap.data.manifest import BadRow, ManifestError, read_manifest
from ml_clap.doctor.finding import Finding
from ml_clap.doctor.index import index_findings
from ml_clap.doctor.runs import is_run, run_findings
from ml_clap.doctor.sounds import sounds_findings
from ml_clap.doctor.weights import weights_faults
from ml_clap.models.loading import kind_of

EXTRAS = {
    "av": "m4a, mp4, webm, wma",
    "faiss": "search of millions of windows",
    "lancedb": "search in a database, and Parquet",
    "lora": "adapters in the text encoder",
    "mteb": "the benchmarks of mteb",
    "onnx": "export to ONNX",
    "sentence-transformers": "models in its format",
    "serve": "the page in the browser",
    "sonar": "translation by SONAR's own library",
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
        return run_findings(path, "ml-clap train")
    if path.is_dir() or path.suffix == ".pt":
        return [model_finding(path)]
    return manifest_findings(path) if path.suffix == ".jsonl" else []


def model_finding(path: Path) -> Finding:
    """Look at a model's folder or file."""
    name = shlex.quote(str(path))
    faults = weights_faults(path) if path.is_dir() else []
    try:
        kind = kind_of(path)
    except (OSError, ValueError) as error:
        return Finding("fault", "model", " ".join(str(error).split()), f"ls {name}")
    if faults:
        return Finding("fault", "model", faults[0], f"rm -r {name}  # and fetch or train it again")
    return Finding("ok", "model", f"{path}: whole, {kind}")


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
