"""Questions are encoded once, and what is kept is what a fresh pass would give."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from audio_common.scenes.scene import random_scene, render
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.prompt_cache import EncodedPrompts, LRUCache, compact


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    for seed, seconds in ((0, 2.5), (1, 3.5)):
        scene = random_scene(seed, num_events=2, seconds=seconds)
        soundfile.write(tmp_path / f"{seed}.wav", render(scene), 16_000)
    asked = [("0", "What is heard?"), ("1", "Which sound comes first, if there are two?"), ("0", "And then?")]
    return [
        Question(
            id=str(i), audio=tmp_path / f"{clip}.wav", question=text, choices=("a dog", "rain"), answer="rain"
        )
        for i, (clip, text) in enumerate(asked)
    ]


def make(
    llm: AudioLLM, questions: list[Question], *, frozen: bool = True, size: int = 2**26
) -> EncodedPrompts:
    return EncodedPrompts(
        llm, questions, sound=SoundConfig(), style="answer", frozen=frozen, cache_bytes=size
    )


def test_embeddings_are_those_of_the_model(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    prompts = make(tiny_audio_llm, questions)
    together = prompts.embeddings([0, 1, 2])
    for row, found in enumerate(together):
        with torch.no_grad():
            expected = tiny_audio_llm.embed_prompts(prompts.inputs([row]))[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_clip_is_encoded_once_for_all_questions_about_it(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    rows: list[int] = []
    tower = next(m for n, m in tiny_audio_llm.model.named_modules() if n.endswith("audio_tower"))
    tower.register_forward_pre_hook(
        lambda _module, args, kwargs: rows.append(len(args[0] if args else kwargs["input_features"])),
        with_kwargs=True,
    )
    prompts = make(tiny_audio_llm, questions)
    prompts.embeddings([0, 1, 2])
    prompts.embeddings([2, 0])
    other = EncodedPrompts(
        tiny_audio_llm,
        questions,
        sound=SoundConfig(),
        style="think",
        frozen=True,
        cache_bytes=2**26,
        clips=prompts.clips,
    )
    other.embeddings([0, 1, 2])
    assert sum(rows) == 2  # two clips


def test_what_no_question_is_left_about_is_forgotten(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    prompts = make(tiny_audio_llm, questions)
    prompts.embeddings([0, 1, 2])
    prompts.inputs([0, 1, 2])
    prompts.forget([0, 1])
    assert list(prompts.clips) == [
        (prompts.sounds.clips(2)[0], False)
    ]  # question 2 is about the first clip, too
    assert prompts.held_bytes() > 0
    prompts.forget([2])
    assert (prompts.held_bytes(), len(prompts.clips)) == (0, 0)
    prompts.embeddings([0])
    prompts.forget([0], keep_clips=True)
    assert prompts.held_bytes() == prompts.clips.bytes > 0


def test_ids_of_a_question_about_a_known_clip_take_no_sound(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    pair = replace(questions[2], further_audio=(questions[1].audio,))
    expected = [make(tiny_audio_llm, [*questions, pair]).input_ids(row) for row in (2, 3)]
    prompts = make(tiny_audio_llm, [*questions, pair])
    prompts.embeddings([0, 1])
    for question in questions[:2]:
        question.audio.unlink()
    assert [prompts.input_ids(row) for row in (2, 3)] == expected


def test_another_question_stands_in_for_one_without_sound(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    bad = questions[0].audio
    bad.write_bytes(b"no sound")
    prompts, told = make(tiny_audio_llm, questions), []
    prompts.sounds.on_unreadable = lambda question, why: told.append((question.id, bad.name in why))
    assert [prompts.readable_row(row) for row in (0, 1, 2, 0)] == [1, 1, 1, 1]
    assert told == [("0", True), ("2", True)]
    assert list(prompts.sounds.decoded) == prompts.sounds.clips(1)
    prompts.embeddings([1])
    assert prompts.sounds.decoded == {}
    with pytest.raises(ValueError, match=r"none of 1 questions can be asked; the first: .*0\.wav"):
        make(tiny_audio_llm, questions[:1]).readable_row(0)


def test_a_text_beyond_the_models_context_is_not_asked(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    long = replace(questions[0], question="What? " * 20_000)
    prompts = make(tiny_audio_llm, [long, *questions[1:]])
    told: list[tuple[str, str]] = []
    prompts.sounds.on_unreadable = lambda question, why: told.append((question.id, why))
    assert prompts.readable_row(0) == 1
    ((name, why),) = told
    assert name == "0"
    assert why.startswith("the question has ")
    assert why.endswith(" tokens without its sound, the model was made for 2048")
    with pytest.raises(ValueError, match=r"none of 1 questions can be asked; the first: the question has"):
        make(tiny_audio_llm, [long]).readable_row(0)


def test_silence_is_another_clip(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    prompts = make(tiny_audio_llm, questions)
    heard = prompts.embeddings([0])[0]
    silent = EncodedPrompts(
        tiny_audio_llm,
        questions,
        sound=SoundConfig(),
        style="answer",
        frozen=True,
        cache_bytes=2**26,
        silent=True,
        clips=prompts.clips,
    ).embeddings([0])[0]
    assert silent.shape == heard.shape
    assert not torch.allclose(silent, heard)


def test_what_training_changes_is_not_kept(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    prompts = make(tiny_audio_llm, questions, frozen=False)
    before = prompts.embeddings([0])[0].clone()
    with torch.no_grad():
        for parameter in tiny_audio_llm.model.parameters():
            parameter.mul_(1.1)
    assert not torch.allclose(prompts.embeddings([0])[0], before)


def test_the_least_recently_used_is_thrown_out() -> None:
    kept: LRUCache[str] = LRUCache(10)
    kept.keep(0, "a", 4)
    kept.keep(1, "b", 4)
    assert kept[0] == "a"
    kept.keep(2, "c", 4)
    assert set(kept) == {0, 2}
    assert kept.bytes == 8


def test_a_value_that_is_kept_again_counts_once() -> None:
    kept: LRUCache[str] = LRUCache(10)
    for _ in range(5):
        kept.keep(0, "a", 4)
    kept.keep(1, "b", 6)
    assert kept.bytes == 10
    assert set(kept) == {0, 1}
    kept.keep(0, "a longer one", 8)
    assert (set(kept), kept.bytes) == ({0}, 8)


def test_a_part_of_a_tensor_does_not_keep_the_whole() -> None:
    whole = torch.arange(1_000.0)
    assert compact(whole) is whole
    part = compact(whole[:20])
    assert torch.equal(part, whole[:20])
    assert part.untyped_storage().nbytes() == 80


def test_memory_stays_within_its_bound_whatever_is_asked(
    tiny_audio_llm: AudioLLM, questions: list[Question]
) -> None:
    several = [
        replace(questions[0], further_audio=(questions[1].audio,)),
        replace(questions[1], further_audio=(questions[0].audio,)),
        *questions,
    ]
    prompts = make(tiny_audio_llm, several, size=2**26)
    for row in range(5):
        prompts.embeddings([row])
    needed = prompts.held_bytes()
    for size in (needed // 2, 4 * needed):
        prompts = make(tiny_audio_llm, several, size=size)
        for step in range(8):
            prompts.embeddings([step % 5, (2 * step + 1) % 5])
            held = memory_of(prompts.clips) + memory_of(prompts._embeddings) + memory_of(prompts._inputs)
            assert held == prompts.held_bytes() <= size
    assert set(prompts._embeddings) == set(range(5))  # with room for all nothing is dropped


def memory_of(kept: LRUCache[Any]) -> int:
    """Bytes that the tensors of a cache really hold: those of their storages."""
    values = [value.values() if isinstance(value, dict) else [value] for value in kept.values()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for each in values for t in each}
    return sum(storage.nbytes() for storage in storages.values())


def test_without_memory_all_is_computed_anew(tiny_audio_llm: AudioLLM, questions: list[Question]) -> None:
    small, large = make(tiny_audio_llm, questions, size=0), make(tiny_audio_llm, questions)
    for a, b in zip(small.embeddings([0, 1, 2]), large.embeddings([0, 1, 2]), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_prompt_beyond_the_models_context_is_said_once(
    tiny_audio_llm: AudioLLM, questions: list[Question], caplog: pytest.LogCaptureFixture
) -> None:
    long = replace(questions[0], question="What? " * 1_200)
    prompts = make(tiny_audio_llm, [long, questions[1]])
    for _ in range(2):
        prompts.input_ids(0), prompts.input_ids(1)
    (line,) = caplog.messages
    assert line.startswith("question 0 has ")
    assert line.endswith("the model was made for 2048")
