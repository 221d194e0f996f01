"""Training: `ml-clap train --config FILE.yaml`, on one CPU or GPU, on many, or on several machines.

The same command runs in one process, or in many behind `accelerate launch`:

    ml-clap train --config esc10
    accelerate launch --num_processes 8 -m ml_clap train --config audiocaps --batch_size 16

What holds in either case:

- The loss compares every pair with all others of the batch, which the processes share, `batch_size` pairs
  each: two processes with half the batch compute the loss, and take the update, that one would (exactly so
  where nothing is drawn at random: dropout and SpecAugment differ by process).
- `gradient_accumulation_steps` averages the gradients of several such batches before an update. The pairs of
  one batch do not meet those of the next, so there are no more negatives: it only steadies the update.
- The end of a run is marked (`finished.json`); one process at a time trains in a folder; a kill at any moment
  is made good by the same command, whose result is that of a run that was not killed.
- All that is random follows from the seed, the update's number and the process's, so a resumed run takes the
  updates that an uninterrupted one would have taken.
- The mel BatchNorm's statistics are fixed (`ml_clap.models.initialization`); what the authors did is not
  known.
"""

from __future__ import annotations

from contextlib import nullcontext

from accelerate.state import AcceleratorState

from ml_clap.config.train import TrainConfig
from ml_clap.lock import sole_writer
from ml_clap.trainers.result import TrainResult, is_main_process, read_finished
from ml_clap.trainers.run_folder import recover_run
from ml_clap.trainers.trainer import CURVES_FILE, Trainer


def train(config: TrainConfig) -> TrainResult:
    """Train a model as `config` says, or continue the run in `config.out`; one that is finished is only read.

    Raises:
        TrainingError: The loss or a gradient is not finite, no clip can be read, or `out` holds another run.
        BusyError: Another process trains in `out`.
        KeyboardInterrupt: Ctrl-C or SIGTERM; its message says what is saved.
    """
    # Of a launcher's processes the first one holds the folder for all.
    with sole_writer(config.out, folder=True) if is_main_process() else nullcontext():
        finished = read_finished(config)
        if finished is not None:
            return finished
        if is_main_process():
            recover_run(config.out)
        try:
            trainer = Trainer(config)
            try:
                return trainer.run()
            finally:
                trainer.accelerator.end_training()
        finally:
            # accelerate keeps its settings for the process; without this a second run could not have others.
            AcceleratorState._reset_state(reset_partial_state=True)


def train_verb(config: TrainConfig) -> int:
    """Train, say where the model is, and return 1 if files had to be skipped."""
    result = train(config)
    if result.is_main_process:
        score = "" if result.score is None else f" (validation {result.score:.1f} %)"
        print(f"model: {result.model}{score}\ncurves: {config.out / CURVES_FILE}")
    return int(bool(result.bad_files))
