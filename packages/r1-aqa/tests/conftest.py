"""A tiny audio LLM and synthesized questions, made once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
from audio_common.scenes.scene import random_scene, render
from audio_common.scenes.text import questions
from r1_aqa.bulk.blocks import Block
from r1_aqa.bulk.run import Done
from r1_aqa.bulk.work import do_block
from r1_aqa.config.model import ModelConfig
from r1_aqa.data.questions import Question, write_questions
from r1_aqa.models.audio_llm import AudioLLM, load_audio_llm
from r1_aqa.models.prompt import format_prompt
from r1_aqa.models.tiny import create_tiny_audio_llm


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = []
    for seed in range(40):
        for question in questions(random_scene(seed), seed):
            texts += [format_prompt(question.text, question.choices), *question.choices]
    return create_tiny_audio_llm(tmp_path_factory.mktemp("tiny"), texts)


@pytest.fixture
def tiny_audio_llm(tiny_model_folder: Path) -> AudioLLM:
    return load_audio_llm(tiny_model_folder, ModelConfig(dtype="float32"))


@pytest.fixture(scope="session")
def deaf_model_folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a projector that lets nothing through."""
    folder = tmp_path_factory.mktemp("deaf")
    llm = load_audio_llm(tiny_model_folder, ModelConfig(dtype="float32"))
    for name, parameter in llm.model.named_parameters():
        if "multi_modal_projector" in name:
            parameter.data.zero_()
    llm.model.save_pretrained(folder)
    llm.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def ask_about_scenes() -> Callable[..., list[Question]]:
    """Two questions on a scene for each seed, its sound in a folder."""

    def ask(folder: Path, seeds: Iterable[int], seconds: float = 3.0) -> list[Question]:
        found = []
        for seed in seeds:
            scene = random_scene(seed, num_events=2, seconds=seconds)
            soundfile.write(folder / f"{seed}.wav", render(scene), 16_000)
            found += [
                Question(
                    id=f"{seed}-{i}",
                    audio=folder / f"{seed}.wav",
                    question=q.text,
                    choices=tuple(q.choices),
                    answer=q.choices[q.answer],
                )
                for i, q in enumerate(questions(scene, seed)[:2])
            ]
        return found

    return ask


@pytest.fixture(scope="session")
def benchmark(
    tmp_path_factory: pytest.TempPathFactory, ask_about_scenes: Callable[..., list[Question]]
) -> Path:
    """A sound that is no sound, then scenes of unlike length, two questions each."""
    folder, found = tmp_path_factory.mktemp("bench"), []
    for seed in range(4):
        asked = ask_about_scenes(folder, [seed], seconds=2.5 + 0.4 * seed)
        found += [replace(question, task="sound" if seed % 2 else "music") for question in asked]
    (folder / "bad.wav").write_bytes(b"no sound")
    found.insert(0, replace(found[0], id="bad", audio=folder / "bad.wav"))
    write_questions(folder / "questions.jsonl", found)
    return folder / "questions.jsonl"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """Blocks of Ray's jobs are done in this process, as a worker does them; returns those that were begun."""
    begun: list[Block] = []

    def run_blocks(blocks: Any, make_worker: Any, parts: Any, config: Any) -> Iterator[Done]:
        worker = make_worker()
        for block in blocks:
            begun.append(block)
            count, tries = do_block(worker, block, parts)
            yield Done(block, count, 0, 0.0, tries)

    for job in ("data.by_ray", "evaluators.by_ray", "evaluators.probes_by_ray"):
        monkeypatch.setattr(f"r1_aqa.{job}.run_blocks", run_blocks)
    return begun
