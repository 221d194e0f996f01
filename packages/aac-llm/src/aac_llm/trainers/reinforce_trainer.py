"""transformers' Trainer for a captioning model that learns from rewards.

A forward pass draws captions of its clips, rewards them, and takes the loss of `grpo.py` in place of the
references' cross-entropy. All else (order of clips, checkpoints, validation, `best`, the stop before an
update that is not finite) is `CaptionTrainer`'s. The reference of the KL term is the model at the start: only
the weights that are trained are kept, and put in the place of the current ones while it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from aac_llm.config.caption import GenerationConfig
from aac_llm.config.reinforce import ReinforceConfig
from aac_llm.config.train import TrainConfig
from aac_llm.data.dataset import CaptionDataset, News
from aac_llm.data.manifest import Clip
from aac_llm.metrics.ngrams import Floats
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.generation import end_tokens
from aac_llm.models.inference import longest_seconds
from aac_llm.trainers.finite import TrainingError, name_some
from aac_llm.trainers.grpo import group_advantages, grpo_loss, kl_divergence, token_log_probs
from aac_llm.trainers.rewards import make_rewards, total_reward
from aac_llm.trainers.rollouts import Rollouts, be_still, roll_out, seeded, weights
from aac_llm.trainers.trainer import CaptionTrainer
from aac_llm.trainers.validation import ValidationClip


class ReinforceTrainer(CaptionTrainer):
    """Trains a `CaptionModel` by rewards; arguments are those of `CaptionTrainer`.

    Raises:
        ValueError: captions do not fit into the decoder's context, or the weights are shared out (FSDP).
    """

    settings: ReinforceConfig

    def __init__(
        self,
        settings: TrainConfig,
        model: CaptionModel,
        args: TrainingArguments,
        train_set: CaptionDataset,
        validation_set: CaptionDataset | None,
        callbacks: list[TrainerCallback],
    ) -> None:
        assert isinstance(settings, ReinforceConfig)
        check_room(model, train_set, settings.max_new_tokens)
        super().__init__(settings, model, args, train_set, validation_set, callbacks)
        if self.is_sharded:
            raise ValueError(
                "reinforce needs whole weights on each device, and FSDP or ZeRO-3 shares them out; start it "
                "without, or with data parallelism alone"
            )
        # Each pass has a mean of its own; Trainer then averages the passes of an update.
        self.model_accepts_loss_kwargs = False
        self.rewards = make_rewards(settings, train_set.clips, str(args.device))
        self._start = [one.detach().clone() for one in model.trainable_parameters()] if settings.beta else []
        self.names = ("reward", "reward_std", *(f"reward_{name}" for name in self.rewards))
        self.names += ("flat_groups", "kl", "tokens", "unfinished")
        self._sums = torch.zeros(len(self.names) + 1, dtype=torch.float64)  # the last one counts passes
        self._pass = (-1, 0)  # of which update, and its number in it
        self.add_callback(ValidateAtStart(self))

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Draw captions of the clips, reward them, and return GRPO's loss."""
        assert isinstance(self.train_dataset, CaptionDataset)
        news: News = inputs["news"]
        self.train_dataset.note(news)
        clips = [self.train_dataset.clips[number] for number in news.clips]
        rollouts, greedy = self._draw(inputs)
        found = self._reward(rollouts.texts, clips, self.settings.num_rollouts)
        rewards = torch.from_numpy(total_reward(found, self.settings.weights)).to(self.args.device)
        baseline = None
        if greedy:
            values = total_reward(self._reward(greedy, clips, 1), self.settings.weights)
            baseline = torch.from_numpy(values).to(self.args.device)
        advantages = group_advantages(
            rewards, self.settings.num_rollouts, self.settings.scale_rewards, baseline
        )
        be_still(self.captioner)
        log_probs = self._log_probs(model, inputs, rollouts)
        reference = self._reference_log_probs(inputs, rollouts)
        self._note(found, rewards, rollouts, log_probs, reference)
        return grpo_loss(
            log_probs,
            reference,
            advantages.float(),
            rollouts.mask,
            beta=self.settings.beta,
            loss=self.settings.loss,
            max_length=self.settings.max_new_tokens,
        )

    def _draw(self, inputs: dict[str, Any]) -> tuple[Rollouts, list[str]]:
        """Return captions that were drawn, and the most probable ones if they are the baseline."""
        settings, model, step = self.settings, self.captioner, self.state.global_step
        self._pass = (step, self._pass[1] + 1 if self._pass[0] == step else 0)
        model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            acoustic = model.encode_audio(inputs["waveforms"], inputs["lengths"])
            with seeded(settings.seed, *self._pass, self.args.process_index):
                rollouts = roll_out(
                    model,
                    acoustic,
                    num_rollouts=settings.num_rollouts,
                    max_new_tokens=settings.max_new_tokens,
                    temperature=settings.temperature,
                )
            if settings.baseline == "group":
                return rollouts, []
            best = model.generate(
                acoustic=acoustic,
                config=GenerationConfig(
                    num_beams=1, max_new_tokens=settings.max_new_tokens, min_new_tokens=0
                ),
            )
        return rollouts, [candidates[0].text for candidates in best]

    def _reward(self, texts: Sequence[str], clips: Sequence[Clip], per_clip: int) -> dict[str, Floats]:
        """Return each reward of captions, `(captions,)`, `per_clip` of each clip side by side.

        Raises:
            TrainingError: one is not finite; it names the clips.
        """
        owners = [clip for clip in clips for _ in range(per_clip)]
        references = [clip.captions for clip in owners]
        found = {name: reward(texts, references) for name, reward in self.rewards.items()}
        for name, values in found.items():
            if not np.isfinite(values).all():
                bad = [owners[place].id for place in np.flatnonzero(~np.isfinite(values))]
                raise TrainingError(
                    f"the reward {name} of update {self.state.global_step + 1} is not finite, with the clips "
                    f"{name_some(bad)}; no weights have taken this update. The same command goes on from the "
                    "last checkpoint"
                )
        return found

    def _log_probs(self, model: nn.Module, inputs: dict[str, Any], rollouts: Rollouts) -> Tensor:
        """Return the log-probability of each drawn token, `(rollouts, length)`."""
        logits = model(inputs["waveforms"], inputs["lengths"], rollouts.labels).logits
        return token_log_probs(logits, rollouts.labels, self.settings.temperature)

    def _reference_log_probs(self, inputs: dict[str, Any], rollouts: Rollouts) -> Tensor | None:
        if not self.settings.beta:
            return None
        model = self.captioner
        self._start = [one.to(self.args.device) for one in self._start]
        with torch.no_grad(), weights(model.trainable_parameters(), self._start), self.accelerator.autocast():
            return self._log_probs(model, inputs, rollouts)

    # -- log --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _note(
        self,
        found: dict[str, Floats],
        rewards: Tensor,
        rollouts: Rollouts,
        log_probs: Tensor,
        reference: Tensor | None,
    ) -> None:
        """Add a pass's means to those that are logged next."""
        groups, mask = rewards.view(-1, self.settings.num_rollouts), rollouts.mask
        counts = mask.sum(1)
        last = rollouts.labels.take_along_dim(counts[:, None] - 1, 1)[:, 0]
        ends = end_tokens(self.captioner.decoder).to(last.device)
        spread = groups.std(1) if groups.shape[1] > 1 else torch.zeros(len(groups))
        divergence = torch.zeros(1) if reference is None else kl_divergence(log_probs, reference)[mask]
        tokens, unfinished = counts.double(), (~torch.isin(last, ends)).double()
        values = [
            float(values.mean()) for values in (rewards, spread, *map(torch.from_numpy, found.values()))
        ]
        values += [float(one.mean()) for one in ((spread == 0).double(), divergence, tokens, unfinished)]
        self._sums += torch.tensor([*values, 1.0], dtype=torch.float64)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as Trainer does; a line with a loss has the means of rewards, lengths and the like, too."""
        if "loss" in logs:
            sums = self._mean_sums()
            if sums[-1] > 0:
                logs |= dict(zip(self.names, (sums[:-1] / sums[-1]).tolist(), strict=True))
            self._sums = torch.zeros_like(self._sums)
        super().log(logs, *args, **kwargs)

    def kept(self) -> dict[str, Any]:
        """Return what `take_over` goes on with; to be called by all ranks."""
        return super().kept() | {"rewards": self._mean_sums().tolist()}

    def take_over(self, kept: dict[str, Any] | None) -> None:
        """Go on with the losses and rewards that were not logged, and the clips found bad, before a kill."""
        super().take_over(kept)
        if kept is not None:
            self._sums = torch.tensor(kept["rewards"], dtype=torch.float64)

    def _mean_sums(self) -> Tensor:
        # float32 on devices that have no float64 (MPS): gathered only where there are several processes.
        if self.args.world_size == 1:
            return self._sums
        return self.accelerator.gather(self._sums.to(self.args.device)[None]).mean(0).cpu()

    def judge(self, found: Sequence[ValidationClip], clips: Sequence[Clip]) -> dict[str, float]:
        """Return the scores of a validation: those of `train`, and the rewards of the captions."""
        scores = super().judge(found, clips)
        captioned = {one.index: one.caption for one in found if one.caption is not None}
        judges = {name: reward for name, reward in self.rewards.items() if name != "consensus"}
        if captioned and judges:
            references = [clips[index].captions for index in captioned]
            means = {
                name: float(reward(list(captioned.values()), references).mean())
                for name, reward in judges.items()
            }
            weight = dict(zip(self.rewards, self.settings.weights, strict=True))
            scores["reward"] = sum(weight[name] * value for name, value in means.items())
            scores |= {f"reward_{name}": value for name, value in means.items()}
        return scores


class ValidateAtStart(TrainerCallback):
    """Validate before the first update: a model that only became worse is not the best."""

    def __init__(self, trainer: ReinforceTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Validate where nothing was trained yet."""
        if not state.global_step and self.trainer.eval_dataset is not None:
            self.trainer.evaluate()


def check_room(model: CaptionModel, dataset: CaptionDataset, max_new_tokens: int) -> None:
    """Refuse sounds that do not fit into the decoder's context together with a drawn caption.

    Raises:
        ValueError: with what to set.
    """
    longest = max(dataset.durations)
    fits = longest_seconds(model, GenerationConfig(max_new_tokens=max_new_tokens, min_new_tokens=0))
    if longest > fits:
        raise ValueError(
            f"max_new_tokens: with captions of {max_new_tokens} tokens sounds of {fits:g} s fit into the "
            f"decoder's context, and there are some of {longest:.1f} s; lower max_new_tokens or set "
            f"--data.max_seconds {fits:g}"
        )
