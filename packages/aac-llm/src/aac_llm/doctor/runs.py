"""The folder of a training: whether it is finished, whole and sound, and the command that goes on with it.

RUN/config.json    settings; `NAME train --config RUN/config.json` is the same training again
RUN/checkpoint-N/, RUN/best/, RUN/last/, RUN/log.jsonl, RUN/finished.json
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audio_common.strict_json import JSONError, read_object, read_records

from aac_llm.doctor.finding import Finding, set_aside
from aac_llm.doctor.weights import config_fault, weights_faults
from aac_llm.files import LEFTOVERS, OLD
from aac_llm.lock import LOCK, BusyError, sole_writer

STATES = ("training_state.pt", "trainer_state.json")
"""What a whole checkpoint has one of; it is written last."""


def is_run(folder: Path) -> bool:
    """Tell whether a folder is that of a training: it has settings with a place for results and data."""
    try:
        return {"out", "data"} <= read_object(folder / "config.json").keys()
    except (OSError, JSONError):
        return (folder / "log.jsonl").is_file() or any(folder.glob("checkpoint-*"))


def run_findings(folder: Path, train: str, known: Iterable[str]) -> list[Finding]:
    """Look at the folder of a training.

    Args:
        folder: it.
        train: how the training was called: `NAME train`.
        known: names of all settings of that training.
    """
    command = f"{train} --config {shlex.quote(str(folder / 'config.json'))}"
    if busy := _busy(folder):
        return [
            Finding("note", "run", f"{folder}: {busy}", f"tail -f {shlex.quote(str(folder / 'log.jsonl'))}")
        ]
    try:
        settings = read_object(folder / "config.json")
    except (OSError, JSONError) as error:
        text = f"{folder}: its settings cannot be read ({error}); train again with those of the first command"
        return [Finding("fault", "run", text, f"{train} --help")]
    if unknown := sorted(settings.keys() - set(known)):
        text = f"{folder} is no run of {train.partition(' ')[0]}: `{train}` has no setting {unknown[0]}"
        return [Finding("fault", "run", text, f"ls -l {shlex.quote(str(folder))}")]
    return [
        _progress(folder, command),
        *_halves(folder, command),
        *_models(folder),
        *_losses(folder, train),
        *_data(folder, settings, command),
    ]


def _busy(folder: Path) -> str:
    """Return who is training there now, if anyone."""
    if not (folder / LOCK).exists():
        return ""
    try:
        with sole_writer(folder, folder=True):
            return ""
    except BusyError as error:
        return str(error).partition(":")[0]
    except OSError:  # of somebody else, so nobody of ours is writing
        return ""


def _progress(folder: Path, command: str) -> Finding:
    records = [record for record in read_records(folder / "log.jsonl") if isinstance(record.get("step"), int)]
    step = max((record["step"] for record in records), default=0)
    if (folder / "finished.json").is_file():
        return Finding("ok", "run", f"{folder} is finished, after {step} updates")
    saved = [path.name for path in sorted(folder.glob("checkpoint-*"), key=_step) if _is_whole(path)]
    after = f"from {saved[-1]}" if saved else "from the beginning, for nothing was saved yet"
    text = f"{folder} is not finished: {step} updates are logged; the same command goes on {after}"
    return Finding("note", "run", text, command)


def _halves(folder: Path, command: str) -> list[Finding]:
    """Name what a kill left half-written; the next start removes it."""
    halves = [path for pattern in LEFTOVERS for path in folder.glob(pattern)]
    halves += folder.glob(f"*{OLD}")
    halves += [path for path in folder.glob("checkpoint-*") if path.is_dir() and not _is_whole(path)]
    if not halves:
        return []
    names = ", ".join(sorted({path.name for path in halves}))
    text = f"{folder}: a kill left {names} half-written; the next start puts that in order"
    return [Finding("note", "run", text, command)]


def _models(folder: Path) -> list[Finding]:
    """Look at the weights of the saved models."""
    found = []
    for name in ("best", "last"):
        missing = config_fault(folder / name)
        for fault in [missing] * bool(missing) + weights_faults(folder / name):
            text = f"{fault}; without this folder the other model of the run is used"
            found.append(Finding("fault", "run", text, set_aside(folder / name)))
    return found


def _losses(folder: Path, train: str) -> list[Finding]:
    """Say whether a loss or gradient was not finite; as null it stands in the log."""
    for record in read_records(folder / "log.jsonl"):
        bad = [name for name in ("loss", "grad_norm", "eval_loss") if name in record and record[name] is None]
        if bad:
            text = f"{folder}: {bad[0]} was not finite at update {record.get('step')}; a smaller rate helps:"
            again = f"{train} --config {folder / 'config.json'} --learning_rate 1e-5 --out {folder}-2"
            return [Finding("note", "run", text, again)]
    return []


def _data(folder: Path, settings: dict[str, Any], command: str) -> list[Finding]:
    """Name files of data that are no longer where the settings say."""
    data = settings.get("data")
    named = [*_texts(data, "train"), *_texts(data, "validation")] if isinstance(data, dict) else []
    missing = [name for name in named if "://" not in name and not Path(name).exists()]
    if not missing:
        return []
    text = f"{folder} was trained on {missing[0]}, which is not there (seen from {Path.cwd()})"
    return [Finding("note", "run", text, f"{command} --data.train PATH")]


def _texts(data: dict[str, Any], name: str) -> list[str]:
    value = data.get(name)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _is_whole(checkpoint: Path) -> bool:
    return any((checkpoint / name).is_file() for name in STATES)


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1
