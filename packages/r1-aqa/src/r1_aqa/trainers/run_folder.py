"""The folder of a training: its settings, where it can resume, skipped questions, whether it is finished."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from audio_common import AudioError
from transformers import PreTrainedModel
from transformers.trainer_utils import get_last_checkpoint

from r1_aqa.config.changes import changes, plain
from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import TrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.data.sounds import measure, refuse_long
from r1_aqa.files import write_json

logger = logging.getLogger(__name__)

ENDS = {"epochs", "max_steps"}
"""Settings that decide when a training is finished."""

FREE_TO_CHANGE = ENDS | {
    "device",
    "out",
    "report_to",
    "logging_steps",
    "keep_checkpoints",
    "data.cache_gigabytes",
}
"""Settings that may differ when training resumes."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a training."""

    out: Path
    """The folder."""
    model: Path
    """The best model, or the last where nothing was validated."""
    accuracy: float | None
    """Accuracy of the best model on the validation questions; None without them."""
    steps: int
    """Updates."""


# -- devices and processes ------------------------------------------------------------------------------


def uses_cpu(config: TrainConfig) -> bool:
    """Return whether training is on the processor: it was asked for, or there is nothing else."""
    asked = config.device == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return asked or not torch.accelerator.is_available()


def join_processes(config: TrainConfig) -> None:
    """Choose the device and meet the other processes of a launcher, before anything is written or counted.

    Raises:
        ValueError: there is no such device.
    """
    if config.device.startswith("cuda"):
        _choose_gpu(config.device)
    if config.precision == "fp16" and uses_cpu(config):
        raise ValueError("precision fp16 needs a GPU; give bf16 or fp32")
    # Without `cpu`, accelerate takes each of several processes on a processor for the only one.
    PartialState(cpu=uses_cpu(config), timeout=timedelta(minutes=30))


def _choose_gpu(device: str) -> None:
    if not torch.cuda.is_available():
        raise ValueError(f"device {device}: there is no CUDA GPU")
    number = device.partition(":")[2]
    if not number:
        return
    if "LOCAL_RANK" in os.environ:
        raise ValueError(f"device {device}: the launcher gives each process its GPU; give cuda or auto")
    if torch.cuda.is_initialized():
        raise ValueError(f"device {device}: CUDA is running already; set CUDA_VISIBLE_DEVICES instead")
    # transformers trains on all GPUs that it sees, and wants this variable for one of them.
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(number)] if visible else number


# -- settings and checkpoints ---------------------------------------------------------------------------


def check_settings(config: TrainConfig, *, resumes: bool) -> None:
    """Write the settings to `out`; refuse to resume with others.

    Raises:
        ValueError: settings changed; the message names them.
    """
    path = config.out / "config.json"
    now = plain(asdict(config))
    if path.is_file() and resumes:
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := changes(before, now, free=FREE_TO_CHANGE):
            raise ValueError(
                f"{config.out} holds a training with other settings ({'; '.join(changed)}); "
                "give another --out, or the same settings to resume"
            )
    if PartialState().is_main_process:
        write_json(path, now)
    PartialState().wait_for_everyone()


def find_checkpoint(out: Path) -> Path | None:
    """Return the latest whole checkpoint; what a kill left half-written is removed."""
    while out.is_dir() and (found := get_last_checkpoint(str(out))):
        if is_whole(Path(found)):
            return Path(found)
        # Left there it would count among the checkpoints to keep.
        shutil.rmtree(found, ignore_errors=True)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end: Trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def checkpoint_step(checkpoint: Path) -> int:
    """Return the update after which a checkpoint was saved."""
    return int(checkpoint.name.rpartition("-")[2])


def load_weights(model: Any, checkpoint: str) -> bool:
    """Load the weights of a checkpoint into a bare model of transformers; return False if it is wrapped.

    transformers 5 saves a model under the names of its published files. On resuming, its Trainer looks for
    these names in the model as they are, finds none, and goes on without a word: with the optimizer of the
    checkpoint and the weights of the start. Here they are read as every published model is, and all of them
    must fit. Adapters, FSDP and DeepSpeed have ways of their own, which Trainer takes.

    Raises:
        RuntimeError: the checkpoint is of another model.
    """
    if not isinstance(model, PreTrainedModel):
        return False
    kind: Any = type(model)
    model.load_state_dict(kind.from_pretrained(checkpoint, dtype=model.dtype).state_dict())
    return True


def read_result(config: TrainConfig) -> TrainResult | None:
    """Return the result of the same training if it is finished; None if there is something left to do."""
    path = config.out / "finished.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if changes(found["settings"], plain(asdict(config)), free=FREE_TO_CHANGE - ENDS):
        return None
    logger.info("%s is finished", config.out)
    return TrainResult(config.out, Path(found["model"]), found["accuracy"], found["steps"])


# -- questions ------------------------------------------------------------------------------------------


def read_all(paths: Sequence[Path]) -> list[Question]:
    """Return the rows of several files; those that cannot be used are questions with a fault."""
    return [question for path in paths for question in read_questions(path, keep_faults=True)]


def usable_questions(config: TrainConfig) -> list[Question]:
    """Return questions with an answer and with audio that is there; the others go to OUT/skipped.jsonl.

    Of an audio file its header is read; all of it only where that does not say how long it is.

    Raises:
        ValueError: nothing is left.
    """
    good, bad, faults = [], [], dict[Path, str | None]()
    for question in read_all(config.data.train):
        if not question.fault and question.audio not in faults:
            faults[question.audio] = audio_fault(question.audio, config.sound)
        no_answer = "no answer" if question.answer is None else None
        why = question.fault or faults[question.audio] or no_answer
        if why:
            bad.append((question, why))
        else:
            good.append(question)
    say_unusable(config.out, bad, len(good), "questions")
    if not good:
        first = f"{bad[0][0].id} ({bad[0][1]})" if bad else "the files are empty"
        files = ", ".join(map(str, config.data.train))
        raise ValueError(f"no question of {files} can be used; first: {first}")
    return good


def validation_questions(config: TrainConfig) -> list[Question]:
    """Return the validation questions that will be asked; what cannot be goes to OUT/skipped.jsonl."""
    found = read_all(config.data.validation)
    bad = [(question, question.fault) for question in found if question.fault]
    good = [question for question in found if not question.fault]
    say_unusable(config.out, bad, len(good), "validation questions")
    most = config.validation.max_questions
    if most is not None and len(good) > most:
        logger.info("%d of %d validation questions are asked (validation.max_questions)", most, len(good))
    return good[:most]


def say_unusable(out: Path, bad: Sequence[tuple[Question, str]], num_good: int, name: str) -> None:
    """Record questions that cannot be used in OUT/skipped.jsonl, and say how many they are, and the first."""
    if not bad or not PartialState().is_main_process:
        return
    record_skipped(out, bad)
    logger.warning(
        "%d of %d %s cannot be used, the first: %s (%s); all: %s",
        len(bad),
        len(bad) + num_good,
        name,
        bad[0][0].id,
        bad[0][1],
        out / "skipped.jsonl",
    )


def audio_fault(audio: Path, sound: SoundConfig) -> str | None:
    """Return why an audio file cannot be used, as far as its header tells; None if it can."""
    try:
        seconds = measure(audio)
        refuse_long(str(audio), seconds, sound)
    except (AudioError, OSError) as error:
        return str(error)
    return None


def record_skipped(out: Path, skipped: Sequence[tuple[Question, str]]) -> None:
    """Append questions and why they are skipped to OUT/skipped.jsonl, unless they are there."""
    # Resumed trainings and several epochs meet the same files again.
    path = out / "skipped.jsonl"
    known = set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set[str]()
    rows = ({"id": question.id, "audio": str(question.audio), "why": why} for question, why in skipped)
    lines = [json.dumps(row) for row in rows]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines if line not in known))
