"""The verb `fluency`: train a detector of captions that are not fluent, measure it, and keep it in a folder.

OUT holds the detector (`metrics/fluency_folder.py`), `config.json` of its encoder among it, the settings in
`settings.json`, and the losses in `log.jsonl`.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common.checkpoint import check_folder
from audio_common.hub import split_revision
from audio_common.strict_json import read_object

from aac_llm.config.changes import changes
from aac_llm.config.fluency import FluencyConfig
from aac_llm.data.texts import read_scored, read_texts
from aac_llm.files import flush, read_bytes, remove_leftovers, to_plain, write_json
from aac_llm.lock import sole_writer
from aac_llm.metrics.fluency import FluencyDetector
from aac_llm.metrics.fluency_calibration import THRESHOLD, Detection, Standard, detect
from aac_llm.metrics.fluency_errors import KINDS
from aac_llm.metrics.fluency_folder import (
    DESCRIPTION,
    default_detector,
    is_detector,
    read_description,
    read_standard,
)
from aac_llm.metrics.scripts import is_latin
from aac_llm.models.decoder import NO_FAULT_OF_THE_FILES
from aac_llm.models.inference import choose_device
from aac_llm.models.licence import CARD_FILE
from aac_llm.models.run_folder import first_sentence
from aac_llm.output import console
from aac_llm.trainers.fluency_card import fluency_card
from aac_llm.trainers.fluency_examples import Parts, broken_captions, split_clips
from aac_llm.trainers.fluency_trainer import CHECKPOINT, FluencyTrainer

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
FREE_TO_CHANGE = {"out", "device", "save_steps", "logging_steps"}
"""Settings that may differ when training resumes."""
NUM_SHOWN = 20
"""Rows that cannot be read, on the screen."""


@dataclass(frozen=True)
class FluencyResult:
    """A trained detector."""

    out: Path
    standard: Standard
    """What is usual in captions of people, and from where on a kind of error is found."""
    detection: Detection
    """On the clips kept aside, each half by the other half's threshold."""
    num_train: int
    """Captions of the training."""
    num_calibration: int
    """Captions that the standard is made of."""


def fluency(config: FluencyConfig) -> int:
    """Train, print what is found on captions kept aside, and return 1 if rows could not be read."""
    began = time.monotonic()
    problems: list[str] = []
    result = train_fluency(config, problems=problems)
    console().print(_table(result))
    if config.out.absolute() != default_detector().absolute():
        use = f"give it to `correct` with --fluency_model {config.out}"
        logger.info("%s; in %s it is the default gate", use, default_detector())
    for problem in problems[:NUM_SHOWN]:
        logger.warning("left out: %s", problem)
    if len(problems) > NUM_SHOWN:
        logger.warning("left out: %s more rows that cannot be read", f"{len(problems) - NUM_SHOWN:,}")
    logger.info("%s: trained in %.0f s", config.out, time.monotonic() - began)
    return 1 if problems else 0


def train_fluency(config: FluencyConfig, *, problems: list[str] | None = None) -> FluencyResult:
    """Train a detector, going on where a killed run was; of a finished one return the result.

    Args:
        config: settings.
        problems: gets the rows of the files that cannot be read.

    Raises:
        ValueError: the captions cannot be used, or the folder holds a training with other settings.
        BusyError: another process is training there.
    """
    found = [] if problems is None else problems
    with sole_writer(config.out, folder=True):
        remove_leftovers(config.out)
        clips = read_texts(config.captions, found, split=config.split)
        if not is_latin(text for texts in clips for text in texts):
            raise ValueError(
                "captions: they are not in Latin letters; the errors that a detector learns from are made of "
                "English captions"
            )
        scored = read_scored(config.scores, found) if config.scores else []
        parts = split_clips(clips, config.held_out, config.seed)
        if parts.num_shared:
            logger.info(
                "%s captions of clips kept aside are left out: they stand in training, too",
                f"{parts.num_shared:,}",
            )
        if (result := _begin(config, parts)) is not None:
            return result
        detector = create_detector(config, parts.train)
        FluencyTrainer(config, detector, parts.train, scored).train()
        return _finish(config, detector, parts)


def create_detector(config: FluencyConfig, captions: Sequence[str]) -> FluencyDetector:
    """Return the detector that a training begins with, on its device."""
    device = choose_device(config.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.encoder is None:
            from aac_llm.models.tiny_encoder import create_tiny_encoder

            encoder, tokenizer = create_tiny_encoder(captions, seed=config.seed)
        else:
            encoder, tokenizer = _load_encoder(config.encoder, config.num_layers)
            # Captions have few of a big vocabulary's words: training these alone would part them from the
            # rest, and their optimizer would take more memory than all else.
            encoder.get_input_embeddings().weight.requires_grad_(False)
        return FluencyDetector(encoder, tokenizer, KINDS, pooling="all").to(device)


def _load_encoder(source: str, num_layers: int | None) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    name, revision = split_revision(source)
    check_folder(name)
    options: dict[str, Any] = {"revision": revision}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
        if num_layers is not None:
            options["num_hidden_layers"] = num_layers
        encoder = AutoModel.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **options
        )
    except NO_FAULT_OF_THE_FILES:
        raise
    except Exception as e:  # of a configuration without sense transformers raises a dozen kinds
        raise ValueError(
            f"encoder: expected a folder or a hub id of a text encoder, got {source} ({first_sentence(e)})"
        ) from e
    return encoder, tokenizer


def _begin(config: FluencyConfig, parts: Parts) -> FluencyResult | None:
    """Compare the settings with those of before, and return the result if nothing is left to do.

    Raises:
        ValueError: the folder holds a training with other settings, or something else.
    """
    path = config.out / SETTINGS
    settings = to_plain(config) | {"captions_sha256": _digest(config)}
    if path.is_file():
        if changed := changes(read_object(path), settings, free=FREE_TO_CHANGE):
            raise ValueError(
                f"{config.out} holds a detector with other settings ({'; '.join(changed)}); give another "
                "--out, or the same settings to resume"
            )
    elif (config.out / "config.json").exists() or is_detector(config.out):
        raise ValueError(f"{config.out} holds a model of another kind; give another --out")
    if is_detector(config.out):
        logger.info("%s is finished", config.out)
        return _read_result(config.out)
    write_json(path, settings)
    return None


def _digest(config: FluencyConfig) -> list[str]:
    import hashlib

    files = [*config.captions, *([config.scores] if config.scores else [])]
    return [hashlib.sha256(read_bytes(path)).hexdigest() for path in files]


def _finish(config: FluencyConfig, detector: FluencyDetector, parts: Parts) -> FluencyResult:
    """Measure, calibrate and write the folder."""
    detector.round_weights()
    detector.standard, detection = measure(detector, parts.held_out, config.false_alarms, config.seed)
    detector.threshold = THRESHOLD
    num_calibration = sum(map(len, parts.held_out))
    if int(config.false_alarms * (num_calibration + 1)) < 1:
        logger.warning(
            "%d captions are kept aside: too few to promise at most %.3g %% false alarms",
            num_calibration,
            100 * config.false_alarms,
        )
    result = FluencyResult(config.out, detector.standard, detection, len(parts.train), num_calibration)
    saving = config.out / ".saving-detector"
    detector.save_pretrained(saving)
    card = fluency_card(config, detection, len(parts.train))
    (saving / CARD_FILE).write_text(card, encoding="utf-8")
    write_json(saving / DESCRIPTION, _describe(config, detector, result))
    # The description last: until then, the folder is not taken for a detector.
    for path in sorted(saving.iterdir(), key=lambda path: path.name == DESCRIPTION):
        flush(path)
        path.replace(config.out / path.name)
    flush(config.out)
    saving.rmdir()
    shutil.rmtree(config.out / CHECKPOINT, ignore_errors=True)
    return result


def measure(
    detector: FluencyDetector, halves: Sequence[Sequence[str]], false_alarms: float, seed: int
) -> tuple[Standard, Detection]:
    """Return the standard of captions that the detector has not seen, and what it finds among them.

    The standard is made of all captions; what is found is counted in each half by the standard of the other
    one, or the false alarms would be those that the limit was made for.
    """
    fluent = [detector.logits(texts)[:, :-1] for texts in halves]
    broken = [
        {kind: detector.logits(texts)[:, :-1] for kind, texts in broken_captions(half, seed).items()}
        for half in halves
    ]
    standards = [Standard.fit(logits, false_alarms) for logits in fluent]
    first, second = (
        detect(
            standards[1 - half].score(fluent[half]),
            {kind: standards[1 - half].score(logits) for kind, logits in broken[half].items()},
            THRESHOLD,
        )
        for half in (0, 1)
    )
    return Standard.fit(np.concatenate(fluent), false_alarms), first + second


def _describe(config: FluencyConfig, detector: FluencyDetector, result: FluencyResult) -> dict[str, Any]:
    return {
        "format": 1,
        "kinds": list(detector.kinds),
        "pooling": detector.pooling,
        "threshold": detector.threshold,
        "standard": result.standard,
        "false_alarms_wanted": config.false_alarms,
        "measured": result.detection,
        "num_train": result.num_train,
        "num_calibration": result.num_calibration,
        "encoder": config.encoder,
        "num_layers": config.num_layers,
        "steps": config.steps,
        "seed": config.seed,
    }


def _read_result(out: Path) -> FluencyResult:
    found = read_description(out)
    return FluencyResult(
        out,
        read_standard(found["standard"], len(found["kinds"]), out),
        Detection(**found["measured"]),
        int(found["num_train"]),
        int(found["num_calibration"]),
    )


def _table(result: FluencyResult) -> Any:
    from rich.table import Table

    from aac_llm.metrics.statistics import wilson_interval

    detection = result.detection
    table = Table("on captions kept aside", "share", "95 % interval", "of", box=None)

    def add(name: str, count: int, total: int) -> None:
        if not total:
            table.add_row(name, "-", "-", "0")
            return
        low, high = wilson_interval(count, total)
        table.add_row(name, f"{count / total:.3f}", f"{low:.3f} to {high:.3f}", f"{total:,}")

    for kind in detection.made:
        add(f"{kind.replace('_', ' ')}: found", detection.found[kind], detection.made[kind])
    add("false alarms", detection.false_alarms, detection.num_fluent)
    return table
