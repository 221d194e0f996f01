"""transformers' Trainer for a captioning model.

What it adds: batches of like length, checkpoints of what is trained alone, validation by generated captions,
and the best model kept beside. What it relies on: `CaptionModel.forward` divides the sum over caption tokens
by `num_items_in_batch`, so that accumulating gradients over batches of different captions equals one large
batch (a mean of means would not).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from audio_common.augment import SpecAugment
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from aac_llm.config.train import TrainConfig
from aac_llm.data.dataset import CaptionDataset, EpochLoader, make_loader
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.trainers.validation import summarize, validate_clips


class CaptionTrainer(Trainer):
    """Trains a `CaptionModel`.

    Args:
        settings: of the training.
        model: to train.
        args: of transformers; see `aac_llm.trainers.train.training_arguments`.
        train_set: examples.
        validation_set: clips to validate on, in order; None: no validation.
        callbacks: of transformers.
    """

    def __init__(
        self,
        settings: TrainConfig,
        model: CaptionModel,
        args: TrainingArguments,
        train_set: CaptionDataset,
        validation_set: CaptionDataset | None,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.settings = settings
        self.best_folder = settings.out / "best"
        masks = settings.spec_augment
        self.spec_augment = SpecAugment(**asdict(masks)) if masks.time_masks or masks.freq_masks else None
        # Trainer takes `config` for one of transformers' and writes into it, while it is set up alone.
        config = model.__dict__.pop("config")
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_set,
            eval_dataset=validation_set,
            callbacks=callbacks,
        )
        model.config = config

    def get_train_dataloader(self) -> EpochLoader:
        """This rank's batches; they are shared out here, so accelerate must not share them again."""
        assert isinstance(self.train_dataset, CaptionDataset)
        return make_loader(
            self.train_dataset,
            self.captioner.tokenize_captions,
            batch_size=self.settings.batch_size,
            shuffle=True,
            seed=self.settings.seed,
            num_workers=self.settings.data.num_workers,
            rank=self.args.process_index,
            world_size=self.args.world_size,
        )

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As Trainer's, with masks on the sound; what a worker could not decode is taken down."""
        assert isinstance(self.train_dataset, CaptionDataset)
        self.train_dataset.note_bad(inputs.pop("bad", {}))
        return super().compute_loss(model, {**inputs, "spec_augment": self.spec_augment}, *args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; the bridge's parameters at their own rate if they have one."""
        optimizer = super().create_optimizer(*args, **kwargs)
        rate = self.settings.bridge_learning_rate
        if rate is not None and not any("bridge" in group for group in optimizer.param_groups):
            bridge = {id(parameter) for parameter in self.captioner.bridge.parameters()}
            for group in list(optimizer.param_groups):
                own = [each for each in group["params"] if id(each) in bridge]
                group["params"] = [each for each in group["params"] if id(each) not in bridge]
                if own:
                    optimizer.add_param_group({**group, "params": own, "lr": rate, "bridge": True})
        return optimizer

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Validate; `eval_loss` per token and `eval_cider_d`. The best model so far goes to `OUT/best`."""
        dataset = self.eval_dataset
        assert isinstance(dataset, CaptionDataset)
        validation, model = self.settings.validation, self.captioner
        training = model.training
        model.eval()
        # Where weights are shared out, a forward pass needs all ranks: then each validates every clip.
        whole = self.is_sharded
        mine = range(len(dataset)) if whole else self._share(len(dataset))
        with self.accelerator.autocast(), self._root_gathered():
            found = validate_clips(
                model,
                dataset,
                mine,
                captioned=validation.max_clips,
                num_beams=validation.num_beams,
                batch_size=validation.batch_size,
            )
        model.train(training)
        scores = summarize(found if whole else gather_object(found), dataset.clips)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self._keep_best(scores)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @property
    def captioner(self) -> CaptionModel:
        """The model without what accelerate put around it."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def is_sharded(self) -> bool:
        """Whether each rank holds a part of the weights only (FSDP, ZeRO-3)."""
        plugin = getattr(self.accelerator.state, "deepspeed_plugin", None)
        return self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)

    def save_captioner(self, folder: Path) -> None:
        """Write the model; to be called by all ranks."""
        state = self.accelerator.get_state_dict(self.model_wrapped) if self.is_sharded else None
        if self.is_world_process_zero():
            self.captioner.save_pretrained(folder, state_dict=state)

    def _share(self, count: int) -> range:
        return range(self.args.process_index, count, self.args.world_size)

    @contextmanager
    def _root_gathered(self) -> Iterator[None]:
        """FSDP gathers a module's weights before its `forward`; validation calls the root's other methods."""
        root = self.captioner
        if isinstance(root, FSDPModule):
            root.unshard()
        yield
        if isinstance(root, FSDPModule):
            root.reshard()

    def _keep_best(self, scores: dict[str, float]) -> None:
        record = self.best_folder / "validation.json"
        best = json.loads(record.read_text()) if record.is_file() else None
        metric = self.settings.validation.metric
        sign = -1 if metric == "loss" else 1
        better = [best is None or sign * scores[metric] > sign * best[metric]]
        if broadcast_object_list(better)[0]:  # one rank decides for all
            self.save_captioner(self.best_folder)
            if self.is_world_process_zero():
                write_json(record, scores | {"step": self.state.global_step})

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """What was trained alone: Trainer would write the decoder, too."""
        folder = Path(output_dir or str(self.args.output_dir))
        self.captioner.save_pretrained(folder, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: `train` has done it before the weights are shared out among ranks."""


class MetricsFile(TrainerCallback):
    """Writes what is logged to a JSON Lines file, each time an object."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Drop what a killed run logged after the checkpoint from which this one goes on."""
        if state.is_world_process_zero and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["step"] <= state.global_step]
            self.path.write_text("".join(kept), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append a line."""
        if state.is_world_process_zero and logs:
            row = {"step": state.global_step} | {k: v for k, v in logs.items() if isinstance(v, int | float)}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


class SaveOnInterrupt(TrainerCallback):
    """The first Ctrl-C or SIGTERM ends the running update, saves, and stops; the next ends at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._before: dict[int, Any] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Listen, where a signal can be listened to."""
        try:
            self._before = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread
            self._before = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop when any rank was asked to: all ranks after the same update, for saving needs all."""
        if args.world_size > 1:
            flag = torch.tensor(float(self.interrupted), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.interrupted = bool(flag)
        if self.interrupted:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Signals mean what they meant before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *_: Any) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: Trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def total_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Parameters of a module, or those of them that learn."""
    return sum(each.numel() for each in module.parameters() if each.requires_grad or not trained)
