"""The updates of a fluency detector, from the beginning or from where a killed run was.

OUT/checkpoint/     weights that are trained, state of the optimizer, number of updates; gone at the end
OUT/log.jsonl       losses
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from audio_common.strict_json import read_object, read_records
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from aac_llm.config.fluency import FluencyConfig
from aac_llm.files import append_line, recover_folder, replace_folder, to_json, write_atomically, write_json
from aac_llm.metrics.fluency import FluencyDetector
from aac_llm.output import Progress
from aac_llm.trainers.finite import TrainingError
from aac_llm.trainers.fluency_examples import Example, draw_examples, draw_scored

CHECKPOINT, LOG = "checkpoint", "log.jsonl"
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.pt", "state.json"
PASS = 8
"""Texts in a forward pass."""
CLIP = 0.01
"""Opinions nearer to 0 or 1 count as this far from it: their log-odds have no end."""
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
SCORED_SHARE = 8
"""To so many texts of an update, one with another detector's opinion is added."""


class FluencyTrainer:
    """Trains a detector in place.

    Args:
        config: settings.
        detector: the detector, on its device.
        captions: of people, to train on.
        scored: captions with another detector's opinion.
    """

    def __init__(
        self,
        config: FluencyConfig,
        detector: FluencyDetector,
        captions: Sequence[str],
        scored: Sequence[tuple[str, float]] = (),
    ) -> None:
        self.config = config
        self.detector = detector
        self.captions = captions
        self.scored = scored
        # What another detector says of most captions, which have no error, ours should say of people's:
        # on another scale, the two would contradict each other.
        self.fluent = statistics.median(value for _, value in scored) if scored else 0.0
        self.folder = config.out / CHECKPOINT
        trained = [weight for weight in detector.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=config.peak_learning_rate, weight_decay=WEIGHT_DECAY)
        self._losses: list[Tensor] = []

    def train(self) -> None:
        """Make the updates that are left.

        Raises:
            TrainingError: a loss is not finite.
        """
        start = self._resume()
        self.detector.train()
        with Progress("Training", self.config.steps, start=start) as progress:
            for step in range(start, self.config.steps):
                loss = self._update(step)
                self._log(step + 1, loss)
                if (step + 1) % self.config.save_steps == 0 and step + 1 < self.config.steps:
                    replace_folder(self.folder, partial(self._save, step=step + 1))
                progress.advance()
        self.detector.eval()

    def _update(self, step: int) -> Tensor:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.peak_learning_rate * rate_at(step, config.steps, config.warmup_ratio)
        examples = draw_examples(self.captions, step, config.batch_size, config.seed)
        if self.scored:
            examples += draw_scored(self.scored, step, max(1, len(examples) // SCORED_SHARE), config.seed)
        # Dropout of an update depends on its number alone, so that it is the same after a kill.
        torch.manual_seed(config.seed * 1_000_003 + step)
        # Like lengths together: less padding.
        examples.sort(key=lambda example: len(example.text))
        logits = torch.cat(
            [
                self.detector(
                    self.detector.tokenize([example.text for example in examples[first : first + PASS]])
                )
                for first in range(0, len(examples), PASS)
            ]
        )
        loss = detection_loss(logits, *targets(examples, self.detector.kinds, self.fluent, logits.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.detector.parameters(), MAX_GRAD_NORM)
        if not (torch.isfinite(loss) & torch.isfinite(norm)):
            raise TrainingError(
                f"the loss or the gradient of update {step + 1} is not finite; lower learning_rate (it is "
                f"{config.peak_learning_rate:g}) and give another --out"
            )
        self.optimizer.step()
        return loss.detach()

    def _log(self, step: int, loss: Tensor) -> None:
        self._losses.append(loss)
        if step % self.config.logging_steps == 0 or step == self.config.steps:
            mean = float(torch.stack(self._losses).mean())
            append_line(self.config.out / LOG, {"step": step, "loss": mean})
            self._losses.clear()

    def _trained(self) -> dict[str, Tensor]:
        named = self.detector.named_parameters()
        return {name: weight.detach() for name, weight in named if weight.requires_grad}

    def _save(self, folder: Path, step: int) -> None:
        save_file(
            {name: weight.cpu().contiguous() for name, weight in self._trained().items()}, folder / WEIGHTS
        )
        torch.save(self.optimizer.state_dict(), folder / OPTIMIZER)
        losses = [float(loss) for loss in self._losses]
        write_json(folder / STATE, {"step": step, "losses": losses})

    def _resume(self) -> int:
        """Take over the checkpoint, if there is one, and return the number of updates made."""
        recover_folder(self.folder)
        step = 0
        if (self.folder / STATE).is_file():
            state = read_object(self.folder / STATE)
            step = int(state["step"])
            device = self.detector.clf.weight.device
            own: dict[str, Any] = dict(self.detector.named_parameters())
            with torch.no_grad():
                for name, weight in load_file(self.folder / WEIGHTS).items():
                    own[name].copy_(weight)
            self.optimizer.load_state_dict(
                torch.load(self.folder / OPTIMIZER, map_location=device, weights_only=True)
            )
            self._losses = [torch.tensor(loss, device=device) for loss in state["losses"]]
        # Lines of updates that are made again would stand twice.
        kept = [row for row in read_records(self.config.out / LOG) if row["step"] <= step]
        write_atomically(self.config.out / LOG, b"".join(to_json(row) + b"\n" for row in kept))
        return step


def rate_at(step: int, steps: int, warmup_ratio: float) -> float:
    """Return the share of the peak learning rate: up along a line, then down to 0 along another.

    >>> [rate_at(step, 4, 0.5) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup = round(warmup_ratio * steps)
    return (step + 1) / warmup if step < warmup else (steps - step) / max(1, steps - warmup)


def targets(
    examples: Sequence[Example], kinds: Sequence[str], fluent: float, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """Return what the outputs should be, (examples, kinds + 1), the last "any error"; and who judged.

    Args:
        examples: texts of an update.
        kinds: names of the other outputs.
        fluent: what the last output should be for captions as people wrote them.
        device: of the results.

    Returns:
        The probabilities, and (examples,) whether another detector gave them: of these the kinds are not
        known.
    """
    wanted = [
        [0.0] * len(kinds) + [example.opinion]
        if example.opinion is not None
        else [float(kind in example.kinds) for kind in kinds] + [1.0 if example.kinds else fluent]
        for example in examples
    ]
    is_opinion = [example.opinion is not None for example in examples]
    return torch.tensor(wanted, device=device), torch.tensor(is_opinion, device=device)


def detection_loss(logits: Tensor, wanted: Tensor, is_opinion: Tensor) -> Tensor:
    """Return the loss of an update: of any error and, weighing as much, of its kinds.

    Captions by people and errors by rules count by their cross entropy. Opinions of another detector count by
    the squared difference of log-odds: they lie close together, and cross entropy would hardly tell them
    apart.

    Args:
        logits: (examples, kinds + 1), the last "any error".
        wanted: (examples, kinds + 1) probabilities.
        is_opinion: (examples,) whether another detector gave the probability; there are others, too.
    """
    losses = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    apart = (logits[:, -1] - torch.logit(wanted[:, -1], eps=CLIP)).square()
    of_error = torch.where(is_opinion, apart, losses[:, -1]).mean()
    return of_error + losses[~is_opinion, :-1].mean()
