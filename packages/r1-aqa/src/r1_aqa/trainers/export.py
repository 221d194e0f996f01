"""`r1-aqa export-checkpoint`: the model of a checkpoint as a plain folder; needs no launcher."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from audio_common.strict_json import read_object

from r1_aqa.config.export_checkpoint import ExportCheckpointConfig
from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.files import replace_folder
from r1_aqa.lock import sole_writer
from r1_aqa.models.audio_llm import load_audio_llm
from r1_aqa.models.licence import CARD_FILE
from r1_aqa.output import printable
from r1_aqa.trainers.checkpoint import FSDP_PARTS, PARTS_FOLDER, name_engine
from r1_aqa.trainers.run_folder import is_whole
from r1_aqa.trainers.train import set_up

PLAIN = ("adapter_config.json", "adapter_model.safetensors", "config.json", "generation_config.json")
PLAIN += ("model*.safetensors", "model.safetensors.index.json", CARD_FILE)
"""Files of a checkpoint that make a model or adapters."""


def export_checkpoint(config: ExportCheckpointConfig) -> Path:
    """Write the model of a checkpoint as a plain folder, and print its name.

    Raises:
        ValueError: it is no whole checkpoint of a training of r1-aqa, or `out` is not empty.
        BusyError: another process writes into `out`.
    """
    settings = read_settings(config.checkpoint)
    if config.out.is_dir():
        if any(config.out.iterdir()):
            raise ValueError(f"{config.out} is not empty; give a new folder as --out")
        config.out.rmdir()
    with sole_writer(config.out):
        replace_folder(config.out, lambda folder: save_plain(config.checkpoint, settings, folder))
    print(printable(config.out))
    return config.out


def read_settings(checkpoint: Path) -> dict[str, Any]:
    """Return the settings of the training that a checkpoint is of.

    Raises:
        ValueError: it is no whole checkpoint, or not in the folder of its training.
    """
    if not is_whole(checkpoint):
        raise ValueError(
            f"{checkpoint} is no whole checkpoint: it has no readable trainer_state.json, the last of its "
            "files"
        )
    path = checkpoint.resolve().parent / "config.json"
    settings = read_object(path) if path.is_file() else {}
    if not {"init_from", "model"} <= settings.keys():
        raise ValueError(
            f"{path} with the settings of the training is missing; leave checkpoints in its folder"
        )
    return settings


def save_plain(checkpoint: Path, settings: Mapping[str, Any], folder: Path) -> None:
    """Write model or adapters and the processor into a new folder.

    Args:
        checkpoint: of a training.
        settings: of the training.
        folder: is filled.
    """
    given = settings["model"]
    lora = LoRAConfig(**given["lora"] | {"targets": tuple(given["lora"]["targets"])})
    model = ModelConfig(**given | {"lora": lora})
    llm = load_audio_llm(settings["init_from"], model)
    if name_engine(checkpoint) == FSDP_PARTS:
        adapters, _ = set_up(llm, model)
        if adapters is not None:
            from peft import get_peft_model

            llm.model = get_peft_model(llm.model, adapters)
        load_parts(llm.model, checkpoint)
        llm.model.save_pretrained(folder)
    for file in (file for pattern in PLAIN for file in checkpoint.glob(pattern)):
        shutil.copy(file, folder / file.name)
    llm.processor.save_pretrained(folder)


def load_parts(model: torch.nn.Module, checkpoint: Path) -> None:
    """Load the weights of a checkpoint in parts into a whole model; all of them must fit.

    Raises:
        CheckpointException: it is of another model.
    """
    from torch.distributed.checkpoint import load

    parts = checkpoint / PARTS_FOLDER
    if not hasattr(model, "peft_config"):
        load({"model": model.state_dict()}, checkpoint_id=parts, no_dist=True)  # in place
        return
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    adapters = get_peft_model_state_dict(model)
    load({"model": adapters}, checkpoint_id=parts, no_dist=True)
    set_peft_model_state_dict(model, adapters)
