"""`aac-llm export-checkpoint`: the captioner of a checkpoint as a plain folder; needs no launcher."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from audio_common.strict_json import read_object

from aac_llm.config.export_checkpoint import ExportCheckpointConfig
from aac_llm.files import replace_folder, write_json
from aac_llm.lock import sole_writer
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.config_file import config_from_dict
from aac_llm.output import printable
from aac_llm.trainers.checkpoint import FSDP_PARTS, PARTS_FOLDER, name_engine
from aac_llm.trainers.run_folder import is_whole

PLAN = "captioner.json"
"""In a checkpoint in parts: what the captioner is made of, without its weights."""


def write_plan(model: CaptionModel, card: str, checkpoint: Path) -> None:
    """Write into a checkpoint in parts what makes a captioner of them."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    write_json(checkpoint / PLAN, {"config": asdict(model.config), "use": model.use(), "card": card})


def export_checkpoint(config: ExportCheckpointConfig) -> Path:
    """Write the captioner of a checkpoint as a plain folder, and print its name.

    Raises:
        ValueError: it is no whole checkpoint, or `out` is not empty.
        CheckpointError: it is no captioner's.
        BusyError: another process writes into `out`.
    """
    if not is_whole(config.checkpoint):
        raise ValueError(
            f"{config.checkpoint} is no whole checkpoint: it has no readable trainer_state.json, the last of "
            "its files"
        )
    if config.out.is_dir():
        if any(config.out.iterdir()):
            raise ValueError(f"{config.out} is not empty; give a new folder as --out")
        config.out.rmdir()
    with sole_writer(config.out):
        replace_folder(config.out, load_checkpoint(config.checkpoint).save_pretrained)
    print(printable(config.out))
    return config.out


def load_checkpoint(checkpoint: Path) -> CaptionModel:
    """Return the captioner of a checkpoint; all weights must fit.

    Raises:
        CheckpointError: it is no captioner's.
        CheckpointException: parts are missing.
    """
    if name_engine(checkpoint) != FSDP_PARTS:
        return CaptionModel.from_pretrained(checkpoint)
    from torch.distributed.checkpoint import load

    plan = read_object(checkpoint / PLAN)
    model = CaptionModel.from_config(config_from_dict(plan["config"]))
    load({"model": model.state_dict()}, checkpoint_id=checkpoint / PARTS_FOLDER, no_dist=True)  # in place
    model.channel, model.trained_seconds = plan["use"].get("channel", "mean"), plan["use"]["trained_seconds"]
    model.card = plan["card"]
    return model
