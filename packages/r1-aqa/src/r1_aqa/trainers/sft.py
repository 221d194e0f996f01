"""Fine-tune on right answers, the paper's baseline: TRL's trainer with audio.

Plain TRL trains an audio model on its text alone, and on transformers 5 Qwen2-Audio's loss under gradient
accumulation is the sum over passes in place of the mean (its forward takes any keyword, so Trainer believes
that it divides by the number of tokens). Here the loss is ours: the cross entropy of all answer tokens of an
update, divided by their number, whatever the split into passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from trl import SFTConfig, SFTTrainer

from r1_aqa.config.model import PromptStyle
from r1_aqa.config.train import TrainConfig
from r1_aqa.models.audio_llm import AudioLLM, unwrap
from r1_aqa.models.log_probs import completion_logits
from r1_aqa.models.packing import packed_logits
from r1_aqa.models.prompt import format_target
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.curriculum import CurriculumSampler
from r1_aqa.trainers.resumable import ResumableTrainer
from r1_aqa.trainers.trl_settings import trl_values

IGNORED = -100
"""Label of positions that are not taught."""


class AudioSFTTrainer(ResumableTrainer, SFTTrainer):
    """Fine-tuning of an audio LLM on the answers of questions.

    Args:
        llm: the model, prepared for training.
        prompts: the training questions.
        targets: ids of the answers, with the end of the turn.
        args: settings of TRL.
        easy: how easy each question is, for a curriculum; None: shuffled.
        packing: whether short questions share a row; the loss is the same.
        **kwargs: `callbacks`, `optimizers`, `eval_dataset` of TRL.

    Raises:
        ValueError: this model cannot be trained on packed rows.
    """

    def __init__(
        self,
        llm: AudioLLM,
        prompts: EncodedPrompts,
        targets: Sequence[Sequence[int]],
        *,
        args: SFTConfig,
        easy: Sequence[float] | None = None,
        packing: bool = False,
        **kwargs: Any,
    ) -> None:
        self.llm, self.prompts, self.easy = llm, prompts, easy
        if packing:
            require_packable(llm)
        self._logits = packed_logits if packing else completion_logits
        # The data set is rows; TRL would tokenize texts.
        args.dataset_kwargs = {"skip_prepare_dataset": True}
        args.remove_unused_columns = False
        super().__init__(
            model=llm.model,  # type: ignore[arg-type]
            args=args,
            train_dataset=Dataset.from_dict(
                {"row": list(range(len(targets))), "target": list(map(list, targets))}
            ),
            data_collator=self._collate,
            processing_class=llm.tokenizer,
            **kwargs,
        )
        llm.model = unwrap(self.model)  # type: ignore[arg-type]
        # Trainer then counts the answers' tokens of a whole update and leaves the division to us.
        self.model_accepts_loss_kwargs = True

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["row", "target", "labels"]  # type: ignore[assignment]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.easy is None:
            return super()._get_train_sampler(train_dataset)
        return CurriculumSampler(self.easy, seed=self.args.seed)

    def _collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch, with other questions in place of those whose audio cannot be read."""
        return collate_targets([self._readable(example) for example in examples])

    def _readable(self, example: dict[str, Any]) -> dict[str, Any]:
        row = self.prompts.readable_row(example["row"])
        return example if row == example["row"] else self.train_dataset[row]  # type: ignore[index]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the cross entropy of the answers' tokens: their sum by their number in the whole update."""
        labels = inputs["labels"][:, 1:]  # see `collate_targets`
        rows = inputs["row"].tolist()
        logits = self._answer_logits(model, rows, labels)
        total = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        count = num_items_in_batch if num_items_in_batch is not None else (labels != IGNORED).sum()
        loss = total / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages what should be added up
        self.note_loss(rows, loss)
        return (loss, {"logits": logits}) if return_outputs else loss

    def _answer_logits(self, model: nn.Module, rows: list[int], labels: Tensor) -> Tensor:
        prompts, index = self.prompts.distinct(rows, labels.device, as_features=self.is_sharded)
        mask = (labels != IGNORED).long()
        # -100 is no token; masked positions may hold any.
        ids = labels.masked_fill(labels == IGNORED, self.llm.tokenizer.pad_token_id)
        return self._logits(replace(self.llm, model=model), prompts, index, ids, mask)


def sft_arguments(config: TrainConfig, **trainer_arguments: Any) -> SFTConfig:
    """Return the settings in TRL's form.

    Raises:
        ValueError: `config.trl` has what TRL does not have, or what does not go with the other settings.
    """
    return SFTConfig(**trainer_arguments, **sft_settings(config), **trl_values(config))


def sft_settings(config: TrainConfig) -> dict[str, Any]:
    """Return what settings of ours decide in TRL's fine-tuning, by TRL's names."""
    return {
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
    }


def require_packable(llm: AudioLLM) -> None:
    """Refuse models whose attention or positions do not allow several questions in a row.

    Raises:
        ValueError: the message says why.
    """
    if not llm.family.plain_positions:
        raise ValueError(f"packing: positions of {llm.family.model_class} are no plain count; leave it off")
    if "flash" in str(getattr(llm.model.config, "_attn_implementation", "")):
        raise ValueError("packing needs a mask that flash attention does not take; give model.attention sdpa")


def make_sft_trainer(
    llm: AudioLLM, prompts: EncodedPrompts, *, prompt: PromptStyle, args: SFTConfig, **kwargs: Any
) -> AudioSFTTrainer:
    """Return a trainer on questions with answers; `llm.model` is already set up for training.

    Raises:
        ValueError: a question has no answer.
    """
    for question in prompts.questions:
        if question.answer is None:
            raise ValueError(f"question {question.id} has no answer; training needs one")
    targets = answer_ids(llm.tokenizer, [format_target(q.answer or "", prompt) for q in prompts.questions])
    return AudioSFTTrainer(llm, prompts, targets, args=args, **kwargs)


def answer_ids(tokenizer: Any, targets: Sequence[str]) -> list[list[int]]:
    """Return the ids of the answers and then the end of the turn, without which a model would never stop."""
    ids = tokenizer(list(targets), add_special_tokens=False)["input_ids"]
    return [[*answer, tokenizer.eos_token_id] for answer in ids]


def collate_targets(examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Return `row (batch,)` and `labels (batch, 1 + longest answer)`, padded on the right by -100.

    Padding is by number, not by the pad token: for some tokenizers that is the end of the turn. The first
    column is -100, for transformers 5 does not count it: a model that shifts labels drops it.
    """
    longest = max(len(example["target"]) for example in examples)
    labels = [
        [IGNORED, *example["target"], *[IGNORED] * (longest - len(example["target"]))] for example in examples
    ]
    return {"row": torch.tensor([example["row"] for example in examples]), "labels": torch.tensor(labels)}
