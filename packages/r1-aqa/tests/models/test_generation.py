"""Answers are generated in batches of like length, decoded once, and bad audio ends nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from r1_aqa.config.sound import SoundConfig
from r1_aqa.data.questions import Question
from r1_aqa.data.readers import read_questions
from r1_aqa.models.audio_llm import AudioLLM
from r1_aqa.models.generation import Completion, answer_batch, generate_answers, in_batches, read_ahead
from r1_aqa.models.prompt_cache import EncodedPrompts
from transformers import GenerationConfig


def encode(llm: AudioLLM, questions: list[Question]) -> EncodedPrompts:
    return EncodedPrompts(llm, questions, sound=SoundConfig(), style="answer", frozen=True, cache_bytes=2**26)


def answers(prompts: EncodedPrompts, rows: Sequence[int], *, batch_size: int) -> dict[int, Completion]:
    batches = generate_answers(prompts, rows, batch_size=batch_size, max_new_tokens=6)
    return {completion.row: completion for batch in batches for completion in batch}


def test_answers_do_not_depend_on_the_batch(tiny_audio_llm: AudioLLM, benchmark: Path) -> None:
    questions = read_questions(benchmark)[1:]
    prompts = encode(tiny_audio_llm, questions)
    alone = [answer_batch(prompts, [row], max_new_tokens=6)[0][0] for row in range(8)]
    found = answers(prompts, range(8), batch_size=5)
    assert [found[row].text for row in range(8)] == alone


def test_the_models_own_generation_settings_do_not_count(tiny_audio_llm: AudioLLM, benchmark: Path) -> None:
    prompts = encode(tiny_audio_llm, read_questions(benchmark)[1:])
    plain = answer_batch(prompts, [0, 1], max_new_tokens=6)
    own = GenerationConfig(
        repetition_penalty=9.0, num_beams=2, num_return_sequences=2, no_repeat_ngram_size=1
    )
    for module in tiny_audio_llm.model.modules():
        if hasattr(module, "generation_config"):
            module.generation_config = own
    assert answer_batch(prompts, [0, 1], max_new_tokens=6) == plain
    assert tiny_audio_llm.model.generation_config is own  # it is saved with the model


def test_a_chat_template_that_fails_is_told_in_words(tiny_audio_llm: AudioLLM) -> None:
    tiny_audio_llm.processor.chat_template = "{{ ''.__class__.__mro__ }}"
    with pytest.raises(ValueError, match="the model's chat template does not take a question: access to"):
        tiny_audio_llm.format_chat("What?")


def test_batches_hold_every_question_once_by_length(tiny_audio_llm: AudioLLM, benchmark: Path) -> None:
    questions = read_questions(benchmark)
    prompts = encode(tiny_audio_llm, questions)
    batches = list(in_batches(prompts, range(9), 4))
    assert sorted(row for batch in batches for row in batch) == list(range(9))
    assert batches[0][0] == 0  # unreadable: its text alone
    sizes = [prompts.length(row) for batch in batches for row in batch]
    assert sizes == sorted(sizes)
    # What the model reads is text and sound: each length is about that of the prompt.
    for row in range(1, 9):
        assert prompts.length(row) == pytest.approx(len(prompts.embeddings([row])[0]), abs=2)


def test_a_short_sound_with_a_long_text_goes_with_long_prompts(
    tiny_audio_llm: AudioLLM, benchmark: Path
) -> None:
    questions = read_questions(benchmark)[1:]
    shortest = min(range(8), key=encode(tiny_audio_llm, questions).sounds.seconds)
    questions[shortest] = replace(questions[shortest], question="What is heard here, if anything? " * 40)
    prompts = encode(tiny_audio_llm, questions)
    assert in_batches(prompts, range(8), 2)[-1][-1] == shortest


def test_a_clip_is_decoded_once_for_the_questions_of_a_batch(
    tiny_audio_llm: AudioLLM, benchmark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = encode(tiny_audio_llm, read_questions(benchmark))
    decoded = []
    decode = prompts.sounds.decode
    monkeypatch.setattr(prompts.sounds, "decode", lambda clip: decoded.append(clip[0].name) or decode(clip))
    names = ["bad.wav", "0.wav", "1.wav", "2.wav", "3.wav"]
    ((sounds, errors),) = read_ahead(prompts, [range(9)])
    assert decoded == names
    assert (len(sounds), [path.name for path in errors]) == (4, ["bad.wav"])
    prompts.sounds.decoded = sounds
    answer_batch(prompts, range(1, 9), max_new_tokens=2)
    assert decoded == names
    assert prompts.sounds.decoded == {}


def test_audio_that_cannot_be_read_is_reported_and_ends_nothing(
    tiny_audio_llm: AudioLLM, benchmark: Path
) -> None:
    prompts, reported = encode(tiny_audio_llm, read_questions(benchmark)), []
    prompts.sounds.on_unreadable = lambda question, why: reported.append(question.id)
    found = answers(prompts, range(9), batch_size=2)
    assert found[0].text is None
    assert "bad.wav" in (found[0].error or "")
    assert all(found[row].text is not None and found[row].error is None for row in range(1, 9))
    assert reported == ["bad"]
    answers(prompts, range(9), batch_size=2)
    assert reported == ["bad"]
