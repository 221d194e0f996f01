"""The command `r1-aqa`: each verb's flags are the fields of its dataclass in `r1_aqa.config`.

`python -m r1_aqa` is the same command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r1_aqa.command_line import Program, Verb, require_file, require_folder, require_model, require_module
from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.prepare import PrepareAVQAConfig, PrepareQuestionsConfig
from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.config.score import ScoreConfig
from r1_aqa.config.train import GRPOTrainConfig, SFTTrainConfig, TrainConfig

RESUMES = "What was done so far is kept; the same command goes on from there."


def check_prepare(config: PrepareAVQAConfig | PrepareQuestionsConfig) -> None:
    """Refuse what is not there before a decoder is loaded."""
    require_file(config.source, *config.against)
    require_folder(config.audio, config.against_audio)


def check_train(config: TrainConfig) -> None:
    """Refuse missing questions, model or extra before torch is loaded."""
    require_file(*config.data.train, *config.data.validation)
    require_model(config.init_from)
    if config.model.quantization != "none":
        require_module("bitsandbytes")
    if isinstance(config, GRPOTrainConfig) and config.vllm != "off":
        require_module("vllm")


def check_evaluate(config: EvaluateConfig) -> None:
    """Refuse a missing model or folder before torch is loaded; benchmarks are known by name, too."""
    require_model(config.model)
    require_folder(config.audio)


def check_answer(config: AnswerConfig) -> None:
    """Refuse a missing audio file or model before torch is loaded."""
    require_file(config.audio)
    require_model(config.model)


VERBS = (
    Verb(
        name="quickstart",
        settings=QuickstartConfig,
        function="r1_aqa.quickstart:quickstart",
        interrupted=RESUMES,
        example="quickstart --out runs/quickstart-r1-aqa",
    ),
    Verb(
        name="prepare avqa",
        settings=PrepareAVQAConfig,
        function="r1_aqa.data.prepare:prepare_avqa",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare avqa train_qa.json --audio videos --out data/avqa.jsonl",
        check=check_prepare,
        has_model=False,
    ),
    Verb(
        name="prepare questions",
        settings=PrepareQuestionsConfig,
        function="r1_aqa.data.prepare:prepare_questions",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare questions mmar.json --audio sounds --out data/mmar.jsonl",
        check=check_prepare,
        has_model=False,
    ),
    Verb(
        name="train sft",
        settings=SFTTrainConfig,
        function="r1_aqa.trainers.train:train_sft",
        interrupted=RESUMES,
        example="train sft --config sft_lora --data.train data/avqa.jsonl --out runs/sft",
        check=check_train,
    ),
    Verb(
        name="train grpo",
        settings=GRPOTrainConfig,
        function="r1_aqa.trainers.train:train_grpo",
        interrupted=RESUMES,
        example="train grpo --config recommended --data.train data/avqa.jsonl --out runs/grpo",
        check=check_train,
    ),
    Verb(
        name="evaluate",
        settings=EvaluateConfig,
        function="r1_aqa.evaluators.evaluate:evaluate",
        positional=("data",),
        interrupted=RESUMES,
        example="evaluate data/mmar.jsonl --model runs/grpo --out runs/mmar",
        check=check_evaluate,
    ),
    Verb(
        name="score",
        settings=ScoreConfig,
        function="r1_aqa.evaluators.scores:score",
        positional=("predictions",),
        example="score runs/mmar/predictions.jsonl --data data/mmar.jsonl",
        check=lambda config: require_file(config.predictions, config.data, config.versus),
        has_model=False,
    ),
    Verb(
        name="answer",
        settings=AnswerConfig,
        function="r1_aqa.answering.answerer:answer",
        positional=("audio", "question"),
        example='answer dog.wav "What is heard?" --choices "a dog" rain',
        check=check_answer,
    ),
    Verb(
        name="rollouts",
        settings=RolloutsConfig,
        function="r1_aqa.trainers.rollout_page:show_rollouts",
        positional=("run",),
        example="rollouts runs/grpo --out rollouts.html",
        check=lambda config: require_folder(config.run),
        has_model=False,
    ),
    Verb(
        name="merge",
        settings=MergeConfig,
        function="r1_aqa.models.lora:merge",
        positional=("source",),
        example="merge runs/grpo --out runs/grpo-merged",
        check=lambda config: require_folder(config.source),
    ),
)
PROGRAM = Program(
    purpose="Audio question answering: train audio LLMs by reinforcement, evaluate them, ask them.",
    verbs=VERBS,
    groups={"train": "Train an audio LLM", "prepare": "Make a file of questions of a data set"},
    extras={"av": "av", "bitsandbytes": "qlora", "math_verify": "reference"},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    PROGRAM.main(arguments)


def read(words: Sequence[str]) -> Any:
    """Return the settings of a command, without running it."""
    return PROGRAM.read(words)[1]
