"""Training on questions about several sounds, with a prompt of one's own."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from r1_aqa.config.model import LoRAConfig, ModelConfig
from r1_aqa.config.train import DataConfig, GRPOTrainConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.trainers.questions import read_skipped
from r1_aqa.trainers.rollouts import read_rollouts
from r1_aqa.trainers.train import train_grpo


def test_reinforcement_hears_all_sounds_of_a_question(
    tiny_model_folder: Path, tmp_path: Path, ask_about_scenes: Callable[[Path, Iterable[int]], list[Question]]
) -> None:
    first, _, second, _ = ask_about_scenes(tmp_path, range(2))
    pairs = [
        replace(first, id="pair", further_audio=(second.audio,)),
        replace(second, id="riap", further_audio=(first.audio,)),
        replace(first, id="gone", further_audio=(tmp_path / "gone.wav",)),
    ]
    write_questions(tmp_path / "q.jsonl", pairs)
    template = tmp_path / "mine.jinja"
    template.write_text(
        "{{ question }}{% for letter, choice in lettered %} ({{ letter }}) {{ choice }}{% endfor %}"
    )
    result = train_grpo(
        GRPOTrainConfig(
            out=tmp_path / "out",
            init_from=str(tiny_model_folder),
            data=DataConfig(train=(tmp_path / "q.jsonl",)),
            model=ModelConfig(dtype="float32", lora=LoRAConfig(rank=4, dropout=0.0)),
            template=template,
            rewards=("format",),
            batch_size=2,
            num_rollouts=2,
            max_new_tokens=4,
            max_steps=1,
            device="cpu",
        )
    )
    assert result.steps == 1
    rows = read_rollouts(tmp_path / "out" / "rollouts")
    assert {row["question_id"] for row in rows} == {"pair", "riap"}
    assert all("Audio 2: <|audio_bos|>" in row["prompt"] and "(B) " in row["prompt"] for row in rows)
    (skipped,) = read_skipped(tmp_path / "out")
    assert (skipped["id"], "gone.wav" in skipped["why"]) == ("gone", True)
