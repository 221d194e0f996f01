"""The questions that TRL's GRPO trainer draws from, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datasets import Dataset
from trl.trainer.utils import RepeatSampler

from r1_aqa.data.questions import Question
from r1_aqa.models.prompt import format_target
from r1_aqa.trainers.curriculum import easy_first


def training_rows(questions: Sequence[Question], texts: Sequence[str]) -> Dataset:
    """Return the data set that TRL draws from: `prompt`, and the columns that reward functions are given.

    Raises:
        ValueError: a question has no answer.
    """
    for question in questions:
        if question.answer is None:
            raise ValueError(f"question {question.id} has no answer; training needs one")
    return Dataset.from_dict(
        {
            "prompt": list(texts),
            "row": list(range(len(texts))),
            "question_id": [question.id for question in questions],
            "choices": [list(question.choices) for question in questions],
            "answer": [question.answer for question in questions],
            "solution": [format_target(question.answer or "") for question in questions],
        }
    )


class EpochSampler(RepeatSampler):
    """TRL's order of questions, drawn anew from the epoch's number, or the easiest first.

    TRL's own goes on with one generator, so that a training resumed in a later epoch would see the first
    epoch's order again.

    Attributes:
        easy: how easy each row is, for a curriculum; None: shuffled.
        epoch: the number of the epoch.
    """

    easy: Sequence[float] | None = None
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Seed the order of an epoch; Trainer calls this before each."""
        self.epoch = epoch
        if self.easy is None:
            self.generator.manual_seed((self.seed or 0) + epoch)

    def __iter__(self) -> Iterator[int]:
        if self.easy is None:
            yield from super().__iter__()
            return
        order = easy_first(self.easy, seed=self.seed or 0, epoch=self.epoch, multiple=self.batch_size)
        self.shuffle = False  # TRL then repeats places of our order
        yield from (order[place] for place in super().__iter__())
