"""`aac-llm reinforce`: a trained captioner learns from captions that it draws, by their rewards.

What is written, and where: as `aac-llm train` does, see `run_folder.py`.
"""

from __future__ import annotations

from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.trainers.reinforce_trainer import ReinforceTrainer
from aac_llm.trainers.run_folder import TrainResult
from aac_llm.trainers.train import tell, train


def reinforce_verb(config: ReinforceConfig) -> int:
    """Train, say where the model is, and return 1 if clips had to be left out."""
    return tell(reinforce(config))


def reinforce(config: ReinforceConfig) -> TrainResult:
    """Train by rewards, or resume what was begun in `config.out`.

    Raises:
        TrainingError: a reward, the loss, a gradient or the weights are not finite.
        ValueError: there are no clips, captions do not fit into the decoder's context, or `out` holds a
            training with other settings.
        MissingMetricError: there is no such fluency detector.
        BusyError: another process trains there.
        KeyboardInterrupt: after Ctrl-C, when all is saved.
    """
    return train(config, ReinforceTrainer)
