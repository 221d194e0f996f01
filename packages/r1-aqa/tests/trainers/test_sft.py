"""Fine-tuning teaches the answer and its end, and nothing else; however it is split or packed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from r1_aqa.config.model import ModelConfig
from r1_aqa.config.sound import SoundConfig
from r1_aqa.config.train import DataConfig, SFTTrainConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.lora import prepare_full
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.sft import (
    IGNORED,
    AudioSFTTrainer,
    answer_ids,
    collate_targets,
    make_sft_trainer,
    require_packable,
)
from r1_aqa.trainers.train import encode, trainer_arguments
from transformers import set_seed
from trl import SFTConfig


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    rng = np.random.default_rng(0)
    answers = ["a dog", "a very long answer about a bell that rings", "a cat and a dog", "rain"]
    found = []
    for number, answer in enumerate(answers):
        soundfile.write(tmp_path / f"{number}.wav", rng.normal(0, 0.1, 16_000 + 9_000 * number), 16_000)
        choices = tuple(sorted(answers))
        path = tmp_path / f"{number}.wav"
        found.append(
            Question(id=str(number), audio=path, question="What is it?", choices=choices, answer=answer)
        )
    return found


def make_trainer(
    folder: Path,
    questions: list[Question],
    out: Path,
    *,
    batch_size: int,
    accumulation: int,
    packing: bool = False,
) -> AudioSFTTrainer:
    model = ModelConfig(dtype="float32", strategy="full", freeze_projector=False)
    config = SFTTrainConfig(
        out=out,
        init_from=str(folder),
        data=DataConfig(train=(Path("unused"),)),
        model=model,
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        learning_rate=1e-3,
        device="cpu",
    )
    set_seed(0)
    llm = load_audio_llm(folder, model)
    prepare_full(llm, model)
    args = SFTConfig(
        **trainer_arguments(config, len(questions)),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
    )
    prompts = encode(config, llm, questions, frozen=False)
    return make_sft_trainer(llm, prompts, prompt="answer", args=args, packing=packing)


def first_step(trainer: AudioSFTTrainer) -> tuple[float, float]:
    trainer.train()
    row = next(row for row in trainer.state.log_history if "loss" in row)
    return row["loss"], row["grad_norm"]


def test_the_loss_is_the_same_however_an_update_is_split_or_packed(
    tiny_model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    # Answers of other lengths: a mean over passes would differ (transformers 5 sums them).
    found = [
        first_step(
            make_trainer(
                *(tiny_model_folder, questions, tmp_path / f"{size}{packing}"),
                batch_size=size,
                accumulation=4 // size,
                packing=packing,
            )
        )
        for size, packing in ((4, False), (2, False), (1, False), (4, True), (2, True))
    ]
    for loss, norm in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-4)
        assert norm == pytest.approx(found[0][1], rel=1e-3)


def test_models_that_cannot_be_packed_are_refused(tiny_audio_llm: AudioLLM) -> None:
    require_packable(tiny_audio_llm)
    family = replace(tiny_audio_llm.family, plain_positions=False)
    with pytest.raises(ValueError, match="are no plain count"):
        require_packable(replace(tiny_audio_llm, family=family))
    tiny_audio_llm.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="that flash attention does not take"):
        require_packable(tiny_audio_llm)


def test_the_loss_is_the_cross_entropy_of_the_answers_alone(
    tiny_model_folder: Path, questions: list[Question], tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_model_folder, questions, tmp_path, batch_size=4, accumulation=1)
    llm = trainer.llm
    total, count = 0.0, 0
    for row, target in enumerate(trainer.train_dataset["target"]):  # type: ignore[index]
        inputs = trainer.prompts.inputs([row])
        ids = torch.cat([inputs["input_ids"], torch.tensor([target])], 1)
        with torch.no_grad():
            logits = llm.model.eval()(
                **inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            ).logits
        found = logits[0, -len(target) - 1 : -1].log_softmax(-1)
        total -= found[range(len(target)), target].sum().item()
        count += len(target)
    assert first_step(trainer)[0] == pytest.approx(total / count, rel=1e-4)


def test_the_end_of_the_turn_is_taught(tiny_audio_llm: AudioLLM) -> None:
    tokenizer = tiny_audio_llm.tokenizer
    (ids,) = answer_ids(tokenizer, ["<answer>a dog</answer>"])
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[:-1]) == "<answer>a dog</answer>"


def test_padding_is_not_taught() -> None:
    batch = collate_targets([{"row": 3, "target": [1, 2, 0]}, {"row": 1, "target": [4]}])
    assert batch["row"].tolist() == [3, 1]
    assert batch["labels"].tolist() == [[IGNORED, 1, 2, 0], [IGNORED, 4, IGNORED, IGNORED]]


def test_a_question_without_answer_is_refused(tiny_audio_llm: AudioLLM, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="question q7 has no answer"):
        make_sft_trainer(
            tiny_audio_llm,
            EncodedPrompts(
                tiny_audio_llm,
                [Question(id="q7", audio=tmp_path / "none.wav", question="What is it?")],
                sound=SoundConfig(),
                style="answer",
                frozen=False,
                cache_bytes=0,
            ),
            prompt="answer",
            args=SFTConfig(output_dir=str(tmp_path), use_cpu=True),
        )
