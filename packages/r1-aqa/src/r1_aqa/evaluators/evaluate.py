"""`r1-aqa evaluate`: ask a model the questions of a benchmark, keep every raw answer, score.

Greedy: the published evaluation samples, so its score changes from run to run. Each clip is decoded and
encoded once for all questions about it and all runs (options in other orders); the next batch is decoded
while the model answers; questions of like length go together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from audio_common import AudioError, audio_info
from audio_common.prefetch import load_ahead

from r1_aqa.config.evaluate import EvaluateConfig
from r1_aqa.config.model import ModelConfig
from r1_aqa.data.benchmark import Benchmark, load_benchmark
from r1_aqa.data.questions import Question
from r1_aqa.evaluators.predictions import Prediction, PredictionFile
from r1_aqa.evaluators.scores import Scores, save_scores, score_outputs
from r1_aqa.files import changes, plain
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.generation import answer_batch
from r1_aqa.models.heard import require_heard
from r1_aqa.models.prompt_cache import EncodedPrompts
from r1_aqa.trainers.callbacks import write_json

logger = logging.getLogger(__name__)

DECISIVE = {"model", "prompt", "sound", "dtype", "max_new_tokens", "seed"}
"""Settings that answers depend on; answers of others are not put in the same folder."""


def evaluate(config: EvaluateConfig) -> Scores:
    """Answer and score; writes predictions.jsonl, scores.json, scores.png and, for MMAU, submission.json.

    Raises:
        FileNotFoundError: no benchmark, no sounds.
        DeafModelError: answers do not depend on the sound.
    """
    from r1_aqa.evaluators.report import print_scores

    benchmark = load_benchmark(config.benchmark, config.audio, limit=config.limit)
    logger.info("%s: %s", benchmark.file, benchmark.version)
    require_same_run(config, benchmark)
    llm = load_for_answers(config.model, dtype=config.dtype, device=config.device)
    file = PredictionFile(config.out / "predictions.jsonl")
    heard = None
    if config.check_heard:
        heard = require_heard(llm, benchmark.questions, config.sound, prompt=config.prompt)
        logger.info("%s", heard)
    runs = make_runs(benchmark.questions, config)
    clips = None
    for name, questions in runs.items():
        prompts = encode(llm, questions, config, silent=name == "silent", clips=clips)
        clips = prompts.clips
        ask(prompts, file, name, batch_size=config.batch_size, max_new_tokens=config.max_new_tokens)
    scores = summarise(benchmark, runs, file, config)
    scores |= {
        "model": config.model,
        "prompt": config.prompt,
        "heard": str(heard) if heard else "not checked",
    }
    print_scores(scores)
    save_scores(config.out, scores, benchmark.file, outputs_of(file, "given", len(benchmark.questions)))
    return scores


def require_same_run(config: EvaluateConfig, benchmark: Benchmark) -> None:
    """Note what decides the answers in OUT/config.json; refuse to go on with other settings.

    Raises:
        ValueError: with every setting that changed.
    """
    path = config.out / "config.json"
    now = {name: value for name, value in asdict(config).items() if name in DECISIVE}
    now = plain(now | {"benchmark": benchmark.version})
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else now
    if changed := changes(before, now):
        raise ValueError(
            f"{config.out} holds the answers of another run ({'; '.join(changed)}); give another --out, or "
            "the same settings to go on"
        )
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def load_for_answers(model: str, *, dtype: str = "auto", device: str = "auto") -> AudioLLM:
    """A model where it will answer."""
    on_gpu = device == "auto" and torch.cuda.is_available()
    number = dtype if dtype != "auto" else "bfloat16" if on_gpu else "float32"
    return load_audio_llm(ModelConfig(name=model, dtype=number), device="cuda" if on_gpu else "cpu")  # type: ignore[arg-type]


def make_runs(questions: Sequence[Question], config: EvaluateConfig) -> dict[str, list[Question]]:
    """What is asked: as given, with the options in other orders, with silence."""
    runs = {"given": list(questions)}
    for number in range(1, config.shuffles + 1):
        runs[f"shuffle-{number}"] = [
            shuffle_choices(question, [config.seed, number, row]) for row, question in enumerate(questions)
        ]
    return runs | ({"silent": list(questions)} if config.silent else {})


def shuffle_choices(question: Question, seed: Sequence[int]) -> Question:
    """The question with its options in another order, never the given one."""
    count = len(question.choices)
    if count < 2:
        return question
    rng = np.random.default_rng(seed)
    order = list(range(count))
    while order == list(range(count)):
        order = rng.permutation(count).tolist()
    return replace(question, choices=tuple(question.choices[i] for i in order))


def encode(
    llm: AudioLLM,
    questions: Sequence[Question],
    config: EvaluateConfig,
    *,
    silent: bool = False,
    clips: object = None,
) -> EncodedPrompts:
    """Questions as tensors; nothing is trained, so all may be kept."""
    return EncodedPrompts(
        llm,
        questions,
        sound=config.sound,
        style=config.prompt,
        frozen=True,
        cache_bytes=int(config.cache_gigabytes * 2**30),
        silent=silent,
        clips=clips,  # type: ignore[arg-type]
    )


def ask(
    prompts: EncodedPrompts, file: PredictionFile, run: str, *, batch_size: int, max_new_tokens: int
) -> None:
    """Answer what is not answered yet; a sound that cannot be read is noted and passed over."""
    from rich.progress import track

    waiting = [row for row in range(len(prompts.questions)) if (run, row) not in file.found]
    batches = list(in_batches(prompts, waiting, batch_size))
    with closing(read_sounds(prompts, batches)) as decoded:
        for rows, (sounds, errors) in zip(
            track(batches, description=run, transient=True), decoded, strict=True
        ):
            prompts.decoded = sounds
            good = [row for row in rows if prompts.questions[row].audio not in errors]
            texts = answer_batch(prompts, good, max_new_tokens=max_new_tokens) if good else []
            outputs = dict(zip(good, texts, strict=True))
            file.append(_prediction(prompts, run, row, outputs.get(row), errors) for row in rows)


def in_batches(prompts: EncodedPrompts, rows: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Rows of like length together, and those of one clip side by side."""
    seconds: dict[object, float] = {}
    for row in rows:
        audio = prompts.questions[row].audio
        if audio not in seconds:
            try:
                seconds[audio] = audio_info(audio).duration or 0.0
            except (AudioError, OSError):
                seconds[audio] = 0.0
    order = sorted(
        rows, key=lambda r: (seconds[prompts.questions[r].audio], str(prompts.questions[r].audio), r)
    )
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def read_sounds(
    prompts: EncodedPrompts, batches: Iterable[Sequence[int]]
) -> Generator[tuple[dict[Path, np.ndarray], dict[Path, str]], None, None]:
    """Decode the sounds of each batch of rows, in a thread while the batch before is answered.

    Nothing more is done there, for a tokenizer cannot be used by two threads at once.

    Yields:
        Samples of a batch's sounds, and why others could not be read.
    """
    needed = (_first_rows(prompts, rows) for rows in batches)
    with closing(load_ahead(needed, prompts.decode, batches_ahead=1)) as decoded:
        for loaded, failures in decoded:
            for row, reason in failures.items():
                logger.warning("question %s: %s", prompts.questions[row].id, reason)
            yield (
                {prompts.questions[row].audio: samples for row, samples in loaded},
                {prompts.questions[row].audio: reason for row, reason in failures.items()},
            )


def _first_rows(prompts: EncodedPrompts, rows: Sequence[int]) -> list[int]:
    """Choose one row for each sound that is not encoded yet."""
    first: dict[Path, int] = {}
    for row in rows:
        if prompts.needs_sound(row):
            first.setdefault(prompts.questions[row].audio, row)
    return list(first.values())


def outputs_of(file: PredictionFile, run: str, count: int) -> list[str | None]:
    """Raw answers of a run."""
    return [each.output if each else None for each in file.run(run, count)]


def summarise(
    benchmark: Benchmark, runs: dict[str, list[Question]], file: PredictionFile, config: EvaluateConfig
) -> Scores:
    """Scores of all runs."""
    count = len(benchmark.questions)
    more = {name: (q, outputs_of(file, name, count)) for name, q in runs.items() if name != "given"}
    scores = score_outputs(benchmark.questions, outputs_of(file, "given", count), runs=more, seed=config.seed)
    return scores | {"benchmark": benchmark.name, "version": benchmark.version}


def _prediction(
    prompts: EncodedPrompts, run: str, row: int, output: str | None, errors: dict[Path, str]
) -> Prediction:
    question = prompts.questions[row]
    return Prediction(row, question.id, run, question.choices, output, errors.get(question.audio))
