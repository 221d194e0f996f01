"""Train audio LLMs by GRPO: TRL's trainer with the smallest subclass that hears.

TRL knows text and images. Given the plain tokenizer it takes its text path, on which a prompt is a string;
the row number of a question travels with every rollout (`row`), and wherever TRL would run the model on
tokens alone, this class finds the question's audio by it:

* `_tokenize_prompts`: ids with as many audio tokens as the audio becomes;
* `_generate_single_turn`: rollouts that share the reading of their prompt;
* `_get_per_token_logps_and_entropies`: log-probabilities under policy, old policy and reference;
* `_generate_and_score_completions`, `_compute_loss`, `_prepare_inputs`: carry the row numbers.

Plain TRL 1.16 on such a model either crashes or trains on text alone without a word (see the package's
README), and the published trainer scored rollouts with another prompt's audio whenever a device had more
than one prompt.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from r1_aqa.config.train import GRPOTrainConfig
from r1_aqa.models.audio_llm import AudioLLM, unwrap
from r1_aqa.models.chat import pad_left
from r1_aqa.models.generation import end_tokens
from r1_aqa.models.log_probs import Prompts, score_completions
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.rewards.columns import reward_columns
from r1_aqa.trainers.ahead import SoundsAhead
from r1_aqa.trainers.curriculum import easiness
from r1_aqa.trainers.dataset import EpochSampler, training_rows
from r1_aqa.trainers.finite import WatchedRewards
from r1_aqa.trainers.resumable import ResumableTrainer
from r1_aqa.trainers.rollouts import cut_at_end, flat_groups, nothing_to_learn, replace_groups, scatter
from r1_aqa.trainers.told import IDLE, SAID_EVERY, say_idle

_GIVES_AUX_LOSS = (
    "compute_aux_loss" in inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
)
"""Whether this TRL wants a third value, the balance of a mixture's experts, with the log-probabilities."""

Batch = dict[str, Any]


class AudioGRPOTrainer(ResumableTrainer, GRPOTrainer):
    """Group relative policy optimization of an audio LLM.

    Args:
        llm: the model; its `model` is replaced by what TRL makes of it when `peft_config` adds adapters.
        prompts: the training questions.
        rewards: functions as `r1_aqa.rewards.rewards` has them.
        config: settings beyond TRL's.
        args: settings of TRL, see `grpo_arguments`.
        on_rollouts: called on the main process with the step and its rollouts as dictionaries.
        **kwargs: `peft_config`, `callbacks`, `optimizers` of TRL.
    """

    def __init__(
        self,
        llm: AudioLLM,
        prompts: EncodedPrompts,
        *,
        rewards: Sequence[Callable[..., list[float]]],
        config: GRPOTrainConfig,
        args: GRPOConfig,
        on_rollouts: Callable[[int, list[dict[str, Any]]], object] | None = None,
        **kwargs: Any,
    ) -> None:
        self.llm, self.prompts, self.config, self.on_rollouts = llm, prompts, config, on_rollouts
        self._group = config.num_rollouts
        self._columns = reward_columns(prompts.questions)
        self._rows: list[int] = []
        self._scored: list[dict[str, Any]] = []
        self._passes: list[Batch] = []  # the batch of an update, split into forward passes
        self._watched = WatchedRewards(rewards)
        self._idle = 0  # samplings that taught nothing
        super().__init__(
            model=llm.model,  # type: ignore[arg-type]
            reward_funcs=self._watched.functions,  # type: ignore[arg-type]
            args=args,
            train_dataset=training_rows(prompts.questions, prompts.texts),
            processing_class=llm.tokenizer,
            **kwargs,
        )
        self.ahead = SoundsAhead(prompts)
        # Is given the next batch while this one is learned from.
        self.data_collator = self._coming  # type: ignore[assignment]
        llm.model = unwrap(self.model)  # type: ignore[arg-type]
        self.ends = end_tokens(llm.model, llm.tokenizer)
        if not self.use_vllm:
            self.generation_config.eos_token_id = self.ends
            # A sampled audio token would be taken for a place that the audio belongs to.
            self.generation_config.suppress_tokens = [llm.audio_token_id]
        # A shared prefix needs a mask of its own, which flash attention does not take, and plain positions.
        flash = "flash" in str(getattr(llm.model.config, "_attn_implementation", ""))
        self._share_prefix = config.share and llm.family.plain_positions and not flash

    def give_column(self, name: str, values: Sequence[Any]) -> None:
        """Give reward functions a further column, row by row."""
        for columns, value in zip(self._columns, values, strict=True):
            columns[name] = value

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler: Any = super()._get_train_sampler(dataset)
        sampler.__class__ = EpochSampler
        if self.config.data.curriculum == "easy_first":
            sampler.easy = easiness(self.prompts.questions)
        return sampler

    def _coming(self, examples: list[Batch]) -> list[Batch]:
        self.ahead.begin([example["row"] for example in examples])
        return examples

    # -- rollouts ---------------------------------------------------------------------------------------

    def _tokenize_prompts(self, prompts: list) -> tuple[list[list[int]], None, dict]:
        return [self.prompts.input_ids(row) for row in self._rows], None, {}

    def _generate_single_turn(self, prompt_ids: list, *_: Any, **__: Any) -> tuple[list[list[int]], Any]:
        if self.use_vllm:
            from r1_aqa.trainers.vllm import sample

            return sample(self, self._rows)
        self.model_wrapped.eval()
        with self.whole_weights() as model, self.accelerator.autocast():
            ids = self._roll_out(replace(self.llm, model=model))
        self.model_wrapped.train()
        return [cut_at_end(row, self.ends) for row in ids.tolist()], None

    @torch.no_grad()
    def _roll_out(self, llm: AudioLLM) -> Tensor:
        """Return the ids of a rollout for each of the current rows, `(rows, length)`."""
        rows, distinct = self._rows, list(dict.fromkeys(self._rows))
        share = self.config.share and len(rows) % len(distinct) == 0
        group = len(rows) // len(distinct) if share else 1
        # Only whole groups side by side can share the reading of their prompt.
        share = share and rows == [row for row in distinct for _ in range(group)]
        wanted, group = (distinct, group) if share else (rows, 1)
        if self.prompts.frozen and self.config.share:
            embeddings, mask = pad_left(self.prompts.embeddings(wanted))
        else:
            inputs = {k: v.to(self.accelerator.device) for k, v in self.prompts.inputs(wanted).items()}
            embeddings, mask = llm.embed_prompts(inputs), inputs["attention_mask"]
        return llm.generate(
            embeddings,
            mask,
            num_rollouts=group,
            generation_config=self.generation_config,
        )

    # -- log-probabilities ------------------------------------------------------------------------------

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_: Any,
    ) -> tuple[Tensor | None, ...]:
        ids, mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        # Rows without a token that counts are not run, but for one: wrapped models must be called. Where each
        # call gathers weights, all processes must call equally often.
        live = torch.arange(len(ids), device=ids.device) if self.is_sharded else mask.any(1).nonzero()[:, 0]
        live = live if len(live) else torch.zeros(1, dtype=torch.long, device=ids.device)
        log_probs, bits = [], []
        # As many rows at once as TRL says, for the memory of what the layers keep.
        for chunk in live.split(batch_size or len(ids)):
            rows = [self._rows[i] for i in chunk.tolist()]
            with self.accelerator.autocast():
                found = self._score(model, rows, ids[chunk], mask[chunk], with_entropies=compute_entropy)
            log_probs.append(found[0])
            bits += [found[1]] if found[1] is not None else []
        values = [scatter(log_probs, live, ids), scatter(bits, live, ids) if bits else None]
        return (*values, None) if _GIVES_AUX_LOSS else tuple(values)

    def _score(
        self, model: nn.Module, rows: list[int], ids: Tensor, mask: Tensor, *, with_entropies: bool
    ) -> tuple[Tensor, Tensor | None]:
        llm = replace(self.llm, model=model)  # the policy as it is wrapped, or the reference
        if self.config.share:
            prompts, index = self.prompts.distinct(rows, ids.device, as_features=self.is_sharded)
        else:
            # As plain TRL would: every rollout with features of its own, through the encoder.
            inputs = {k: v.to(ids.device) for k, v in self.prompts.inputs(rows).items()}
            prompts, index = Prompts(inputs=inputs), torch.arange(len(rows), device=ids.device)
        return score_completions(
            llm,
            prompts,
            index,
            ids,
            mask,
            temperature=self.temperature,
            share_prefix=self._share_prefix,
            with_entropies=with_entropies,
            learn_entropies=getattr(self, "_entropy_bonus_enabled", False),  # trl.entropy_coef
        )

    # -- batches ----------------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Do as TRL does, but keep the rollouts of a question together: it is read once for all of them."""
        # TRL would shuffle the rollouts of a step, and split groups over passes.
        if not self.llm.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.config.gradient_accumulation_steps * self.config.minibatches
        # Once for all passes of all updates that learn from these rollouts.
        if self._step % (steps * self.config.updates_per_rollout) == 0 or not self._passes:
            scored = self._generate_and_score_completions(generation_batch)
            self._passes = split_tensor_dict(scored, steps)
        return self._passes[self._step % steps]

    def _generate_and_score_completions(self, inputs: list[Batch]) -> Batch:
        self.ahead.take([example["row"] for example in inputs])
        inputs = [self._readable(example) for example in inputs]
        output = self._score_rollouts(inputs)
        if self.config.zero_advantage == "resample":
            output = self._resample(output, taken={example["row"] for example in inputs})
        self._note_idle(output)
        if self.config.zero_advantage == "keep":
            return output
        dull = flat_groups(output["advantages"], self._group)
        # Without a token that counts a group takes no pass and adds nothing to the loss.
        self._metrics["train"]["dropped_groups"].append(dull.float().mean().item())
        output["completion_mask"][dull.repeat_interleave(self._group)] = 0
        return self._count_tokens(output)

    def _note_idle(self, output: Batch) -> None:
        """Log whether there is nothing to learn from the rollouts of all processes, and say so at times."""
        advantages, mask = output["advantages"], output["completion_mask"].any(1)
        gather = self.accelerator.gather
        why = nothing_to_learn(gather(advantages), gather(mask)[:, None])
        for reason in IDLE:
            self._metrics["train"][f"nothing_to_learn/{reason}"].append(float(reason == why))
        if why and self.accelerator.is_main_process:
            self._idle += 1
            if self._idle % SAID_EVERY == 1:
                say_idle(self.config, self.state.global_step + 1, why, self._scored)

    def _readable(self, example: Batch) -> Batch:
        """Return the question, or another one in place of one whose audio cannot be read."""
        row = self.prompts.readable_row(example["row"])
        return example if row == example["row"] else self.train_dataset[row]  # type: ignore[index]

    def _score_rollouts(self, inputs: list[Batch]) -> Batch:
        self._rows = [example["row"] for example in inputs]
        output = super()._generate_and_score_completions(inputs)
        output["row"] = torch.tensor(self._rows, device=output["advantages"].device)
        self._log_rollouts(output["advantages"].tolist())
        return output

    def _resample(self, output: Batch, taken: set[int]) -> Batch:
        """Replace groups without a difference in reward by other questions (dynamic sampling, DAPO)."""
        group = self._group
        for attempt in range(self.config.resample_rounds):
            dull = flat_groups(output["advantages"], group).nonzero()[:, 0]
            # All processes sample the same number, or none does, for they score together.
            count = int(self._gathered(len(dull)).max())
            fresh = self._draw(count, attempt, taken)
            if not count or int(self._gathered(len(fresh)).min()) < count:
                break
            taken |= set(fresh)
            examples = [self.train_dataset[row] for row in fresh for _ in range(group)]  # type: ignore[index]
            found = self._score_rollouts(examples)
            output = replace_groups(output, dull, found, group, self.llm.tokenizer.pad_token_id)
        return output

    def _gathered(self, number: int) -> Tensor:
        """Return the number of each process, `(processes,)`."""
        return self.accelerator.gather(torch.tensor([number], device=self.accelerator.device))

    def _draw(self, count: int, attempt: int, taken: set[int]) -> list[int]:
        """Return rows of questions that are not in this step; the same after a resume."""
        place = [self.args.seed, self.state.global_step, self._step, attempt, self.accelerator.process_index]
        order = np.random.default_rng(place).permutation(len(self.prompts.questions)).tolist()
        rows = (row for row in order if row not in taken and self.prompts.is_readable(row))
        return list(islice(rows, count))

    def _count_tokens(self, output: Batch) -> Batch:
        total = self.accelerator.gather(output["completion_mask"].sum()).sum()
        return output | {"num_items_in_batch": total}

    def _compute_loss(self, model: nn.Module, inputs: Batch) -> Tensor:
        self._rows = inputs["row"].tolist()
        return self.note_loss(self._rows, super()._compute_loss(model, inputs))

    # -- log --------------------------------------------------------------------------------------------

    def _calculate_rewards(
        self, inputs: list[Batch], prompts: list, completions: list, completion_ids: list
    ) -> Tensor:
        given = [example | self._columns[example["row"]] for example in inputs]
        rewards = super()._calculate_rewards(given, prompts, completions, completion_ids)
        self._watched.raise_faults(
            rewards, self.state.global_step + 1, [example["question_id"] for example in inputs]
        )
        # TRL gathers the rewards of all processes; these are the own ones.
        start = self.accelerator.process_index * len(prompts)
        own = rewards[start : start + len(prompts)].tolist()
        weights = self.reward_weights.cpu().numpy()
        self._scored = [
            {
                "question_id": example["question_id"],
                "prompt": example["prompt"],
                "choices": example["choices"],
                "answer": example["answer"],
                "completion": completion,
                "completion_length": len(ids),
                # None where a reward does not apply, as its function returned it.
                "rewards": {
                    name: None if math.isnan(value) else value
                    for name, value in zip(self.reward_func_names, values, strict=True)
                },
                "reward": float(np.nansum(np.array(values) * weights)),
            }
            for example, completion, ids, values in zip(inputs, completions, completion_ids, own, strict=True)
        ]
        return rewards

    def _log_rollouts(self, advantages: list[float]) -> None:
        if self.on_rollouts is None:
            return
        rows = [row | {"advantage": a} for row, a in zip(self._scored, advantages, strict=True)]
        rows = gather_object(rows)  # takes part in every process, writes in one
        if self.accelerator.is_main_process:
            self.on_rollouts(self.state.global_step + 1, rows)
