"""The verb `doctor`: one line for each thing that was looked at, with the command that mends it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

from audio_common import is_audio, walk_files

from r1_aqa.config.doctor import DoctorConfig
from r1_aqa.doctor.decoders import decoder_findings
from r1_aqa.doctor.finding import Finding
from r1_aqa.doctor.hub import hub_findings
from r1_aqa.doctor.installation import installation_findings
from r1_aqa.doctor.machine import machine_findings
from r1_aqa.doctor.own import EXTRAS, look_at, own_findings
from r1_aqa.doctor.sounds import sound_finding, sounds_findings
from r1_aqa.files import is_stream, write_json
from r1_aqa.output import printable

KNOWN = ("config.json", "adapter_config.json", "index.json", "log.jsonl")
"""Files that make a folder a run, a model, adapters or an index."""
PACKAGE = __name__.partition(".")[0].replace("_", "-")


def doctor_verb(config: DoctorConfig) -> int:
    """Look at everything, print what is found, and return 1 if there is a fault."""
    findings = list[Finding]()
    with redirect_stdout(sys.stderr if is_stream(config.json) else sys.stdout):
        for finding in examine(config):  # each as it is found: the hub may take seconds
            findings.append(finding)
            print(printable(finding.line()), flush=True)
        counts = {kind: sum(one.kind == kind for one in findings) for kind in ("fault", "note")}
        print(f"{counts['fault']} faults, {counts['note']} notes")
    if config.json is not None:
        write_json(config.json, {"package": PACKAGE, "version": version(PACKAGE), "findings": findings})
    return 1 if counts["fault"] else 0


def examine(config: DoctorConfig) -> Iterator[Finding]:
    """Yield what is found: of the installation and the machine, then of what is named."""
    yield from installation_findings(PACKAGE, EXTRAS)
    yield from machine_findings()
    yield from decoder_findings(PACKAGE)
    yield from own_findings()
    yield from hub_findings(offline=config.offline)
    for path in config.paths:
        yield from _named(path)


def _named(path: Path) -> list[Finding]:
    """Look at what a path names; a fault that no one foresaw is a finding, too."""
    if not path.exists():
        return [Finding("fault", "path", f"there is no file or folder {path}", _look_for(path))]
    try:
        found = [finding for place in _places(path) for finding in look_at(place)]
        return found or (_sounds(path) if path.is_dir() else [sound_finding(path)])
    except (OSError, ValueError) as error:
        return [Finding("fault", "path", " ".join(str(error).split()), f"{PACKAGE} --help")]


def _look_for(path: Path) -> str:
    """Return the command that shows what is there where a path is not."""
    there = next(folder for folder in path.parents if folder.is_dir())
    if there == there.parent and there.is_absolute():  # the root, where nobody's files are
        return f"find ~ -name {shlex.quote(path.name)}"
    return f"ls {shlex.quote(str(there))}"


def _places(path: Path) -> list[Path]:
    """Return a path as it is; of a folder that holds runs, models or indexes, as a quickstart does, these."""
    if not path.is_dir() or _is_known(path):
        return [path]
    inner = [place for place in sorted(path.iterdir()) if place.is_dir() and _is_known(place)]
    return inner or ([] if any(map(is_audio, walk_files(path))) else [path])


def _is_known(folder: Path) -> bool:
    # Weights without their settings are a damaged model, not a folder that holds models.
    return any((folder / name).exists() for name in KNOWN) or any(folder.glob("*.safetensors"))


def _sounds(folder: Path) -> list[Finding]:
    sounds = [path for path in walk_files(folder) if is_audio(path)]
    return sounds_findings(folder, sounds, f"{PACKAGE} doctor FILE")
