"""A checkpoint of a run as a model folder: `ml-clap export-checkpoint RUN/checkpoint-500 --out FOLDER`.

For a run that did not come to its end, or an earlier update than the best one. One process does it, on a
CPU, whatever number of processes wrote the checkpoint and whatever shared the weights out among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ml_clap.config.export_checkpoint import ExportCheckpointConfig
from ml_clap.files import replace_folder
from ml_clap.lock import sole_writer
from ml_clap.models.card import make_card
from ml_clap.models.checkpoint import parse_model_config
from ml_clap.models.initialization import make_model
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.trainers.named_state import as_vector, learning, read_parts
from ml_clap.trainers.processes import TrainingError, random_seed, with_bias
from ml_clap.trainers.run_folder import STATE_FILE, find_parts, load_checkpoint


def export_checkpoint_verb(config: ExportCheckpointConfig) -> None:
    """Write the model of a checkpoint, and say where it is."""
    print(f"model: {export_checkpoint(config)}")


def export_checkpoint(config: ExportCheckpointConfig) -> Path:
    """Write the model of a checkpoint, with averaged weights if the run keeps an average; return its folder.

    Raises:
        FileNotFoundError: `checkpoint` is none, or what the run started from is no longer there.
        ValueError: The checkpoint is damaged.
        BusyError: Another process writes `out`.
    """
    assert config.out is not None
    out = config.out
    with sole_writer(out, folder=True):
        model = read_checkpoint(config.checkpoint)
        card = make_card(model.config, is_sonar=model.is_sonar)
        replace_folder(out, lambda folder: model.save_pretrained(folder, card=card))
    return out


def read_checkpoint(checkpoint: Path) -> MLCLAP:
    """Return the model of a checkpoint as training would save it, in evaluation mode.

    Raises:
        ValueError: The checkpoint is damaged, or of other weights than its run's settings name.
    """
    kept = load_checkpoint(checkpoint)
    settings = kept["config"]
    torch.manual_seed(random_seed(settings["seed"]))  # frozen weights may have been drawn: they are not kept
    config = parse_model_config(settings["model"], checkpoint / STATE_FILE)
    model = make_model(with_bias(config, settings.get("loss", "infonce")), settings["init_from"])
    model.channel = settings["data"].get("channel", "mean")
    parts, average = find_parts(checkpoint), kept["average"]
    own = learning(model)
    if parts is None:
        learnt = kept["model"] | ({} if average is None else average["average"])
    else:
        learnt = kept["model"] | _read(parts, "weight" if average is None else "average", own)
    missing = own.keys() - learnt.keys()
    if missing:
        raise TrainingError(f"{checkpoint} lacks weights of its model: {', '.join(sorted(missing)[:5])}")
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.view(shapes[name]) for name, value in learnt.items()}, strict=False)
    return model.eval()


def _read(parts: Path, kind: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read one kind of a checkpoint's tensors."""
    state = {kind: {name: as_vector(torch.empty_like(weight.detach())) for name, weight in weights.items()}}
    read_parts(state, parts)
    return state[kind]
