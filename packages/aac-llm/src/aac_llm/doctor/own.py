"""What only this package has: its extras, Java, and the files that its commands write and read."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from audio_common.strict_json import JSONError, read_object

from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.config.train import TrainConfig
from aac_llm.data.manifest import ManifestError, read_manifest
from aac_llm.doctor.finding import Finding, set_aside
from aac_llm.doctor.runs import is_run, run_findings
from aac_llm.doctor.sounds import sounds_findings
from aac_llm.doctor.weights import config_fault, weights_faults
from aac_llm.metrics.java import JavaError, find_java, java_version
from aac_llm.metrics.meteor import find_meteor
from aac_llm.metrics.missing import MissingMetricError
from aac_llm.metrics.spice import find_spice
from aac_llm.models.run_folder import CONFIG_FILE

EXTRAS = {
    "av": "m4a, mp4, webm, wma",
    "java": "the jars of METEOR and SPICE",
    "qlora": "decoders in 4 bits, on one GPU",
    "ray": "bulk jobs on many machines",
    "serve": "the page in the browser",
}
"""Extras, and what each is for."""


def own_findings() -> list[Finding]:
    """Look at Java and at the jars of METEOR and SPICE."""
    try:
        java = find_java()
        found = [Finding("ok", "Java", f"{java}, version {java_version(java)}")]
    except MissingMetricError as error:
        return [_missing("Java", error)]
    except JavaError as error:
        return [Finding("fault", "Java", str(error), "apt-get install --reinstall default-jre-headless")]
    for name, find in (("METEOR", find_meteor), ("SPICE", find_spice)):
        try:
            find()
            found.append(Finding("ok", name, "its jars are there"))
        except MissingMetricError as error:
            found.append(_missing(name, error))
    return found


def _missing(name: str, error: MissingMetricError) -> Finding:
    return Finding("note", name, f"cannot be computed: {error.reason}", error.remedy)


def look_at(path: Path) -> list[Finding]:
    """Look at a run, a captioner or a manifest; nothing if it is none of them."""
    if path.is_dir() and is_run(path):
        verb, config = _training(path)
        return run_findings(path, f"aac-llm {verb}", [one.name for one in fields(config)])
    if path.is_dir():
        return [model_finding(path)]
    return manifest_findings(path) if path.suffix == ".jsonl" else []


def _training(folder: Path) -> tuple[str, type[TrainConfig]]:
    """Return the verb, `reinforce` or `train`, and its settings: only those of the first have rollouts."""
    try:
        is_reinforced = "num_rollouts" in read_object(folder / CONFIG_FILE)
    except (OSError, JSONError):  # which is named as a fault of the run
        is_reinforced = False
    return ("reinforce", ReinforceConfig) if is_reinforced else ("train", TrainConfig)


def model_finding(folder: Path) -> Finding:
    """Look at the folder of a captioner."""
    from aac_llm.models.config_file import MODEL_TYPE, read_settings

    name = shlex.quote(str(folder))
    if not (folder / CONFIG_FILE).is_file():
        if missing := config_fault(folder):
            return Finding("fault", "model", missing, f"ls -l {name}")
        text = f"{folder} is neither a captioner nor a run: it has no {CONFIG_FILE}"
        return Finding("fault", "model", text, f"ls {name}")
    if faults := weights_faults(folder):
        return Finding("fault", "model", f"{faults[0]}; fetch or train it again", set_aside(folder))
    try:
        part = read_object(folder / CONFIG_FILE).get("model_type")
        if isinstance(part, str) and part != MODEL_TYPE and any(folder.glob("*.safetensors")):
            text = (
                f"{folder}: whole, a {part[:50]!r} of transformers, a part of a captioner as its decoder is"
            )
            return Finding("ok", "model", text)
        decoder = str(read_settings(folder / CONFIG_FILE).get("decoder"))
    except (OSError, ValueError) as error:
        return Finding("fault", "model", " ".join(str(error).split()), f"ls -l {name}")
    is_path = decoder.startswith((".", "/")) or decoder.count("/") > 1
    if is_path and not any(place.is_dir() for place in (Path(decoder), folder / decoder)):
        text = f"{folder}: its decoder {decoder} is not there (seen from {Path.cwd()})"
        return Finding("fault", "model", text, f"aac-llm caption SOUND --model {name} --decoder /where/it/is")
    return Finding("ok", "model", f"{folder}: whole, a captioner with the decoder {decoder}")


def manifest_findings(path: Path) -> list[Finding]:
    """Look at a manifest, its captions and its sounds."""
    checked = shlex.quote(f"{path.with_suffix('')}.checked.jsonl")
    command = f"aac-llm prepare jsonl {shlex.quote(str(path))} --out {checked}"
    problems: list[str] = []
    try:
        clips = read_manifest(path, keep_uncaptioned=True, problems=problems)
    except ManifestError as error:
        return [Finding("fault", "manifest", str(error), "aac-llm prepare jsonl --help")]
    found = []
    if problems:
        text = f"{len(problems):,} rows of {path} cannot be used, the first: {problems[0]}"
        found.append(Finding("fault", "manifest", text, command))
    uncaptioned = sum(not clip.captions for clip in clips)
    if uncaptioned:
        text = f"{path}: {uncaptioned:,} of {len(clips):,} clips have no English captions"
        found.append(Finding("note", "manifest", text, f"{command} --language LANGUAGE"))
    splits = ", ".join(sorted({clip.split or "none" for clip in clips}))
    found.append(Finding("ok", "manifest", f"{path}: {len(clips):,} clips can be read; splits: {splits}"))
    return found + sounds_findings(path, [clip.audio for clip in clips], command)
