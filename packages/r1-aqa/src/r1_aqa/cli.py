"""The command `r1-aqa`: each verb's flags are the fields of its dataclass in `r1_aqa.config`.

`python -m r1_aqa` is the same command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1_aqa.bulk.places import is_url
from r1_aqa.command_line import (
    Program,
    UsageError,
    Verb,
    require_file,
    require_folder,
    require_model,
    require_module,
)
from r1_aqa.config.answer import AnswerConfig
from r1_aqa.config.doctor import DoctorConfig
from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.export_checkpoint import ExportCheckpointConfig
from r1_aqa.config.merge import MergeConfig
from r1_aqa.config.prepare import (
    PrepareAVQAConfig,
    PrepareClipsConfig,
    PrepareGenerateConfig,
    PrepareQuestionsConfig,
)
from r1_aqa.config.quickstart import QuickstartConfig
from r1_aqa.config.rollouts import RolloutsConfig
from r1_aqa.config.score import ScoreConfig
from r1_aqa.config.serve import ServeConfig
from r1_aqa.config.train import GRPOTrainConfig, SFTTrainConfig, TrainConfig
from r1_aqa.data.hub import HUB, is_known
from r1_aqa.data.shard_names import ENDING, list_shards
from r1_aqa.files import is_stream
from r1_aqa.models.run_folder import MODEL_FILES, find_model

REPORTERS = ("comet_ml", "mlflow", "tensorboard", "trackio", "wandb")
"""Modules that transformers needs for what `report_to` names; it would say so after loading the model."""
RESUMES = "What was done so far is kept; the same command goes on from there."


def require_audio_llm(name: str) -> None:
    """Raise for what is surely no audio LLM: neither its folder, nor a run folder, nor a possible hub id."""
    require_model(name, has_owner=True)
    folder = Path(find_model(name))
    if folder.is_file():
        raise NotADirectoryError(f"{name} is a file; the folder of an audio LLM is needed")
    if folder.is_dir() and not any((folder / file).is_file() for file in MODEL_FILES):
        raise FileNotFoundError(
            f"{name} is no model: it has neither {' nor '.join(MODEL_FILES)}, nor has a best/ or last/ in it"
        )


def require_questions(*sources: str | Path) -> None:
    """Raise for what is no file of questions, no folder, and no benchmark's name."""
    for source in sources:
        if is_known(str(source)) or Path(source).is_dir() or is_url(source):
            continue
        try:
            require_file(Path(source))
        except FileNotFoundError as error:
            from r1_aqa.command_line.options import nearest

            hint = "" if "did you mean" in str(error) else nearest(str(source), HUB)
            raise FileNotFoundError(f"{error}{hint}; known benchmarks: {', '.join(HUB)}") from error


def _here(*paths: Path | None) -> list[Path]:
    """Return the paths that are no URLs."""
    return [path for path in paths if path is not None and not is_url(path)]


def require_output(*paths: Path | None, is_folder: bool = False) -> None:
    """Raise where a result cannot be written: found out now, not after hours of work."""
    for path in paths:
        if path is None or is_stream(path):
            continue
        if path.exists() and path.is_dir() != is_folder:
            kind, needed = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise (IsADirectoryError if path.is_dir() else NotADirectoryError)(
                f"{path} is a {kind}; the output needs a {needed}"
            )
        nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
        if nearest != path and not nearest.is_dir():
            raise NotADirectoryError(f"{nearest} is a file; a folder is needed for {path}")
        if not os.access(nearest, os.W_OK):
            raise PermissionError(f"{nearest} cannot be written to; choose another place for {path.name}")


def require_one_stream(**paths: Path | None) -> None:
    """Raise if the standard input is to be two files."""
    streams = [name for name, path in paths.items() if is_stream(path)]
    if len(streams) > 1:
        raise UsageError(f"{' and '.join(streams)} are both -, and there is one standard input")


def check_quickstart(config: QuickstartConfig) -> None:
    """Refuse a place that cannot be written to."""
    require_output(config.out, is_folder=True)


def check_prepare(config: PrepareAVQAConfig | PrepareQuestionsConfig | PrepareClipsConfig) -> None:
    """Refuse what is not there before a decoder is loaded."""
    if isinstance(config, PrepareQuestionsConfig):
        require_questions(config.source)
    else:
        require_file(config.source)
    require_questions(*config.against)
    # Of questions the audio may be at a URL; files of others are looked for by their names in a folder.
    audio = _here(config.audio) if isinstance(config, PrepareQuestionsConfig) else [config.audio]
    require_folder(*audio, config.against_audio)
    require_output(config.out, config.json)


def check_generate(config: PrepareGenerateConfig) -> None:
    """Refuse what is not there before a decoder is loaded; a source may be a folder, or `scenes`."""
    if str(config.source) != "scenes" and not config.source.is_dir():
        try:
            require_file(config.source)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}; or give a folder, or `scenes` for synthesized sounds"
            ) from error
    require_file(config.families, *config.against)
    # Of questions the audio may be at a URL; files of others are looked for by their names in a folder.
    audio = _here(config.audio) if isinstance(config, PrepareQuestionsConfig) else [config.audio]
    require_folder(*audio, config.against_audio)
    for probe in config.audio_dependence:
        require_model(probe)
    for probe in config.audio_dependence:
        require_model(probe)
    require_output(config.out, config.json)


def check_train(config: TrainConfig) -> None:
    """Refuse missing questions, model or extra before torch is loaded."""
    require_file(*config.data.train, *config.data.validation, config.template)
    require_audio_llm(config.init_from)
    if config.model.quantization != "none":
        require_module("bitsandbytes")
    if isinstance(config, GRPOTrainConfig):
        if config.vllm != "off":
            require_module("vllm")
        # A reward in a file of one's own: FILE.py:FUNCTION.
        files = [Path(name.rpartition(":")[0]) for name in config.rewards if ":" in name]
        require_file(*files)
        if any(name.startswith("reference_acc") for name in config.rewards):
            require_module("math_verify")
    if config.trl:
        from r1_aqa.trainers.trl_settings import trl_values  # TRL itself, for its fields

        trl_values(config)
    require_file(config.deepspeed)
    require_module(*(name for name in config.report_to if name in REPORTERS))
    require_output(config.out, is_folder=True)


def check_evaluate(config: EvaluateConfig) -> None:
    """Refuse missing questions, model or folder before torch is loaded; benchmarks have names, too."""
    if not is_url(config.data) and config.data.endswith(ENDING):
        list_shards(config.data)  # which may be a pattern
    else:
        require_questions(config.data)
    if config.model is not None:
        require_audio_llm(config.model)
    if config.engine == "vllm":
        require_module("vllm")
    require_file(config.template)
    require_folder(*_here(config.audio))
    require_output(config.out, is_folder=True)
    require_output(config.json)


def check_score(config: ScoreConfig) -> None:
    """Refuse missing files, and one standard input for two."""
    require_file(config.predictions, config.versus)
    require_questions(config.data)
    require_one_stream(predictions=config.predictions, data=config.data, versus=config.versus)
    require_output(config.out, is_folder=True)
    require_output(config.json)


def check_answer(config: AnswerConfig) -> None:
    """Refuse a missing audio file or model before torch is loaded."""
    require_file(config.audio, *config.further_audio, config.template)
    require_audio_llm(config.model)
    require_output(config.json)


def check_serve(config: ServeConfig) -> None:
    """Refuse a missing model, token file or extra before torch is loaded."""
    require_module("gradio")
    require_file(config.token_file)
    require_audio_llm(config.model)


def check_rollouts(config: RolloutsConfig) -> None:
    """Refuse a run without rollouts."""
    require_folder(config.run)
    require_file(*config.data)
    require_output(config.out)


def check_merge(config: MergeConfig) -> None:
    """Refuse what is surely no adapters' folder, and a place that cannot be written to."""
    require_audio_llm(str(config.source))
    require_output(config.out, is_folder=True)


def check_export_checkpoint(config: ExportCheckpointConfig) -> None:
    """Refuse what is no folder, and a place that cannot be written to."""
    require_folder(config.checkpoint)
    require_output(config.out, is_folder=True)


def check_doctor(config: DoctorConfig) -> None:
    """Refuse a place that cannot be written to; what is missing of the rest is what is looked for."""
    require_output(config.json)


VERBS = (
    Verb(
        name="quickstart",
        settings=QuickstartConfig,
        function="r1_aqa.quickstart:quickstart",
        interrupted=RESUMES,
        example="quickstart --out runs/quickstart-r1-aqa",
        check=check_quickstart,
    ),
    Verb(
        name="prepare avqa",
        settings=PrepareAVQAConfig,
        function="r1_aqa.evaluators.dependence:prepare_verb",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare avqa train_qa.json --audio vggsound --out data/avqa.jsonl",
        check=check_prepare,
        has_model=False,
    ),
    Verb(
        name="prepare questions",
        settings=PrepareQuestionsConfig,
        function="r1_aqa.evaluators.dependence:prepare_verb",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare questions my-questions.jsonl --audio recordings --out data/mine.jsonl",
        check=check_prepare,
        has_model=False,
    ),
    Verb(
        name="prepare clips",
        settings=PrepareClipsConfig,
        function="r1_aqa.evaluators.dependence:prepare_verb",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare clips manifest.jsonl --out data/clips.jsonl",
        check=check_prepare,
        has_model=False,
    ),
    Verb(
        name="prepare generate",
        settings=PrepareGenerateConfig,
        function="r1_aqa.evaluators.dependence:generate_verb",
        positional=("source",),
        interrupted=RESUMES,
        example="prepare generate recordings --out data/generated.jsonl --validation_share 0.1",
        check=check_generate,
        has_model=False,
    ),
    Verb(
        name="train sft",
        settings=SFTTrainConfig,
        function="r1_aqa.trainers.train:train_verb",
        interrupted=RESUMES,
        example="train sft --config small_sft --data.train data/mine.jsonl --out runs/small-sft",
        check=check_train,
    ),
    Verb(
        name="train grpo",
        settings=GRPOTrainConfig,
        function="r1_aqa.trainers.train:train_verb",
        interrupted=RESUMES,
        example="train grpo --config small_grpo --data.train data/mine.jsonl --out runs/small-grpo",
        check=check_train,
    ),
    Verb(
        name="evaluate",
        settings=EvaluateConfig,
        function="r1_aqa.evaluators.evaluate:evaluate_verb",
        positional=("data",),
        interrupted=RESUMES,
        example="evaluate data/mine.validation.jsonl --model runs/small-grpo --out runs/scores",
        check=check_evaluate,
    ),
    Verb(
        name="score",
        settings=ScoreConfig,
        function="r1_aqa.evaluators.scores:score_verb",
        positional=("predictions",),
        example="score runs/scores/predictions.jsonl --data data/mine.validation.jsonl",
        check=check_score,
        has_model=False,
    ),
    Verb(
        name="answer",
        settings=AnswerConfig,
        function="r1_aqa.answering.command:answer",
        positional=("audio", "question"),
        example='answer street.wav "What is heard?" --choices "a dog" rain --model runs/small-grpo',
        check=check_answer,
    ),
    Verb(
        name="serve",
        settings=ServeConfig,
        function="r1_aqa.serving.serve:serve",
        interrupted="All uploads are deleted.",
        example="serve --model runs/small-grpo",
        check=check_serve,
    ),
    Verb(
        name="rollouts",
        settings=RolloutsConfig,
        function="r1_aqa.trainers.rollout_page:show_rollouts",
        positional=("run",),
        example="rollouts runs/small-grpo --out rollouts.html",
        check=check_rollouts,
        has_model=False,
    ),
    Verb(
        name="merge",
        settings=MergeConfig,
        function="r1_aqa.models.lora:merge",
        positional=("source",),
        example="merge runs/small-grpo --out runs/small-merged",
        check=check_merge,
    ),
    Verb(
        name="export-checkpoint",
        settings=ExportCheckpointConfig,
        function="r1_aqa.trainers.export:export_checkpoint",
        positional=("checkpoint",),
        example="export-checkpoint runs/small-grpo/checkpoint-100 --out runs/exported",
        check=check_export_checkpoint,
    ),
    Verb(
        name="doctor",
        settings=DoctorConfig,
        function="r1_aqa.doctor.doctor:doctor_verb",
        positional=("paths",),
        example="doctor runs/small-grpo data/mine.jsonl",
        check=check_doctor,
        has_model=False,
    ),
)
PROGRAM = Program(
    purpose="Audio question answering: train audio LLMs by reinforcement, evaluate them, ask them.",
    verbs=VERBS,
    groups={"train": "Train an audio LLM", "prepare": "Make a file of questions from a data set"},
    extras={"av": "av", "bitsandbytes": "qlora", "gradio": "serve", "math_verify": "reference"},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    PROGRAM.main(arguments)


def read(words: Sequence[str]) -> Any:
    """Return the settings of a command, without running it."""
    return PROGRAM.read(words)[1]
